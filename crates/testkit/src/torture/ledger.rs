//! What was acknowledged, what is in doubt, and what a store must hold because of it.
//!
//! It owns the promise: an acknowledged version is there and stays as it is; what got
//! no answer is there wholly or not at all; nothing else is there. It refuses to speak
//! to a server: it looks through [`Look`].

use std::collections::{BTreeMap, BTreeSet};

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A body with this fingerprint.
    Body(u64),
    /// A deletion.
    Gone,
}

/// What a part of an operation writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `Type/id`, named by the client.
    Known(String),
    /// A new record whose id the server chooses; type and identifier.
    New(&'static str, String),
    /// A record that is created unless one with this identifier is there; type and
    /// identifier.
    One(&'static str, String),
}

/// One write of an operation.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where to.
    pub target: Target,
    /// What is there afterwards.
    pub state: State,
    /// The version that it replaces, when it said so.
    pub if_match: Option<u64>,
}

/// One operation that writes.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its name in the table of counts.
    pub kind: &'static str,
    /// Its writes.
    pub parts: Vec<Part>,
    /// All of them or none.
    pub atomic: bool,
    /// Acknowledged as a whole, without the versions that it made (an import).
    pub acknowledged: bool,
}

/// What is looked at in a store.
pub trait Look {
    /// A version of `Type/id`; `None` when there is none.
    fn version(&self, path: &str, version: u64) -> Option<State>;
    /// `Type/id` of the records of a type with this identifier that are not deleted.
    fn find(&self, ty: &str, marker: &str) -> Vec<String>;
}

/// One record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every version that is known to be there.
    pub versions: BTreeMap<u64, State>,
    /// Versions up to this one were looked at since the last start with nothing wrong.
    pub checked: u64,
    /// An operation on it got no answer: how it stands is not known.
    pub doubtful: bool,
}

impl Record {
    /// The latest version and what it is.
    #[must_use]
    pub fn last(&self) -> Option<(u64, State)> {
        self.versions.last_key_value().map(|(v, s)| (*v, *s))
    }
}

/// Numbers for the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Sent.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused as it had to be (a stale If-Match, a lost race).
    pub refused: u64,
    /// No answer, and found to be there.
    pub there: u64,
    /// No answer, and found not to be there.
    pub absent: u64,
}

/// What was promised.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records by `Type/id`.
    pub records: BTreeMap<String, Record>,
    /// The record of each contested identifier.
    pub contested: BTreeMap<String, String>,
    /// Operations that got no answer.
    pub doubts: Vec<Attempt>,
    /// Records written since the last look.
    pub touched: BTreeSet<String>,
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Numbers by kind of operation.
    pub counts: BTreeMap<&'static str, Count>,
}

impl Ledger {
    /// Writes down what is wrong.
    pub fn find(&mut self, what: String) {
        if self.wrong.len() < 200 {
            self.wrong.push(what);
        }
    }

    /// The count of a kind.
    pub fn count(&mut self, kind: &'static str) -> &mut Count {
        self.counts.entry(kind).or_default()
    }

    /// One write was acknowledged.
    pub fn acknowledge(&mut self, part: &Part, path: &str, version: u64) {
        match &part.target {
            Target::Known(asked) if asked != path => {
                self.find(format!("a write to {asked} was answered with {path}"));
            }
            Target::One(_, marker) => {
                let known =
                    self.contested.entry(marker.clone()).or_insert_with(|| path.to_owned()).clone();
                if known != path {
                    self.find(format!("{marker} was created twice: {known} and {path}"));
                }
            }
            Target::New(..) if version != 1 => {
                self.find(format!("a create made version {version} of {path}"));
            }
            _ => {}
        }
        if part.if_match.is_some_and(|m| version != m + 1) {
            self.find(format!("an update of version {:?} made {version}: {path}", part.if_match));
        }
        let record = self.records.entry(path.to_owned()).or_default();
        self.touched.insert(path.to_owned());
        let before = record.versions.insert(version, part.state);
        let again = matches!(part.target, Target::One(..)) && before == Some(part.state);
        if before.is_some() && !again {
            self.find(format!("version {version} of {path} was acknowledged twice"));
        }
    }

    /// An operation got no answer.
    pub fn doubt(&mut self, attempt: Attempt) {
        for part in &attempt.parts {
            if let Target::Known(path) = &part.target {
                self.records.entry(path.clone()).or_default().doubtful = true;
            }
        }
        self.doubts.push(attempt);
    }

    /// Compares with a store that nobody writes to what was written since the last
    /// look, and settles every doubt.
    pub fn settle(&mut self, look: &dyn Look) {
        let doubts = std::mem::take(&mut self.doubts);
        let mut paths = std::mem::take(&mut self.touched);
        for part in doubts.iter().flat_map(|a| &a.parts) {
            if let Target::Known(path) = &part.target {
                paths.insert(path.clone());
            }
        }
        let mut unexplained: BTreeMap<(String, u64), State> = BTreeMap::new();
        for path in paths {
            let found = self.versions_of(look, &path);
            unexplained.extend(found.into_iter().map(|(v, s)| ((path.clone(), v), s)));
        }
        for attempt in doubts {
            let mut fates = Vec::new();
            for part in &attempt.parts {
                let fate = match &part.target {
                    Target::Known(path) => {
                        let made = unexplained.iter().find(|((p, v), s)| {
                            p == path
                                && **s == part.state
                                && part.if_match.is_none_or(|m| *v == m + 1)
                        });
                        made.map(|((p, v), _)| (p.clone(), *v))
                    }
                    Target::New(ty, marker) | Target::One(ty, marker) => {
                        self.only(look, ty, marker, part.state)
                    }
                };
                if let Some((path, version)) = &fate {
                    unexplained.remove(&(path.clone(), *version));
                    self.acknowledge(part, path, *version);
                }
                fates.push(fate.is_some() || self.stands(part));
            }
            if attempt.acknowledged && fates.iter().any(|f| !f) {
                self.find(format!("{} was acknowledged and is not all there", attempt.kind));
            }
            let there = fates.iter().filter(|f| **f).count();
            if attempt.atomic && there != 0 && there != fates.len() {
                self.find(format!(
                    "{there} of {} writes of one {} are there: {:?}",
                    fates.len(),
                    attempt.kind,
                    attempt.parts
                ));
            }
            let count = self.count(attempt.kind);
            if there > 0 {
                count.there += 1;
            } else {
                count.absent += 1;
            }
        }
        for ((path, version), _) in unexplained {
            self.find(format!("nobody wrote version {version} of {path}"));
        }
        self.touched.clear();
        // What turned out never to have been is forgotten.
        self.records.retain(|_, r| {
            r.doubtful = false;
            !r.versions.is_empty()
        });
    }

    /// Looks at the latest known version of a record, at gaps, and at what comes after.
    /// Gives the versions that nobody is known to have written.
    fn versions_of(&mut self, look: &dyn Look, path: &str) -> Vec<(u64, State)> {
        let record = self.records.get(path).cloned().unwrap_or_default();
        let last = record.last().map_or(0, |(v, _)| v);
        if let Some((v, state)) = record.last() {
            self.compare(look, path, v, state);
        }
        let mut strange = Vec::new();
        for v in (record.checked + 1)..last {
            if !record.versions.contains_key(&v) {
                match look.version(path, v) {
                    Some(state) => strange.push((v, state)),
                    None => self.find(format!("version {v} of {path} is missing")),
                }
            }
        }
        for v in last + 1.. {
            match look.version(path, v) {
                Some(state) => strange.push((v, state)),
                None => break,
            }
        }
        strange
    }

    /// Whether a version is there as it was acknowledged.
    pub fn compare(&mut self, look: &dyn Look, path: &str, version: u64, state: State) {
        match look.version(path, version) {
            Some(found) if found == state => {}
            Some(_) => self.find(format!("version {version} of {path} is not what was written")),
            None => {
                self.find(format!("version {version} of {path} was acknowledged and is lost"));
            }
        }
    }

    /// Whether a record is as this write would leave it.
    fn stands(&self, part: &Part) -> bool {
        let Target::Known(path) = &part.target else { return false };
        let last = self.records.get(path).and_then(Record::last);
        last.is_some_and(|(_, state)| state == part.state)
    }

    /// The one record with this identifier.
    fn only(
        &mut self,
        look: &dyn Look,
        ty: &str,
        marker: &str,
        state: State,
    ) -> Option<(String, u64)> {
        let found = look.find(ty, marker);
        if found.len() > 1 {
            self.find(format!("{marker} was created {} times: {found:?}", found.len()));
        }
        let path = found.into_iter().next()?;
        if look.version(&path, 1) != Some(state) {
            self.find(format!("version 1 of {path} is not what {marker} wrote"));
        }
        Some((path, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store: versions by path, identifiers by path.
    #[derive(Default)]
    struct Fake {
        versions: BTreeMap<(String, u64), State>,
        markers: Vec<(String, String)>,
    }

    impl Fake {
        fn with(mut self, path: &str, version: u64, state: State) -> Self {
            self.versions.insert((path.to_owned(), version), state);
            self
        }

        fn named(mut self, path: &str, marker: &str) -> Self {
            self.markers.push((path.to_owned(), marker.to_owned()));
            self
        }
    }

    impl Look for Fake {
        fn version(&self, path: &str, version: u64) -> Option<State> {
            self.versions.get(&(path.to_owned(), version)).copied()
        }

        fn find(&self, _: &str, marker: &str) -> Vec<String> {
            self.markers.iter().filter(|(_, m)| m == marker).map(|(p, _)| p.clone()).collect()
        }
    }

    const A: State = State::Body(1);
    const B: State = State::Body(2);

    fn known(path: &str, state: State, if_match: Option<u64>) -> Part {
        Part { target: Target::Known(path.to_owned()), state, if_match }
    }

    fn attempt(atomic: bool, parts: Vec<Part>) -> Attempt {
        Attempt { kind: "test", parts, atomic, acknowledged: false }
    }

    fn check(setup: impl Fn(&mut Ledger), store: &Fake) -> Vec<String> {
        let mut ledger = Ledger::default();
        setup(&mut ledger);
        ledger.settle(store);
        ledger.wrong
    }

    #[test]
    fn a_lost_write_is_named_and_a_kept_one_is_not() {
        let wrote = |l: &mut Ledger| l.acknowledge(&known("O/1", A, None), "O/1", 1);
        assert_eq!(check(wrote, &Fake::default().with("O/1", 1, A)), Vec::<String>::new());
        assert!(check(wrote, &Fake::default())[0].contains("is lost"));
        let other = Fake::default().with("O/1", 1, B);
        assert!(check(wrote, &other)[0].contains("not what was written"));
        let more = Fake::default().with("O/1", 1, A).with("O/1", 2, B);
        assert!(check(wrote, &more)[0].contains("nobody wrote"));
    }

    #[test]
    fn a_doubt_may_have_either_end_but_no_third() {
        let doubted = |l: &mut Ledger| {
            l.acknowledge(&known("O/1", A, None), "O/1", 1);
            l.doubt(attempt(false, vec![known("O/1", B, Some(1))]));
        };
        let before = Fake::default().with("O/1", 1, A);
        assert_eq!(check(doubted, &before), Vec::<String>::new());
        let after = Fake::default().with("O/1", 1, A).with("O/1", 2, B);
        assert_eq!(check(doubted, &after), Vec::<String>::new());
        let twice = Fake::default().with("O/1", 1, A).with("O/1", 2, B).with("O/1", 3, B);
        assert!(check(doubted, &twice)[0].contains("nobody wrote version 3"));
    }

    #[test]
    fn half_a_transaction_is_named_and_half_a_batch_is_not() {
        let half = Fake::default().with("O/1", 1, A);
        for atomic in [true, false] {
            let both = vec![known("O/1", A, None), known("O/2", B, None)];
            let wrong = check(|l| l.doubt(attempt(atomic, both.clone())), &half);
            assert_eq!(!wrong.is_empty(), atomic, "{wrong:?}");
        }
    }

    #[test]
    fn an_import_that_ended_well_is_all_there() {
        let half = Fake::default().with("O/1", 1, A);
        let parts = vec![known("O/1", A, None), known("O/2", B, None)];
        let import = Attempt { acknowledged: true, ..attempt(false, parts) };
        assert!(check(|l| l.doubt(import.clone()), &half)[0].contains("not all there"));
        // Killed, and run again to its end: once or twice, both are right.
        let killed = Attempt { acknowledged: false, ..import.clone() };
        for whole in [
            half.with("O/2", 1, B),
            Fake::default().with("O/1", 1, A).with("O/1", 2, A).with("O/2", 1, B),
        ] {
            let both = |l: &mut Ledger| {
                l.doubt(killed.clone());
                l.doubt(import.clone());
            };
            assert_eq!(check(both, &whole), Vec::<String>::new());
        }
    }

    #[test]
    fn what_was_created_twice_is_named() {
        let one = Part { target: Target::One("O", "m".to_owned()), state: A, if_match: None };
        let new = Part { target: Target::New("O", "m".to_owned()), state: A, if_match: None };
        let two =
            Fake::default().with("O/1", 1, A).with("O/2", 1, A).named("O/1", "m").named("O/2", "m");
        for part in [&one, &new] {
            let wrong = check(|l| l.doubt(attempt(false, vec![part.clone()])), &two);
            assert!(wrong[0].contains("created 2 times"), "{wrong:?}");
        }
        let mut ledger = Ledger::default();
        ledger.acknowledge(&one, "O/1", 1);
        ledger.acknowledge(&one, "O/1", 1);
        assert_eq!(ledger.wrong, Vec::<String>::new());
        ledger.acknowledge(&one, "O/2", 1);
        assert!(ledger.wrong[0].contains("created twice"));
    }

    #[test]
    fn one_version_has_one_writer() {
        let mut ledger = Ledger::default();
        ledger.acknowledge(&known("O/1", A, None), "O/1", 1);
        ledger.acknowledge(&known("O/1", B, Some(1)), "O/1", 2);
        ledger.acknowledge(&known("O/1", A, Some(1)), "O/1", 2);
        assert!(ledger.wrong[0].contains("acknowledged twice"));
    }
}
