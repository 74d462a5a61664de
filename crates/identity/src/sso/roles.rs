//! What a provider may say of roles: nothing, unless the operator has written down which
//! of its words is which role.
//!
//! Roles that stand in that map are the provider's to give and to take; all others are
//! not touched. So an administrator who also logs in at the provider loses nothing by it,
//! and nobody becomes one unless the map says so.

use std::collections::BTreeMap;

use serde_json::Value;

/// Words of a provider, and the role that each is.
pub type RoleMap = BTreeMap<String, String>;

/// The roles of an account after a log-in, sorted: what it held that is not the provider's
/// to say, and what the provider says. `None` when the claim says nothing that can be read:
/// then it is not known what is to be taken away.
#[must_use]
pub fn mapped(map: &RoleMap, claim: Option<&Value>, held: &[String]) -> Option<Vec<String>> {
    let said: Vec<&str> = match claim? {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let given = said.iter().filter_map(|word| map.get(*word)).cloned();
    let kept = held.iter().filter(|role| !map.values().any(|r| r == *role)).cloned();
    let mut all: Vec<String> = given.chain(kept).collect();
    all.sort();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_provider_gives_and_takes_what_the_map_says_and_nothing_else() {
        let map: RoleMap = [("ward", "nurse"), ("doctors", "physician"), ("md", "physician")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        let check = |claim: Value, held: &[&str], expected: Option<&[&str]>| {
            let held: Vec<String> = held.iter().map(|h| (*h).to_owned()).collect();
            let found = mapped(&map, Some(&claim), &held);
            let expected = expected.map(|e| e.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{claim} {held:?}");
        };
        check(json!(["ward"]), &["nurse"], Some(&["nurse"]));
        check(json!(["doctors", "md"]), &["nurse"], Some(&["physician"]));
        check(json!("ward"), &["operator"], Some(&["nurse", "operator"]));
        check(json!([]), &["nurse", "operator"], Some(&["operator"]));
        check(json!(["operator", "nurse"]), &["billing"], Some(&["billing"]));
        check(json!([]), &["nurse"], Some(&[]));
        check(json!({"a": 1}), &["nurse"], None);
        check(json!([1]), &["nurse"], None);
        assert_eq!(mapped(&map, None, &["nurse".to_owned()]), None);
    }
}
