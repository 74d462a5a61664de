//! The values of a query's filters, by kind of parameter: prefixes, escapes, precision.
//!
//! Source: <https://hl7.org/fhir/R4/search.html#prefix>, `#escaping`, `#number`, `#quantity`.

use std::fmt;

use phial_base::LogicalId;

use super::date::span;
use crate::definitions::ResourceType;
use crate::reference::{RefKind, classify, is_id};

/// How a value compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the FHIR prefix of the same name")]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

impl Prefix {
    const ALL: [(&'static str, Prefix); 9] = [
        ("eq", Prefix::Eq),
        ("ne", Prefix::Ne),
        ("gt", Prefix::Gt),
        ("lt", Prefix::Lt),
        ("ge", Prefix::Ge),
        ("le", Prefix::Le),
        ("sa", Prefix::Sa),
        ("eb", Prefix::Eb),
        ("ap", Prefix::Ap),
    ];

    /// The FHIR prefix.
    #[must_use]
    pub fn code(self) -> &'static str {
        Self::ALL.iter().find(|(_, p)| *p == self).map_or("", |(c, _)| c)
    }
}

/// One value that a filter accepts. `Debug` shows its kind only.
#[derive(Clone, PartialEq)]
pub enum Operand {
    /// `code`, `system|code`, `|code`, `system|`.
    Token {
        /// `None`: any system. `Some(None)`: no system.
        system: Option<Option<Box<str>>>,
        /// `None`: any code of the system.
        code: Option<Box<str>>,
    },
    /// Text as asked for, not folded.
    Str(Box<str>),
    /// Words that stand one after the other, folded, a space between two.
    Phrase(Box<str>),
    /// A span of time in microseconds since the epoch.
    Date {
        /// How it compares.
        prefix: Prefix,
        /// First microsecond.
        low: i64,
        /// Microsecond after the last.
        high: i64,
    },
    /// A number.
    Number {
        /// How it compares.
        prefix: Prefix,
        /// The number itself.
        value: f64,
        /// Lower bound that the precision implies, inclusive.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
    },
    /// A quantity.
    Quantity {
        /// How it compares.
        prefix: Prefix,
        /// The number itself.
        value: f64,
        /// Lower bound that the precision implies, inclusive.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
        /// The code system of the unit; without one, `code` may be the unit's text too.
        system: Option<Box<str>>,
        /// The unit's code.
        code: Option<Box<str>>,
    },
    /// A reference.
    Ref {
        /// The target's type; none for any.
        target: Option<ResourceType>,
        /// The target's logical id.
        id: Option<Box<str>>,
        /// The URL, when it is not relative.
        url: Option<Box<str>>,
    },
    /// A uri.
    Uri(Box<str>),
    /// Whether the element is missing.
    Missing(bool),
    /// A logical id, for `_id`.
    Id(LogicalId),
    /// Of a composite: a value for each component, all in one element.
    Parts(Box<[Operand]>),
    /// An identifier of a type (`:of-type`).
    Typed {
        /// The code system of the type.
        system: Box<str>,
        /// The type.
        code: Box<str>,
        /// The identifier's value.
        value: Box<str>,
    },
}

impl fmt::Debug for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operand::Token { .. } => "Token(..)",
            Operand::Str(_) => "Str(..)",
            Operand::Phrase(_) => "Phrase(..)",
            Operand::Date { .. } => "Date(..)",
            Operand::Number { .. } => "Number(..)",
            Operand::Quantity { .. } => "Quantity(..)",
            Operand::Ref { .. } => "Ref(..)",
            Operand::Uri(_) => "Uri(..)",
            Operand::Missing(_) => "Missing(..)",
            Operand::Id(_) => "Id(..)",
            Operand::Parts(_) => "Parts(..)",
            Operand::Typed { .. } => "Typed(..)",
        })
    }
}

/// A number and the range that its precision implies: half a unit of the last digit
/// either way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Implied {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// `digits` × 10^-`scale`, `scale` being the number of decimals written.
pub(super) fn implied(digits: i64, scale: i32) -> Implied {
    #[expect(clippy::cast_precision_loss, reason = "digits beyond 2^53 are beyond f64 anyway")]
    let at = |n: i64, scale: i32| {
        // Exact while both are; so the division is rounded once, as in reading the text.
        if scale >= 0 { n as f64 / 10_f64.powi(scale) } else { n as f64 * 10_f64.powi(-scale) }
    };
    match digits.checked_mul(10) {
        Some(ten) => Implied {
            value: at(digits, scale),
            low: at(ten.saturating_sub(5), scale + 1),
            high: at(ten.saturating_add(5), scale + 1),
        },
        None => {
            let (value, half) = (at(digits, scale), at(5, scale + 1));
            Implied { value, low: value - half, high: value + half }
        }
    }
}

/// Reads a FHIR decimal: `7`, `-0.05`, `6.022e23`. A whole number with a power of ten
/// has one digit more than is written: `1e2` is 95 to 105, as the specification has it.
pub(super) fn number(text: &str) -> Option<Implied> {
    let (mantissa, power) = match text.split_once(['e', 'E']) {
        Some((m, p)) => (m, p.strip_prefix('+').unwrap_or(p).parse::<i32>().ok()?),
        None => (text, 0),
    };
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let written = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let dotted = unsigned.contains('.');
    if !written(whole) || dotted && !written(decimals) || power.abs() > 300 {
        return None;
    }
    let exponent = text.contains(['e', 'E']);
    let pad = exponent && !dotted && power > 0;
    let scale = i32::try_from(decimals.len()).ok().filter(|n| *n < 300)?;
    let mut digits = whole.bytes().chain(decimals.bytes()).chain(pad.then_some(b'0'));
    let digits = digits.try_fold(0_i64, |n, b| n.checked_mul(10)?.checked_add(i64::from(b - b'0')));
    let scale = scale + i32::from(pad) - power;
    let Some(digits) = digits else {
        // More digits than an f64 can tell apart.
        let value: f64 = text.parse().ok().filter(|v: &f64| v.is_finite())?;
        let half = 10_f64.powi(-scale) / 2.0;
        return Some(Implied { value, low: value - half, high: value + half });
    };
    let digits = if mantissa.starts_with('-') { -digits } else { digits };
    Some(implied(digits, scale)).filter(|n| n.low.is_finite() && n.high.is_finite())
}

/// Splits at a separator that no backslash escapes; the pieces keep their escapes.
pub(super) fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == at {
            parts.extend(text.get(start..i));
            start = i + c.len_utf8();
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// Whether each backslash escapes something that can be escaped.
pub(super) fn well_escaped(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && !matches!(chars.next(), Some(',' | '|' | '$' | '\\')) {
            return false;
        }
    }
    true
}

/// Takes the escapes `\,` `\|` `\$` `\\` off; another backslash stands for itself.
pub(super) fn unescape(text: &str) -> Box<str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(next @ (',' | '|' | '$' | '\\'))) => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out.into()
}

/// Takes the prefix off a number, date or quantity. Two letters that are no prefix are
/// an error.
fn prefixed(text: &str) -> Option<(Prefix, &str)> {
    if text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) {
        let (head, rest) = text.split_at_checked(2)?;
        let (_, prefix) = Prefix::ALL.iter().find(|(code, _)| *code == head)?;
        return Some((*prefix, rest));
    }
    Some((Prefix::Eq, text))
}

/// What is wrong with a value, for the issue's text.
pub(super) type Wrong = &'static str;

pub(super) fn token(text: &str) -> Result<Operand, Wrong> {
    let some = |s: &str| (!s.is_empty()).then(|| unescape(s));
    let operand = match split(text, '|').as_slice() {
        [code] => Operand::Token { system: None, code: some(code) },
        [system, code] => Operand::Token { system: Some(some(system)), code: some(code) },
        _ => return Err("is not code, system|code, |code or system|"),
    };
    match operand {
        Operand::Token { system: None | Some(None), code: None } => Err("has an empty value"),
        fine => Ok(fine),
    }
}

pub(super) fn date(text: &str) -> Result<Operand, Wrong> {
    const WRONG: Wrong =
        "is not a date with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap";
    let (prefix, rest) = prefixed(text).ok_or(WRONG)?;
    // In a URL that was not encoded, the plus of a zone arrives as a space.
    let fixed = rest.contains(' ').then(|| rest.replace(' ', "+"));
    let span = span(fixed.as_deref().unwrap_or(rest)).ok_or(WRONG)?;
    Ok(Operand::Date { prefix, low: span.low, high: span.high })
}

pub(super) fn numeric(text: &str) -> Result<Operand, Wrong> {
    const WRONG: Wrong =
        "is not a number with an optional prefix eq, ne, gt, lt, ge, le, sa, eb or ap";
    let (prefix, rest) = prefixed(text).ok_or(WRONG)?;
    let n = number(rest).ok_or(WRONG)?;
    Ok(Operand::Number { prefix, value: n.value, low: n.low, high: n.high })
}

pub(super) fn quantity(text: &str) -> Result<Operand, Wrong> {
    const WRONG: Wrong = "is not [prefix]number or [prefix]number|system|code";
    let parts = split(text, '|');
    let (n, system, code) = match parts.as_slice() {
        [n] => (*n, "", ""),
        [n, system, code] => (*n, *system, *code),
        _ => return Err(WRONG),
    };
    let (prefix, rest) = prefixed(n).ok_or(WRONG)?;
    let n = number(rest).ok_or(WRONG)?;
    let some = |s: &str| (!s.is_empty()).then(|| unescape(s));
    let (system, code) = (some(system), some(code));
    Ok(Operand::Quantity { prefix, value: n.value, low: n.low, high: n.high, system, code })
}

/// `wanted` is the type that a modifier names; `targets` what the parameter may point at.
pub(super) fn reference(
    text: &str,
    wanted: Option<ResourceType>,
    targets: &[ResourceType],
) -> Result<Operand, Wrong> {
    let text = unescape(text);
    let url = |url: &str| Operand::Ref { target: wanted, id: None, url: Some(url.into()) };
    match classify(&text) {
        RefKind::Relative { type_, id, .. } => {
            if wanted.is_some_and(|w| w != type_) {
                return Err("names another type than its modifier");
            }
            Ok(Operand::Ref { target: Some(type_), id: Some(id.into()), url: None })
        }
        RefKind::Absolute(u) | RefKind::UrnUuid(u) | RefKind::UrnOid(u) => Ok(url(u)),
        _ if is_id(&text) => {
            let only = if let [only] = targets { Some(*only) } else { None };
            Ok(Operand::Ref { target: wanted.or(only), id: Some(text), url: None })
        }
        _ => Err("is not an id, Type/id or an absolute URL"),
    }
}

/// `system|code|value` of `:of-type`; none may be left out.
pub(super) fn of_type(text: &str) -> Result<Operand, Wrong> {
    match split(text, '|').as_slice() {
        [system, code, value] if ![system, code, value].iter().any(|s| s.is_empty()) => {
            Ok(Operand::Typed {
                system: unescape(system),
                code: unescape(code),
                value: unescape(value),
            })
        }
        _ => Err("is not system|code|value"),
    }
}

/// A URL, of which parts or wholes are looked for.
pub(super) fn url(text: &str) -> Result<Operand, Wrong> {
    let url = unescape(text);
    if url.starts_with("urn:") {
        return Err("is a URN, which has no parts above or below");
    }
    Ok(Operand::Uri(url))
}

pub(super) fn missing(text: &str) -> Result<Operand, Wrong> {
    match text {
        "true" => Ok(Operand::Missing(true)),
        "false" => Ok(Operand::Missing(false)),
        _ => Err("with :missing is not true or false"),
    }
}

/// Text that is the same for the same operand only.
pub(super) fn canonical(out: &mut String, operand: &Operand) {
    use fmt::Write as _;
    let text = |out: &mut String, t: Option<&str>| {
        // Writing to a String can't fail.
        let _ = match t {
            Some(t) => write!(out, "{}:{t}", t.len()),
            None => out.write_char('-'),
        };
    };
    let range = |out: &mut String, p: Prefix, parts: [u64; 3]| {
        let [a, b, c] = parts;
        let _ = write!(out, "{}{a:x}.{b:x}.{c:x}", p.code());
    };
    match operand {
        Operand::Token { system, code } => {
            out.push('t');
            match system {
                None => out.push('*'),
                Some(system) => text(out, system.as_deref()),
            }
            text(out, code.as_deref());
        }
        Operand::Str(s) => {
            out.push('s');
            text(out, Some(s));
        }
        Operand::Phrase(s) => {
            out.push('w');
            text(out, Some(s));
        }
        Operand::Date { prefix, low, high } => {
            let _ = write!(out, "d{}{low}..{high}", prefix.code());
        }
        Operand::Number { prefix, value, low, high } => {
            out.push('n');
            range(out, *prefix, [value.to_bits(), low.to_bits(), high.to_bits()]);
        }
        Operand::Quantity { prefix, value, low, high, system, code } => {
            out.push('q');
            range(out, *prefix, [value.to_bits(), low.to_bits(), high.to_bits()]);
            text(out, system.as_deref());
            text(out, code.as_deref());
        }
        Operand::Ref { target, id, url } => {
            out.push('r');
            text(out, target.map(ResourceType::name));
            text(out, id.as_deref());
            text(out, url.as_deref());
        }
        Operand::Uri(u) => {
            out.push('u');
            text(out, Some(u));
        }
        Operand::Missing(m) => out.push_str(if *m { "m1" } else { "m0" }),
        Operand::Id(id) => {
            out.push('i');
            text(out, Some(id.as_str()));
        }
        Operand::Parts(parts) => {
            out.push('(');
            for part in parts {
                canonical(out, part);
                out.push('$');
            }
            out.push(')');
        }
        Operand::Typed { system, code, value } => {
            out.push('y');
            for part in [system, code, value] {
                text(out, Some(part));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn precision_gives_the_range() {
        for (text, value, low, high) in [
            ("100", 100.0, 99.5, 100.5),
            ("100.00", 100.0, 99.995, 100.005),
            ("1e2", 100.0, 95.0, 105.0),
            ("5.4", 5.4, 5.35, 5.45),
            ("5.40e-3", 0.0054, 0.005_395, 0.005_405),
            ("0", 0.0, -0.5, 0.5),
            ("-7", -7.0, -7.5, -6.5),
        ] {
            assert_eq!(number(text), Some(Implied { value, low, high }), "{text}");
        }
        for bad in ["", ".", "1.", ".5", "1e", "e1", "1e999", "0x1", "1 ", "NaN", "inf", "--1"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn escapes_keep_separators_in_a_value() {
        assert_eq!(split(r"a\,b,c", ','), [r"a\,b", "c"]);
        assert_eq!(split(r"a\\,b", ','), [r"a\\", "b"]);
        assert_eq!(&*unescape(r"a\,b\|c\$d\\e\f"), r"a,b|c$d\e\f");
    }

    proptest! {
        #[test]
        fn a_number_is_read_as_f64_reads_it(d in -99_999_999_999_i64..99_999_999_999, s in 0_u32..9) {
            let text = if s == 0 {
                d.to_string()
            } else {
                let unit = 10_i64.pow(s);
                let sign = if d < 0 { "-" } else { "" };
                let (w, f) = (d.abs() / unit, d.abs() % unit);
                format!("{sign}{w}.{f:0width$}", width = s as usize)
            };
            let n = number(&text).unwrap();
            prop_assert_eq!(n.value, text.parse::<f64>().unwrap());
            prop_assert!(n.low < n.value && n.value < n.high);
        }
    }
}
