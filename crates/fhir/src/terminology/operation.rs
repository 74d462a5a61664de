//! `$expand` and `$validate-code`: what their parameters ask, and their answers in JSON.
//!
//! Source: <https://hl7.org/fhir/R4/valueset-operation-expand.html>,
//! <https://hl7.org/fhir/R4/valueset-operation-validate-code.html>,
//! <https://hl7.org/fhir/R4/codesystem-operation-validate-code.html>

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::issue::{Issue, IssueCode, write_string};
use crate::json::{Doc, Node};

use super::code_system::{CodeSystem, Content};
use super::expand::{Answer, Code, contains};
use super::value_set::ValueSet;
use super::{NotHeld, Source};

/// The parameters of an operation: from the URL, and from a Parameters resource.
pub struct Asked<'d> {
    all: Vec<(Cow<'d, str>, Value<'d>)>,
}

enum Value<'d> {
    Text(Cow<'d, str>),
    Node(Node<'d>),
}

/// Reads the parameters of an operation.
///
/// # Errors
/// An issue that names the parameter, when what was sent is no Parameters resource or
/// holds a parameter without value.
pub fn asked<'d>(pairs: &'d [(String, String)], body: Option<&'d Doc>) -> Result<Asked<'d>, Issue> {
    let mut all: Vec<(Cow<'d, str>, Value<'d>)> = pairs
        .iter()
        .map(|(name, value)| (name.as_str().into(), Value::Text(value.as_str().into())))
        .collect();
    let Some(body) = body else { return Ok(Asked { all }) };
    let root = body.root();
    if root.member("resourceType").and_then(Node::as_str).as_deref() != Some("Parameters") {
        let text = "a Parameters resource is expected";
        return Err(Issue::error(IssueCode::Structure, "resourceType", text));
    }
    for (n, p) in root.member("parameter").into_iter().flat_map(Node::items).enumerate() {
        let path = || format!("Parameters.parameter[{n}]");
        let Some(name) = p.member("name").and_then(Node::as_str) else {
            return Err(Issue::error(IssueCode::Required, path(), "a parameter needs a name"));
        };
        let value = p.members().find(|(name, _)| name.starts_with("value") || *name == "resource");
        let Some((_, node)) = value else {
            return Err(Issue::error(IssueCode::Required, path(), "a parameter needs a value"));
        };
        let value = match node.as_str() {
            Some(text) => Value::Text(text),
            None if node.is_object() => Value::Node(node),
            None => Value::Text(node.text().into()),
        };
        all.push((name, value));
    }
    Ok(Asked { all })
}

impl<'d> Asked<'d> {
    /// A parameter that is a primitive.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all.iter().find_map(|(n, v)| match v {
            Value::Text(text) if n == name => Some(text.as_ref()),
            _ => None,
        })
    }

    /// A parameter that is a resource or a data type.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Node<'d>> {
        self.all.iter().find_map(|(n, v)| match v {
            Value::Node(node) if n == name => Some(*node),
            _ => None,
        })
    }

    /// Refuses a parameter that this server does not know or would have to leave out,
    /// since the answer would be to another question.
    ///
    /// # Errors
    /// An issue that names the parameter's place among them.
    pub fn only(&self, known: &[&str]) -> Result<(), Issue> {
        for (n, (name, _)) in self.all.iter().enumerate() {
            let general = matches!(name.as_ref(), "_format" | "_pretty");
            if !general && !known.contains(&name.as_ref()) {
                let text =
                    format!("parameter {} is not supported: {} are", n + 1, known.join(", "));
                return Err(Issue::error(IssueCode::NotSupported, "", text));
            }
        }
        Ok(())
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Issue> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Issue::error(IssueCode::Value, name, "true or false is expected")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<usize>, Issue> {
        let number = self.text(name).map(str::parse);
        number.transpose().map_err(|_| Issue::error(IssueCode::Value, name, "a number is expected"))
    }
}

/// What `$expand` asks beside the value set.
#[derive(Debug, Default)]
pub struct Expand {
    /// Only codes whose code or name has this in it, whatever the case.
    pub filter: Option<String>,
    /// How many codes to leave out at the beginning.
    pub offset: usize,
    /// How many codes to give at most.
    pub count: Option<usize>,
    /// Only codes that are still to be used.
    pub active_only: bool,
}

impl Expand {
    /// The names of the parameters.
    pub const KNOWN: [&'static str; 9] = [
        "url",
        "valueSet",
        "valueSetVersion",
        "filter",
        "offset",
        "count",
        "activeOnly",
        "excludeNested",
        "includeDesignations",
    ];

    /// Reads the parameters.
    ///
    /// # Errors
    /// An issue that names the parameter that can't be meant.
    pub fn of(asked: &Asked<'_>) -> Result<Expand, Issue> {
        asked.only(&Self::KNOWN)?;
        // Lists are flat and without designations, which both of these allow.
        asked.flag("excludeNested")?;
        if asked.flag("includeDesignations")? == Some(true) {
            let text = "designations are not held";
            return Err(Issue::error(IssueCode::NotSupported, "includeDesignations", text));
        }
        Ok(Expand {
            filter: asked.text("filter").map(str::to_lowercase),
            offset: asked.number("offset")?.unwrap_or(0),
            count: asked.number("count")?,
            active_only: asked.flag("activeOnly")?.unwrap_or(false),
        })
    }
}

/// The expansion as a ValueSet resource. `at` is the time in RFC 3339.
#[must_use]
pub fn expansion(set: &ValueSet, codes: Vec<Code>, asked: &Expand, at: &str) -> Vec<u8> {
    let wanted = |c: &Code| {
        let named = |f: &str| {
            c.code.to_lowercase().contains(f)
                || c.display.as_ref().is_some_and(|d| d.to_lowercase().contains(f))
        };
        asked.filter.as_deref().is_none_or(named) && !(asked.active_only && c.inactive)
    };
    let codes: Vec<Code> = codes.into_iter().filter(wanted).collect();
    let mut out = String::from("{\"resourceType\":\"ValueSet\"");
    let mut member = |name: &str, value: &str| {
        let _ = write!(out, ",\"{name}\":");
        write_string(&mut out, value);
    };
    if !set.url.is_empty() {
        member("url", &set.url);
    }
    if let Some(version) = &set.version {
        member("version", version);
    }
    member("status", "active");
    out.push_str(",\"expansion\":{\"timestamp\":");
    write_string(&mut out, at);
    let _ = write!(out, ",\"total\":{},\"offset\":{}", codes.len(), asked.offset);
    if let Some(filter) = &asked.filter {
        out.push_str(",\"parameter\":[{\"name\":\"filter\",\"valueString\":");
        write_string(&mut out, filter);
        out.push_str("}]");
    }
    let page = codes.iter().skip(asked.offset).take(asked.count.unwrap_or(usize::MAX));
    for (n, c) in page.enumerate() {
        out.push_str(if n == 0 { ",\"contains\":[" } else { "," });
        out.push_str("{\"system\":");
        write_string(&mut out, &c.system);
        if c.inactive {
            out.push_str(",\"inactive\":true");
        }
        out.push_str(",\"code\":");
        write_string(&mut out, &c.code);
        if let Some(display) = &c.display {
            out.push_str(",\"display\":");
            write_string(&mut out, display);
        }
        out.push('}');
    }
    if out.ends_with('}') {
        out.push(']');
    }
    out.push_str("}}");
    out.into_bytes()
}

/// A code as it was sent.
#[derive(Debug, Default, Clone)]
pub struct Coded {
    /// The system, if it was said.
    pub system: Option<String>,
    /// The system's version, if it was said.
    pub version: Option<String>,
    /// The code.
    pub code: String,
    /// The name that it was sent with.
    pub display: Option<String>,
}

/// What `$validate-code` asks beside the value set or code system.
#[derive(Debug)]
pub struct ValidateCode {
    /// The codes: one, or all of a CodeableConcept.
    pub codes: Vec<Coded>,
    /// Whether codes that are there for the hierarchy alone may be chosen; true unless said.
    pub abstract_: bool,
}

impl ValidateCode {
    /// The names of the parameters: of the operation on ValueSet and on CodeSystem.
    #[must_use]
    pub fn known(on_code_system: bool) -> &'static [&'static str] {
        if on_code_system {
            &[
                "url",
                "codeSystem",
                "code",
                "version",
                "display",
                "coding",
                "codeableConcept",
                "abstract",
            ]
        } else {
            &[
                "url",
                "valueSet",
                "valueSetVersion",
                "code",
                "system",
                "systemVersion",
                "display",
                "coding",
                "codeableConcept",
                "abstract",
            ]
        }
    }

    /// Reads the parameters.
    ///
    /// # Errors
    /// An issue that names the parameter that is missing or can't be meant.
    pub fn of(asked: &Asked<'_>, on_code_system: bool) -> Result<ValidateCode, Issue> {
        asked.only(Self::known(on_code_system))?;
        let own = |name: &str| asked.text(name).map(str::to_owned);
        let coding = |node: Node<'_>| {
            let text = |name| node.member(name).and_then(Node::as_str).map(Cow::into_owned);
            Some(Coded {
                system: text("system"),
                version: text("version"),
                code: text("code")?,
                display: text("display"),
            })
        };
        let given = [
            asked.text("code").is_some(),
            asked.node("coding").is_some(),
            asked.node("codeableConcept").is_some(),
        ];
        if given.into_iter().filter(|g| *g).count() != 1 {
            let text = "exactly one of code, coding and codeableConcept is needed";
            return Err(Issue::error(IssueCode::Required, "code", text));
        }
        let codes = if let Some(code) = own("code") {
            if !on_code_system && asked.text("system").is_none() {
                let text = "a code needs the system that it is of";
                return Err(Issue::error(IssueCode::Required, "system", text));
            }
            let version = own(if on_code_system { "version" } else { "systemVersion" });
            vec![Coded { system: own("system"), version, code, display: own("display") }]
        } else if let Some(node) = asked.node("coding") {
            coding(node).into_iter().collect()
        } else {
            let node = asked.node("codeableConcept").and_then(|n| n.member("coding"));
            node.into_iter().flat_map(Node::items).filter_map(coding).collect()
        };
        if codes.is_empty() {
            let text = "there is no code in what was sent";
            return Err(Issue::error(IssueCode::Required, "code", text));
        }
        Ok(ValidateCode { codes, abstract_: asked.flag("abstract")?.unwrap_or(true) })
    }

    /// Whether one of the codes is in the value set: its name there and what is wrong.
    ///
    /// # Errors
    /// What would have to be held.
    pub fn in_value_set(&self, source: &dyn Source, set: &ValueSet) -> Result<Found, NotHeld> {
        let mut unknown = None;
        for c in &self.codes {
            match contains(source, set, c.system.as_deref(), &c.code) {
                Answer::Yes => {
                    let held = c
                        .system
                        .as_deref()
                        .and_then(|s| source.code_system(s, c.version.as_deref()));
                    return Ok(self.named(c, held.as_deref()));
                }
                Answer::No => {}
                Answer::Unknown(what) => unknown = Some(what),
            }
        }
        match unknown {
            Some(what) => Err(what),
            None => Ok(Found { good: false, message: Some("not in the value set"), display: None }),
        }
    }

    /// Whether one of the codes is in the code system.
    ///
    /// # Errors
    /// What would have to be held.
    pub fn in_code_system(&self, system: &CodeSystem) -> Result<Found, NotHeld> {
        for c in &self.codes {
            let here = c.system.as_deref().is_none_or(|s| s == &*system.url);
            if here && system.concept(&c.code).is_some() {
                return Ok(self.named(c, Some(system)));
            }
        }
        if system.content == Content::Part {
            return Err(NotHeld::CodeSystem(system.url.clone()));
        }
        Ok(Found { good: false, message: Some("not in the code system"), display: None })
    }

    fn named(&self, c: &Coded, system: Option<&CodeSystem>) -> Found {
        let concept = system.and_then(|s| s.concept(&c.code));
        let display = concept.and_then(|k| k.display.as_deref()).map(str::to_owned);
        let same = |name: &str| {
            let all = concept.into_iter().flat_map(|k| k.display.iter().chain(&k.designations));
            all.map(|d| d.to_lowercase()).any(|d| d == name.to_lowercase())
        };
        let message = match concept {
            Some(k) if k.abstract_ && !self.abstract_ => {
                Some("this code is there for the hierarchy and not to be chosen")
            }
            Some(k) if k.display.is_some() && c.display.as_deref().is_some_and(|d| !same(d)) => {
                Some("the name that was sent is not the code's")
            }
            _ => None,
        };
        Found { good: message.is_none(), message, display }
    }
}

/// What was found of a code.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether all is well.
    pub good: bool,
    /// What is not.
    pub message: Option<&'static str>,
    /// The code's name.
    pub display: Option<String>,
}

/// The answer of `$validate-code` as a Parameters resource.
#[must_use]
pub fn code_answer(found: &Found) -> Vec<u8> {
    let mut out = String::from("{\"resourceType\":\"Parameters\",\"parameter\":[");
    let _ = write!(out, "{{\"name\":\"result\",\"valueBoolean\":{}}}", found.good);
    for (name, text) in [("message", found.message), ("display", found.display.as_deref())] {
        if let Some(text) = text {
            let _ = write!(out, ",{{\"name\":\"{name}\",\"valueString\":");
            write_string(&mut out, text);
            out.push('}');
        }
    }
    out.push_str("]}");
    out.into_bytes()
}
