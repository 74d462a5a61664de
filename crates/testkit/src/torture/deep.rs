//! The thorough look: everything that a store holds against everything that the ledger
//! says, in both directions.
#![expect(clippy::indexing_slicing, reason = "JSON without a member reads as null")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::Method;

use super::dice::{self, SYSTEM};
use super::ledger::{Ledger, Look as _, State};
use super::load::{Access, held};
use crate::world::{Answer, try_send};

/// Types that the load writes.
const TYPES: [&str; 2] = ["Observation", "Patient"];

/// How many clients look at versions at once.
const LOOKERS: usize = 3;

/// What a search lists: version and body of each of our records, by `Type/id`.
type Listed = BTreeMap<String, (u64, State)>;

/// Compares all that is listed with all that was acknowledged, then every version that
/// was not looked at yet. Gives the number of records and of versions looked at.
///
/// # Panics
/// When the server stops answering: nothing may end it while it is looked at.
pub fn compare(access: &Access, ledger: &Mutex<Ledger>) -> (u64, u64) {
    let mut listed = Listed::new();
    for ty in TYPES {
        list(access, ty, &mut listed, ledger);
    }
    let known: Vec<(String, u64, BTreeMap<u64, State>)> = held(ledger)
        .records
        .iter()
        .map(|(p, r)| (p.clone(), r.checked, r.versions.clone()))
        .collect();
    for (path, _, versions) in &known {
        let Some((version, state)) = versions.last_key_value() else { continue };
        match (listed.remove(path), state) {
            (None, State::Gone) => {}
            (Some(found), _) if found == (*version, *state) => {}
            (found, _) => held(ledger).find(format!(
                "a search lists {path} as {found:?} where version {version} is {state:?}"
            )),
        }
    }
    for path in listed.keys() {
        held(ledger).find(format!("nobody created {path}"));
    }
    let looked = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|s| {
        for part in known.chunks(known.len().div_ceil(LOOKERS).max(1)) {
            let looked = &looked;
            s.spawn(move || {
                for (path, checked, versions) in part {
                    let Some((last, _)) = versions.last_key_value() else { continue };
                    if checked == last {
                        continue;
                    }
                    for v in checked + 1..=*last {
                        let found = access.version(path, v);
                        looked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if found != versions.get(&v).copied() {
                            held(ledger).find(format!(
                                "version {v} of {path} is {found:?} and was written as {:?}",
                                versions.get(&v)
                            ));
                        }
                    }
                    if access.version(path, last + 1).is_some() {
                        held(ledger).find(format!("nobody wrote version {} of {path}", last + 1));
                    }
                    if let Some(r) = held(ledger).records.get_mut(path) {
                        r.checked = *last;
                    }
                }
            });
        }
    });
    (known.len() as u64, looked.into_inner())
}

/// Every record of ours of a type, page after page.
#[expect(clippy::panic, reason = "without an answer nothing can be said")]
fn list(access: &Access, ty: &str, listed: &mut Listed, ledger: &Mutex<Ledger>) {
    let mut page = access.search(ty, "_count=500".to_owned());
    loop {
        let Some(answer) = page else { panic!("no answer to a search") };
        assert_eq!(answer.status, 200, "{}", answer.text());
        for resource in answer.entries("match") {
            if resource["identifier"][0]["system"] != SYSTEM {
                continue;
            }
            let path = format!("{ty}/{}", resource["id"].as_str().unwrap_or(""));
            let version = resource["meta"]["versionId"].as_str().and_then(|v| v.parse().ok());
            let state = State::Body(dice::fingerprint(&resource));
            if listed.insert(path.clone(), (version.unwrap_or(0), state)).is_some() {
                held(ledger).find(format!("a search lists {path} twice"));
            }
        }
        match next(&answer) {
            Some(url) => {
                let request = access.client.request(Method::GET, url).bearer_auth(&access.token);
                page = try_send(request);
            }
            None => return,
        }
    }
}

fn next(answer: &Answer) -> Option<String> {
    answer.link("next")
}
