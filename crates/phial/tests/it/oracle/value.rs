//! The values that a parameter of a kind reads from an element, and whether one of them
//! is what a query asks for.

use serde_json::Value;

use super::number::Decimal;
use super::path::At;
use super::text::fold;
use super::time::{EVER, Span, span};

/// A system and a code, each of which may be missing.
pub(crate) type Token = (Option<String>, Option<String>);

fn text(v: &Value, member: &str) -> Option<String> {
    v[member].as_str().map(str::to_owned)
}

/// 3.1.1.4.10
pub(crate) fn tokens(at: &At<'_>) -> Vec<Token> {
    let v = at.value;
    if let Some(told) = at.ty
        && ["Quantity", "Range", "Reference", "Period", "DateTime", "Date", "Age"].contains(&told)
    {
        return Vec::new();
    }
    match v {
        Value::String(s) => vec![(None, Some(s.clone()))],
        Value::Bool(b) => vec![(None, Some(b.to_string()))],
        Value::Object(_) => {
            if let Some(codings) = v["coding"].as_array() {
                return codings.iter().filter_map(one).collect();
            }
            one(v).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Of a Coding, an Identifier or a ContactPoint.
fn one(v: &Value) -> Option<Token> {
    let code = text(v, "code").or_else(|| text(v, "value"));
    let system = text(v, "system");
    (code.is_some() || system.is_some()).then_some((system, code))
}

/// What `:text` looks at: `CodeableConcept.text`, `Coding.display`, `Identifier.type.text`.
pub(crate) fn token_texts(at: &At<'_>) -> Vec<String> {
    let v = at.value;
    let mut all: Vec<String> = text(v, "text").into_iter().chain(text(v, "display")).collect();
    all.extend(v["coding"].as_array().into_iter().flatten().filter_map(|c| text(c, "display")));
    all.extend(text(&v["type"], "text"));
    all
}

/// 3.1.1.4.7
pub(crate) fn spans(at: &At<'_>) -> Vec<Span> {
    if at.ty.is_some_and(|ty| !["Date", "DateTime", "Instant", "Period", "Timing"].contains(&ty)) {
        return Vec::new();
    }
    let v = at.value;
    if let Some(s) = v.as_str() {
        return span(s).into_iter().collect();
    }
    let period = |v: &Value| {
        let limit = |name: &str| v[name].as_str().and_then(span);
        match (limit("start"), limit("end")) {
            (None, None) => None,
            (a, b) => Some((a.map_or(EVER.0, |s| s.0), b.map_or(EVER.1, |s| s.1))),
        }
    };
    if v.get("event").is_some() || v.get("repeat").is_some() {
        // The outer limits alone matter.
        let mut all: Vec<Span> = v["event"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|e| e.as_str().and_then(span))
            .collect();
        all.extend(period(&v["repeat"]["boundsPeriod"]));
        let low = all.iter().map(|s| s.0).min();
        return low.zip(all.iter().map(|s| s.1).max()).into_iter().collect();
    }
    period(v).into_iter().collect()
}

/// 3.1.1.4.8
pub(crate) fn strings(at: &At<'_>) -> Vec<String> {
    const PARTS: [&str; 11] = [
        "text",
        "family",
        "given",
        "prefix",
        "suffix",
        "line",
        "city",
        "district",
        "state",
        "postalCode",
        "country",
    ];
    let mut all = Vec::new();
    match at.value {
        Value::String(s) => all.push(s.clone()),
        Value::Object(members) => {
            for part in PARTS.iter().filter_map(|p| members.get(*p)) {
                match part {
                    Value::String(s) => all.push(s.clone()),
                    Value::Array(items) => {
                        all.extend(items.iter().filter_map(|i| i.as_str().map(str::to_owned)));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    all
}

/// A quantity: its limits (one number twice, unless it is a Range) and its unit.
#[derive(Debug)]
pub(crate) struct Quantity {
    pub(crate) low: Option<Decimal>,
    pub(crate) high: Option<Decimal>,
    pub(crate) system: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) unit: Option<String>,
}

fn decimal(v: &Value) -> Option<Decimal> {
    v.as_number().and_then(|n| Decimal::read(&n.to_string()))
}

/// 3.1.1.4.11
pub(crate) fn quantities(at: &At<'_>) -> Vec<Quantity> {
    let v = at.value;
    if at.ty.is_some_and(|ty| ["SampledData", "Ratio", "String", "Period"].contains(&ty)) {
        return Vec::new();
    }
    let range = v.get("low").is_some() || v.get("high").is_some();
    let (low, high) = if range {
        (decimal(&v["low"]["value"]), decimal(&v["high"]["value"]))
    } else {
        (decimal(&v["value"]), decimal(&v["value"]))
    };
    if low.is_none() && high.is_none() {
        return Vec::new();
    }
    let of = if low.is_none() {
        &v["high"]
    } else if range {
        &v["low"]
    } else {
        v
    };
    let (mut system, mut code) = (text(of, "system"), text(of, "code"));
    if let Some(currency) = text(of, "currency") {
        (system, code) = (Some("urn:iso:std:iso:4217".to_owned()), Some(currency));
    }
    vec![Quantity { low, high, system, code, unit: text(of, "unit") }]
}

/// 3.1.1.4.6
pub(crate) fn numbers(at: &At<'_>) -> Vec<Decimal> {
    if at.ty.is_some_and(|ty| !["Decimal", "Integer", "PositiveInt"].contains(&ty)) {
        return Vec::new();
    }
    decimal(at.value).into_iter().collect()
}

/// A reference: type, id and URL, as far as it says, and its identifier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    pub(crate) ty: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) identifier: Option<Token>,
    /// `#id`
    pub(crate) contained: Option<String>,
}

/// The type and id that a relative reference names.
pub(crate) fn relative(text: &str) -> Option<(String, String)> {
    let plain = text.split("/_history/").next()?;
    let (ty, id) = plain.split_once('/')?;
    let good = ty.starts_with(|c: char| c.is_ascii_uppercase())
        && ty.chars().all(|c| c.is_ascii_alphabetic())
        && !id.is_empty()
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    good.then(|| (ty.to_owned(), id.to_owned()))
}

/// 3.1.1.4.12
pub(crate) fn references(at: &At<'_>, base: &str) -> Vec<Reference> {
    let v = at.value;
    let mut out = Reference::default();
    let by_text = |out: &mut Reference, text: &str| {
        let here =
            text.strip_prefix(base).and_then(|t| t.strip_prefix('/')).filter(|_| !base.is_empty());
        if let Some((ty, id)) = relative(here.unwrap_or(text)) {
            (out.ty, out.id) = (Some(ty), Some(id));
        } else if let Some(id) = text.strip_prefix('#') {
            out.contained = Some(id.to_owned());
        } else if text.contains(':') {
            out.url = Some(text.to_owned());
        }
    };
    match v {
        Value::String(s) => out.url = Some(s.clone()),
        _ if v.get("resourceType").is_some() => {
            (out.ty, out.id) = (text(v, "resourceType"), text(v, "id"));
        }
        _ => {
            if let Some(text) = v["reference"].as_str() {
                by_text(&mut out, text);
            }
            out.identifier = text(&v["identifier"], "value")
                .map(|value| (text(&v["identifier"], "system"), Some(value)));
        }
    }
    let any = out.id.is_some()
        || out.url.is_some()
        || out.identifier.is_some()
        || out.contained.is_some();
    if any { vec![out] } else { Vec::new() }
}

/// 3.1.1.4.5, of spans of time.
pub(crate) fn time_stands(prefix: &str, asked: Span, of: Span) -> bool {
    let contains = asked.0 <= of.0 && of.1 <= asked.1;
    let above = of.1 > asked.1;
    let below = of.0 < asked.0;
    match prefix {
        "eq" => contains,
        "ne" => !contains,
        "gt" => above,
        "lt" => below,
        "ge" => above || contains,
        "le" => below || contains,
        "sa" => of.0 >= asked.1,
        "eb" => of.1 <= asked.0,
        "ap" => of.0 < asked.1 && asked.0 < of.1,
        other => panic!("{other} is no prefix"),
    }
}

/// 3.1.1.4.5 and 3.1.1.4.6: the asked number has a precision with `eq`, `ne` and `ap`
/// alone; what stands in a resource is one number or a range with limits.
pub(crate) fn number_stands(
    prefix: &str,
    asked: &str,
    low: Option<Decimal>,
    high: Option<Decimal>,
) -> bool {
    let value = Decimal::read(asked).unwrap();
    let (from, to) = Decimal::range(asked).unwrap();
    let one = low.zip(high).filter(|(a, b)| a.same(*b)).map(|(a, _)| a);
    let contains = low.is_some_and(|l| !l.less(from))
        && high.is_some_and(|h| if one.is_some() { h.less(to) } else { !to.less(h) });
    let above = high.is_none_or(|h| value.less(h));
    let below = low.is_none_or(|l| l.less(value));
    let at = one.is_some_and(|o| o.same(value));
    match prefix {
        "eq" => contains,
        "ne" => !contains,
        "gt" => above,
        "lt" => below,
        "ge" => above || at || one.is_none() && contains,
        "le" => below || at || one.is_none() && contains,
        "sa" => low.is_some_and(|l| value.less(l)),
        "eb" => high.is_some_and(|h| h.less(value)),
        "ap" => {
            let (a, b) = value.about();
            let within = |x: Decimal| !x.less(a) && !b.less(x);
            contains
                || match one {
                    Some(o) => within(o),
                    None => low.is_none_or(|l| !b.less(l)) && high.is_none_or(|h| !h.less(a)),
                }
        }
        other => panic!("{other} is no prefix"),
    }
}

/// A family name from each later part on: a search finds those, too (3.1.1.4.8).
pub(crate) fn later_families(at: &At<'_>) -> Vec<String> {
    let family = match at.value {
        Value::Object(members) => members.get("family").and_then(Value::as_str),
        Value::String(s) if at.way.iter().any(|w| w.starts_with("family")) => Some(s.as_str()),
        _ => None,
    };
    let parts = family.into_iter().flat_map(|f| f.match_indices(' ').map(move |(i, _)| &f[i..]));
    parts.filter(|part| !fold(part).is_empty()).map(str::to_owned).collect()
}

/// 3.1.1.4.8
pub(crate) fn string_stands(modifier: Option<&str>, asked: &str, of: &str) -> bool {
    match modifier {
        None | Some("text") => fold(of).starts_with(&fold(asked)),
        Some("contains") => fold(of).contains(&fold(asked)),
        Some("exact") => of == asked,
        Some(other) => panic!("{other} is no modifier of a string"),
    }
}
