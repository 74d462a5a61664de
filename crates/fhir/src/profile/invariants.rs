//! The invariants of R4's types, by the path that states them: `Patient.contact`, `Period`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::structure::Constraint;
use crate::fhirpath::Expression;

const TABLE: &str = include_str!("tables/invariants.txt");

/// Checked by [`crate::validate`], or (`dom-6`) advice about narrative that nobody wants to
/// hear of every resource.
const ELSEWHERE: [&str; 1] = ["dom-6"];

/// The invariants stated at a path. Those of the types that it derives from or uses are
/// stated there.
pub(super) fn at(path: &str) -> &'static [Constraint] {
    static ALL: OnceLock<HashMap<&'static str, Vec<Constraint>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut all: HashMap<_, Vec<Constraint>> = HashMap::new();
        for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
            let mut columns = line.splitn(4, '\t');
            let (Some(path), Some(key), Some(severity), Some(text)) =
                (columns.next(), columns.next(), columns.next(), columns.next())
            else {
                continue;
            };
            if ELSEWHERE.contains(&key) {
                continue;
            }
            let expression = Expression::parse(text).ok().map(Arc::new);
            let error = severity == "e";
            all.entry(path).or_default().push(Constraint { key: key.into(), error, expression });
        }
        all
    });
    all.get(path).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|l| !l.starts_with('#'));
        let mut n = 0;
        for line in lines {
            let columns: Vec<&str> = line.splitn(4, '\t').collect();
            assert!(Expression::parse(columns[3]).is_ok(), "{line}");
            n += usize::from(!ELSEWHERE.contains(&columns[1]));
        }
        let held: usize = TABLE
            .lines()
            .filter_map(|l| l.split('\t').next())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|path| at(path).len())
            .sum();
        assert_eq!(held, n);
        assert!(n > 220, "{n}");
    }
}
