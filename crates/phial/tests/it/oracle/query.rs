//! Reads a query, and holds each resource of the type against it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::path::At;
use super::value::{
    self, Reference, number_stands, quantities, references, relative, spans, string_stands,
    time_stands, token_texts, tokens,
};
use super::{Answer, Facts, Oracle, Param, Part, Unknown, time};

/// Parameters that say what is done with the matches.
const RESULTS: [&str; 10] = [
    "_sort",
    "_count",
    "_total",
    "_summary",
    "_elements",
    "_include",
    "_revinclude",
    "_format",
    "_pretty",
    "_score",
];

/// The pairs of a query as in a URL.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes())
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect()
}

/// Splits at a separator that has no `\` before it (3.1.1.4.19).
pub(crate) fn split(text: &str, at: char) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == at {
            all.push(String::new());
            continue;
        }
        let last = all.last_mut().unwrap();
        last.push(c);
        if c == '\\' {
            last.extend(chars.next());
        }
    }
    all
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

fn prefixed(text: &str) -> (&str, &str) {
    match text.as_bytes() {
        [a, b, ..] if a.is_ascii_lowercase() && b.is_ascii_lowercase() => text.split_at(2),
        _ => ("eq", text),
    }
}

impl Oracle {
    /// What the query must find, and what it must add.
    pub(crate) fn search(&self, ty: &str, query: &str) -> Result<Answer, Unknown> {
        let pairs = pairs(query);
        let mut matches = BTreeSet::new();
        for resource in self.of(ty) {
            let mut all = true;
            for (name, text) in &pairs {
                let base = name.split(':').next().unwrap_or("");
                if !RESULTS.contains(&base) {
                    all &= self.holds(resource, name, text)?;
                }
            }
            if all {
                matches.insert(resource["id"].as_str().unwrap().to_owned());
            }
        }
        let included = self.included(ty, &matches, &pairs)?;
        Ok(Answer { matches, included })
    }

    /// One condition: a plain one, a chain, or a reverse chain.
    pub(crate) fn holds(&self, r: &Value, name: &str, text: &str) -> Result<bool, Unknown> {
        let ty = r["resourceType"].as_str().unwrap();
        if let Some(rest) = name.strip_prefix("_has:") {
            let unknown = || Unknown(name.to_owned());
            let mut parts = rest.splitn(3, ':');
            let (source, by) =
                (parts.next().ok_or_else(unknown)?, parts.next().ok_or_else(unknown)?);
            let inner = parts.next().ok_or_else(unknown)?;
            let by = Facts::all().param(source, by).ok_or_else(unknown)?;
            for other in self.of(source) {
                if self.refers(other, by, r) && self.holds(other, inner, text)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        if let Some((link, rest)) = name.split_once('.') {
            let (code, wanted) = match link.split_once(':') {
                Some((code, ty)) => (code, Some(ty)),
                None => (link, None),
            };
            let by = Facts::all().param(ty, code).ok_or_else(|| Unknown(name.to_owned()))?;
            for target in self.targets(r, by) {
                let of = target["resourceType"].as_str().unwrap();
                let first = rest.split(['.', ':']).next().unwrap();
                let known = first == "_has" || Facts::all().param(of, first).is_some();
                if wanted.is_none_or(|w| w == of) && known && self.holds(target, rest, text)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let (code, modifier) = match name.split_once(':') {
            Some((code, modifier)) => (code, Some(modifier)),
            None => (name, None),
        };
        if code == "_list" {
            return Ok(split(text, ',').iter().any(|id| {
                let list = self.find("List", id);
                let entries = list.and_then(|l| l["entry"].as_array()).into_iter().flatten();
                entries
                    .filter_map(|e| relative(e["item"]["reference"].as_str()?))
                    .any(|(t, i)| t == ty && r["id"] == i)
            }));
        }
        if ["_text", "_content"].contains(&name) {
            return super::words::stands(r, name, &plain(text));
        }
        let param = Facts::all().param(ty, code).ok_or_else(|| Unknown(name.to_owned()))?;
        self.stands(r, param, modifier, text)
    }

    fn stands(
        &self,
        r: &Value,
        param: &Param,
        modifier: Option<&str>,
        text: &str,
    ) -> Result<bool, Unknown> {
        if modifier == Some("missing") {
            return Ok(self.has_value(r, param) != (text == "true"));
        }
        let mut any = false;
        for one in split(text, ',') {
            any |= if param.kind == "composite" {
                self.together(r, param, &one)?
            } else {
                let ask = if modifier == Some("not") { None } else { modifier };
                self.some(r, param, Self::elements(param, r), ask, &one)?
            };
        }
        Ok(any != (modifier == Some("not")))
    }

    /// Whether the parameter finds any value (`:missing`, 3.1.1.4.4).
    pub(crate) fn has_value(&self, r: &Value, param: &Param) -> bool {
        if param.path.deceased {
            return true;
        }
        Self::elements(param, r).iter().any(|at| match param.kind.as_str() {
            "token" => !tokens(at).is_empty(),
            "date" => !spans(at).is_empty(),
            "string" => !value::strings(at).is_empty(),
            "number" => !value::numbers(at).is_empty(),
            "quantity" => !quantities(at).is_empty(),
            "uri" => at.value.is_string(),
            "reference" => references(at, &self.base).iter().any(|r| r.contained.is_none()),
            other => panic!("{other}"),
        })
    }

    /// A composite: all components in one element (3.1.1.4.17).
    fn together(&self, r: &Value, param: &Param, text: &str) -> Result<bool, Unknown> {
        let pieces = split(text, '$');
        if pieces.len() != param.parts.len() {
            return Err(Unknown(param.code.clone()));
        }
        for element in Self::elements(param, r) {
            let mut all = true;
            for ((number, part), piece) in param.parts.iter().zip(&pieces) {
                let own = Facts::all().number(*number);
                let at = match part {
                    Part::Element(path) => path.from(r, &element),
                    Part::Resource(path) => path.of(r),
                };
                all &= self.some(r, own, at, None, piece)?;
            }
            if all {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one of the elements has a value that is asked for.
    fn some(
        &self,
        r: &Value,
        param: &Param,
        elements: Vec<At<'_>>,
        modifier: Option<&str>,
        text: &str,
    ) -> Result<bool, Unknown> {
        let unknown = || Unknown(format!("{}:{}", param.code, modifier.unwrap_or("")));
        if param.code == "_id" {
            return Ok(r["id"] == text);
        }
        if param.path.deceased {
            let dead = r["deceasedBoolean"] == true || r["deceasedDateTime"].is_string();
            return Ok(text == if dead { "true" } else { "false" });
        }
        let mut found = false;
        for at in &elements {
            found |= match param.kind.as_str() {
                "token" => match modifier {
                    None => tokens(at).iter().any(|t| token_stands(text, t)),
                    Some("text") => {
                        token_texts(at).iter().any(|t| string_stands(modifier, &plain(text), t))
                    }
                    Some("of-type") => of_type(at.value, text),
                    Some(_) => return Err(unknown()),
                },
                "date" => {
                    let (prefix, date) = prefixed(text);
                    let asked = time::span(date).ok_or_else(unknown)?;
                    spans(at).iter().any(|s| time_stands(prefix, asked, *s))
                }
                "string" => {
                    let mut all = value::strings(at);
                    if modifier.is_none() {
                        all.extend(value::later_families(at));
                    }
                    all.iter().any(|s| string_stands(modifier, &plain(text), s))
                }
                "number" => {
                    let (prefix, number) = prefixed(text);
                    value::numbers(at)
                        .iter()
                        .any(|n| number_stands(prefix, number, Some(*n), Some(*n)))
                }
                "quantity" => {
                    let parts = split(text, '|');
                    let (prefix, number) = prefixed(&parts[0]);
                    quantities(at).iter().any(|q| {
                        number_stands(prefix, number, q.low, q.high) && unit_stands(&parts, q)
                    })
                }
                "uri" => {
                    let (of, asked) = (at.value.as_str().unwrap_or(""), plain(text));
                    match modifier {
                        None => of == asked,
                        Some("below") => !of.starts_with("urn:") && of.starts_with(&asked),
                        Some("above") => !of.starts_with("urn:") && asked.starts_with(of),
                        Some(_) => return Err(unknown()),
                    }
                }
                "reference" => references(at, &self.base)
                    .iter()
                    .any(|f| self.reference_stands(param, modifier, &plain(text), f)),
                _ => return Err(unknown()),
            };
        }
        Ok(found)
    }

    fn reference_stands(
        &self,
        param: &Param,
        modifier: Option<&str>,
        asked: &str,
        of: &Reference,
    ) -> bool {
        if modifier == Some("identifier") {
            return of.identifier.as_ref().is_some_and(|t| token_stands(asked, t));
        }
        let local = asked.strip_prefix(&self.base).and_then(|t| t.strip_prefix('/'));
        if let Some((ty, id)) = relative(local.unwrap_or(asked)) {
            return of.ty.as_ref() == Some(&ty) && of.id.as_ref() == Some(&id);
        }
        if asked.contains(':') {
            return of.url.as_deref() == Some(asked);
        }
        // An id alone is that of a type which the parameter may refer to: whatever else an
        // element points at is no target of it (SearchParameter.target).
        let meant =
            param.targets.is_empty() || of.ty.as_ref().is_none_or(|ty| param.targets.contains(ty));
        of.id.as_deref() == Some(asked)
            && meant
            && modifier.is_none_or(|ty| of.ty.as_deref() == Some(ty))
    }

    /// Whether `from` refers to `to` by the parameter.
    fn refers(&self, from: &Value, by: &Param, to: &Value) -> bool {
        Self::elements(by, from).iter().flat_map(|at| references(at, &self.base)).any(|r| {
            r.ty.as_deref() == to["resourceType"].as_str() && r.id.as_deref() == to["id"].as_str()
        })
    }

    /// What a resource refers to by the parameter, as far as it is here or contained.
    fn targets<'o>(&'o self, r: &'o Value, by: &Param) -> Vec<&'o Value> {
        let mut all = Vec::new();
        for f in Self::elements(by, r).iter().flat_map(|at| references(at, &self.base)) {
            if let (Some(ty), Some(id)) = (&f.ty, &f.id) {
                all.extend(self.find(ty, id));
            } else if let Some(id) = &f.contained {
                let contained = r["contained"].as_array().into_iter().flatten();
                all.extend(contained.filter(|c| c["id"] == **id));
            }
        }
        all
    }

    /// What `_include` and `_revinclude` add (3.1.1.5.4).
    fn included(
        &self,
        ty: &str,
        matches: &BTreeSet<String>,
        pairs: &[(String, String)],
    ) -> Result<BTreeSet<String>, Unknown> {
        let name = |r: &Value| {
            format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap())
        };
        let first: Vec<&Value> = matches.iter().filter_map(|id| self.find(ty, id)).collect();
        let there: BTreeSet<String> = first.iter().map(|r| name(r)).collect();
        let mut added: BTreeSet<String> = BTreeSet::new();
        let mut new = first;
        let mut round = 0;
        while !new.is_empty() {
            let mut next: Vec<&Value> = Vec::new();
            for (key, text) in pairs {
                let (base, iterate) = match key.split_once(':') {
                    Some((base, modifier)) => (base, Some(modifier)),
                    None => (key.as_str(), None),
                };
                if !["_include", "_revinclude"].contains(&base) {
                    continue;
                }
                if iterate.is_some_and(|m| m != "iterate") {
                    return Err(Unknown(key.clone()));
                }
                if round > 0 && iterate.is_none() {
                    continue;
                }
                let parts: Vec<&str> = text.split(':').collect();
                let source = parts[0];
                let wanted = parts.get(2).copied();
                let by: Vec<&Param> = match parts.get(1) {
                    Some(&"*") => Facts::all()
                        .of(source)
                        .into_iter()
                        .filter(|p| p.kind == "reference")
                        .collect(),
                    Some(code) => {
                        vec![
                            Facts::all()
                                .param(source, code)
                                .ok_or_else(|| Unknown(text.clone()))?,
                        ]
                    }
                    None => return Err(Unknown(text.clone())),
                };
                for r in &new {
                    if base == "_include" && r["resourceType"] == source {
                        next.extend(by.iter().flat_map(|by| self.targets(r, by)).filter(|t| {
                            wanted.is_none_or(|w| t["resourceType"] == w)
                                && self
                                    .find(
                                        t["resourceType"].as_str().unwrap(),
                                        t["id"].as_str().unwrap(),
                                    )
                                    .is_some()
                        }));
                    }
                    if base == "_revinclude" && wanted.is_none_or(|w| r["resourceType"] == w) {
                        next.extend(
                            self.of(source).filter(|o| by.iter().any(|by| self.refers(o, by, r))),
                        );
                    }
                }
            }
            new = next
                .into_iter()
                .filter(|r| !there.contains(&name(r)) && added.insert(name(r)))
                .collect();
            round += 1;
        }
        Ok(added)
    }
}

/// 3.1.1.4.10
fn token_stands(asked: &str, of: &value::Token) -> bool {
    let parts = split(asked, '|');
    let (system, code) = (of.0.as_deref(), of.1.as_deref());
    match parts.as_slice() {
        [c] => code == Some(&plain(c)),
        [s, c] if s.is_empty() => system.is_none() && code == Some(&plain(c)),
        [s, c] if c.is_empty() => system == Some(&plain(s)),
        [s, c] => system == Some(&plain(s)) && code == Some(&plain(c)),
        _ => false,
    }
}

fn of_type(identifier: &Value, asked: &str) -> bool {
    let parts: Vec<String> = split(asked, '|').iter().map(|p| plain(p)).collect();
    let [system, code, value] = parts.as_slice() else { return false };
    let mut types = identifier["type"]["coding"].as_array().into_iter().flatten();
    types.any(|t| t["system"] == **system && t["code"] == **code) && identifier["value"] == **value
}

/// 3.1.1.4.11: with a system, its code; without, the code or the unit as people write it.
fn unit_stands(parts: &[String], of: &value::Quantity) -> bool {
    let [_, system, code] = parts else { return true };
    let (system, code) = (plain(system), plain(code));
    let same = |of: &Option<String>, asked: &str| of.as_deref() == Some(asked);
    let by_code = code.is_empty() || same(&of.code, &code);
    if system.is_empty() {
        by_code || same(&of.unit, &code)
    } else {
        same(&of.system, &system) && by_code
    }
}
