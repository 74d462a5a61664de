//! The lexical forms of the primitive types, by hand: no regular expressions, and real
//! calendar days.
//!
//! Source: <https://hl7.org/fhir/R4/datatypes.html#primitive>

use super::narrative::{self, Refusal};
use crate::definitions::Form;
use crate::issue::IssueCode;
use crate::json::{Kind, Node};
use crate::reference::is_id;

/// FHIR R4: "Strings SHALL NOT exceed 1MB (1024*1024 characters) in size".
const MOST_CHARS: usize = 1 << 20;
/// Far beyond any measured quantity; keeps arithmetic on numbers bounded.
const MOST_DIGITS: usize = 128;

pub(super) struct Fault {
    pub(super) code: IssueCode,
    pub(super) text: &'static str,
}

fn wrong(text: &'static str) -> Result<(), Fault> {
    Err(Fault { code: IssueCode::Value, text })
}

fn hold(good: bool, text: &'static str) -> Result<(), Fault> {
    if good { Ok(()) } else { wrong(text) }
}

/// Checks one JSON value against a primitive type.
pub(super) fn check(form: Form, node: Node<'_>) -> Result<(), Fault> {
    let (kind, text) = match form {
        Form::Boolean => (Kind::Bool, "true or false is expected"),
        Form::Integer | Form::PositiveInt | Form::UnsignedInt | Form::Decimal => {
            (Kind::Number, "a JSON number is expected")
        }
        _ => (Kind::String, "a JSON string is expected"),
    };
    if node.kind() != kind {
        let text = if node.is_null() { "null stands for nothing here" } else { text };
        return Err(Fault { code: IssueCode::Structure, text });
    }
    match form {
        Form::Boolean => return Ok(()),
        Form::Decimal => {
            return hold(node.text().len() <= MOST_DIGITS, "a number has too many digits");
        }
        Form::Integer => return integer(node.text(), i32::MIN),
        Form::UnsignedInt => return integer(node.text(), 0),
        Form::PositiveInt => return integer(node.text(), 1),
        _ => {}
    }
    let decoded = node.as_str().unwrap_or_default();
    let s: &str = &decoded;
    if s.is_empty() {
        return wrong("a string can't be empty");
    }
    match form {
        Form::String | Form::Markdown => {
            if s.len() > MOST_CHARS && s.chars().count() > MOST_CHARS {
                let text = "a string is longer than 1 MB";
                return Err(Fault { code: IssueCode::TooLong, text });
            }
            // A control character can only come from an escape.
            let clean = !node.has_escapes()
                || s.bytes().all(|b| b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r'));
            hold(clean, "a control character stands in a string")
        }
        Form::Code => hold(is_code(s), "this is not a code"),
        Form::Id => hold(is_id(s), "this is not an id: 1 to 64 of A-Z a-z 0-9 - ."),
        Form::Uri | Form::Url | Form::Canonical => {
            hold(!s.contains(|c: char| c.is_whitespace() || c.is_control()), "this is not a URI")
        }
        Form::Oid => hold(is_oid(s), "this is not an OID (urn:oid:...)"),
        Form::Uuid => hold(is_uuid(s), "this is not a UUID (urn:uuid:..., lower case)"),
        Form::Date => hold(date(s).is_some_and(|rest| rest.is_empty()), "this is not a date"),
        Form::DateTime => hold(is_date_time(s), "this is not a date or date with time and zone"),
        Form::Instant => hold(is_instant(s), "this is not an instant: date, time and zone"),
        Form::Time => hold(time(s.as_bytes()).is_some_and(<[u8]>::is_empty), "this is not a time"),
        Form::Base64Binary => hold(is_base64(s), "this is not base64"),
        Form::Xhtml => match narrative::check(s) {
            Ok(()) => Ok(()),
            Err(Refusal::Malformed) => wrong("this is not a well-formed XHTML div"),
            Err(Refusal::NotAllowed) => wrong("a narrative can't have this markup"),
        },
        Form::Boolean | Form::Decimal | Form::Integer | Form::PositiveInt | Form::UnsignedInt => {
            Ok(())
        }
    }
}

fn integer(text: &str, least: i32) -> Result<(), Fault> {
    let good = text.parse::<i32>().is_ok_and(|n| n >= least);
    hold(good, "this is not a whole number in the range of its type")
}

/// `[^\s]+(\s[^\s]+)*`
fn is_code(s: &str) -> bool {
    let mut after_space = true;
    for c in s.chars() {
        let space = c.is_whitespace();
        if (space && after_space) || c.is_control() {
            return false;
        }
        after_space = space;
    }
    !after_space
}

/// `urn:oid:[0-2](\.(0|[1-9][0-9]*))+`
fn is_oid(s: &str) -> bool {
    let Some(arcs) = s.strip_prefix("urn:oid:") else { return false };
    let mut arcs = arcs.split('.');
    let first = arcs.next();
    let mut count = 0;
    let rest_good = arcs.all(|a| {
        count += 1;
        !a.is_empty() && a.bytes().all(|b| b.is_ascii_digit()) && (a == "0" || !a.starts_with('0'))
    });
    matches!(first, Some("0" | "1" | "2")) && rest_good && count > 0
}

fn is_uuid(s: &str) -> bool {
    let Some(hex) = s.strip_prefix("urn:uuid:") else { return false };
    hex.len() == 36
        && hex.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// Groups of four of the alphabet, whitespace anywhere, `=` only at the end.
fn is_base64(s: &str) -> bool {
    let (mut count, mut padding) = (0usize, 0usize);
    for b in s.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => count += 1,
            b'=' => {
                count += 1;
                padding += 1;
            }
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => return false,
        }
    }
    count > 0 && count.is_multiple_of(4) && padding <= 2
}

fn digits(s: &[u8], n: usize) -> Option<(u32, &[u8])> {
    let (head, rest) = s.split_at_checked(n)?;
    let value = head
        .iter()
        .try_fold(0u32, |v, b| b.is_ascii_digit().then(|| v * 10 + u32::from(b - b'0')))?;
    Some((value, rest))
}

/// Reads `YYYY`, `YYYY-MM` or `YYYY-MM-DD` and gives what follows.
fn date(s: &str) -> Option<&[u8]> {
    partial_date(s.as_bytes()).map(|(_, rest)| rest)
}

/// The number of parts read, and what follows.
fn partial_date(s: &[u8]) -> Option<(u8, &[u8])> {
    let (year, rest) = digits(s, 4).filter(|(y, _)| *y > 0)?;
    let Some(after) = rest.strip_prefix(b"-") else { return Some((1, rest)) };
    let (month, rest) = digits(after, 2).filter(|(m, _)| (1..=12).contains(m))?;
    let Some(after) = rest.strip_prefix(b"-") else { return Some((2, rest)) };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let (_, rest) = digits(after, 2).filter(|(d, _)| (1..=last).contains(d))?;
    Some((3, rest))
}

/// Reads `hh:mm:ss` with a fraction or none and gives what follows. 60 is a leap second.
fn time(s: &[u8]) -> Option<&[u8]> {
    let (_, rest) = digits(s, 2).filter(|(h, _)| *h < 24)?;
    let (_, rest) = digits(rest.strip_prefix(b":")?, 2).filter(|(m, _)| *m < 60)?;
    let (_, rest) = digits(rest.strip_prefix(b":")?, 2).filter(|(s, _)| *s <= 60)?;
    let Some(fraction) = rest.strip_prefix(b".") else { return Some(rest) };
    let n = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    (n > 0).then(|| fraction.get(n..)).flatten()
}

fn is_zone(s: &[u8]) -> bool {
    if s == b"Z" {
        return true;
    }
    let Some(rest) = s.strip_prefix(b"+").or_else(|| s.strip_prefix(b"-")) else { return false };
    let parts =
        digits(rest, 2).and_then(|(h, rest)| Some((h, digits(rest.strip_prefix(b":")?, 2)?)));
    match parts {
        Some((h, (m, rest))) => rest.is_empty() && m < 60 && (h < 14 || h == 14 && m == 0),
        None => false,
    }
}

fn is_date_time(s: &str) -> bool {
    match partial_date(s.as_bytes()) {
        Some((_, [])) => true,
        Some((3, [b'T', rest @ ..])) => time(rest).is_some_and(is_zone),
        _ => false,
    }
}

fn is_instant(s: &str) -> bool {
    s.len() > 10 && is_date_time(s)
}
