//! When two JSON values are equal (RFC 6902 §4.6): strings by their characters, numbers by
//! their value, arrays item by item, objects member by member in any order.

use super::tree::{Id, Is, Tree};
use crate::json::unescape;

/// Compares what is seen of two values of a tree.
pub(super) fn equal(tree: &Tree, a: Id, b: Id) -> bool {
    match (tree.is(a), tree.is(b)) {
        (Is::Object, Is::Object) => {
            let (left, right) = (tree.members(a), tree.members(b));
            left.len() == right.len()
                && left.iter().all(|(name, value)| {
                    tree.member(b, &unescape(name)).is_some_and(|other| equal(tree, *value, other))
                })
        }
        (Is::Array, Is::Array) => {
            let (left, right) = (tree.items(a), tree.items(b));
            left.len() == right.len() && left.iter().zip(&right).all(|(l, r)| equal(tree, *l, *r))
        }
        (Is::Scalar, Is::Scalar) => {
            let (a, b) = (tree.text(a).unwrap_or_default(), tree.text(b).unwrap_or_default());
            let string = |t: &str| t.strip_prefix('"')?.strip_suffix('"').map(unescape);
            match (string(a), string(b)) {
                (Some(a), Some(b)) => a == b,
                (None, None) => {
                    a == b || matches!((number(a), number(b)), (Some(a), Some(b)) if a == b)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// A number's sign, its digits without zeros at either end, and the power of ten of the
/// last of them. Exact for any length. `None` for what is no number.
fn number(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let all = format!("{whole}{part}");
    let digits = all.trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let part = i64::try_from(part.len()).ok()?;
    let power = exponent.checked_sub(part)?.checked_add(dropped)?;
    Some((negative, kept.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Doc, Limits};

    #[test]
    fn values_are_equal_as_the_rfc_says() {
        for (a, b, is) in [
            ("1", "1.0", true),
            ("1e2", "100", true),
            ("-0", "0.00", true),
            ("1.50e+1", "15", true),
            ("1", "-1", false),
            ("10", "\"10\"", false),
            ("1e400", "10e399", true),
            ("1e400", "1e401", false),
            ("\"\\u0041\"", "\"A\"", true),
            ("true", "true", true),
            ("true", "false", false),
            ("null", "false", false),
            ("{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1}", true),
            ("{\"a\":1}", "{\"a\":1,\"b\":2}", false),
            ("[1,2]", "[2,1]", false),
            ("[]", "{}", false),
        ] {
            let text = format!("[{a},{b}]");
            let doc = Doc::parse(text.as_bytes(), &Limits::default()).unwrap();
            let tree = Tree::of(&doc, &[]).ok().unwrap();
            let items = tree.items(super::super::tree::ROOT);
            assert_eq!(equal(&tree, items[0], items[1]), is, "{text}");
        }
    }
}
