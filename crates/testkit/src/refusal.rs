//! Refusals, held against the page that lists them. It owns no list of its own.
#![expect(
    clippy::unwrap_used,
    reason = "a page that can't be read fails the test that asked for it"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use crate::world::Answer;

/// Holds that a refusal is one of `docs/reference/errors.md`.
///
/// # Panics
/// When it is not.
pub fn is_documented(answer: &Answer) {
    static ERRORS: OnceLock<BTreeSet<(u16, String)>> = OnceLock::new();
    let all = ERRORS.get_or_init(|| {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/errors.md");
        let page = std::fs::read_to_string(page).unwrap();
        let cells = |line: &str| -> Option<(u16, String)> {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let status = cells.next()?.parse().ok()?;
            Some((status, cells.next()?.trim_matches('`').to_owned()))
        };
        page.lines().filter_map(cells).collect()
    });
    if answer.status < 400 {
        return;
    }
    let json = answer.json();
    for issue in json.pointer("/issue").and_then(|i| i.as_array()).into_iter().flatten() {
        let bad =
            ["error", "fatal"].iter().any(|s| issue.pointer("/severity").is_some_and(|v| v == s));
        let code = issue.pointer("/code").and_then(|c| c.as_str()).unwrap_or_default().to_owned();
        assert!(
            !bad || all.contains(&(answer.status, code.clone())),
            "{} with {code} is no row of crates/phial/src/http/errors.rs: {}",
            answer.status,
            answer.text()
        );
    }
}
