//! The index against a second opinion, and against those who would read it without its key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use phial_base::{ClassSet, DataClass, Label, LabelSet, LogicalId, RowId, Seq, Version};
use phial_crypto::SecretKey;
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Extracted, Filter, Include, Modifier, On, Operand, ParamId, Prefix, Query, SortKey, Term,
    param, primary_date_param,
};
use phial_policy::{Relationship, RelationshipSet};
use phial_store::Error;
use phial_store::Options;
use phial_store::index::{Index, Indexed, PageKey, Shape, Viewer};
use proptest::prelude::*;

use crate::index_model::Model;

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

fn open(dir: &tempfile::TempDir) -> Index {
    Index::open(dir.path(), 1, &key(1), &Options::default()).unwrap()
}

fn ty(name: &str) -> ResourceType {
    ResourceType::from_name(name).unwrap()
}

fn p(t: &str, code: &str) -> ParamId {
    param(ty(t), code).unwrap()
}

fn id(s: &str) -> LogicalId {
    LogicalId::new(s).unwrap()
}

fn everything(_: &Shape, _: RelationshipSet) -> ClassSet {
    ClassSet::ALL
}

/// SplitMix64: enough to choose with.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone()
    }
}

const DAY: i64 = 86_400_000_000;

const PARAMS: &[(&str, &[&str])] = &[
    (
        "Patient",
        &[
            "name",
            "family",
            "birthdate",
            "identifier",
            "gender",
            "general-practitioner",
            "organization",
            "_tag",
            "_profile",
        ],
    ),
    (
        "Observation",
        &[
            "code",
            "combo-code",
            "status",
            "date",
            "value-quantity",
            "combo-value-quantity",
            "patient",
            "subject",
            "performer",
            "encounter",
            "value-string",
            "identifier",
        ],
    ),
    (
        "Encounter",
        &["participant", "practitioner", "date", "status", "patient", "subject", "identifier"],
    ),
    ("CareTeam", &["participant", "patient", "subject", "status", "date"]),
    ("Appointment", &["actor", "patient", "practitioner", "date", "status"]),
    ("PractitionerRole", &["practitioner", "organization", "active"]),
    ("RiskAssessment", &["probability", "patient", "subject", "date", "performer"]),
];

fn reference(d: &mut Dice, types: &[&str]) -> (ResourceType, Box<str>) {
    let t = d.of(types);
    let names: &[&str] = match t {
        "Patient" => &["p1", "p2", "p3"],
        "Practitioner" => &["dr1", "dr2"],
        "PractitionerRole" => &["a", "b"],
        "Organization" => &["o1", "o2"],
        _ => &["a", "b", "c"],
    };
    (ty(t), d.of(names).into())
}

fn targets(code: &str) -> &'static [&'static str] {
    match code {
        "patient" => &["Patient"],
        "subject" => &["Patient", "Patient", "Patient", "Group"],
        "general-practitioner" | "participant" => &["Practitioner"],
        "actor" => &["Practitioner", "Practitioner", "PractitionerRole", "Patient"],
        // Only types that every `performer` here may have: an id alone is looked for
        // among the types that the parameter names.
        "performer" => &["Practitioner", "PractitionerRole"],
        "organization" => &["Organization"],
        "encounter" => &["Encounter"],
        _ => &["Practitioner"],
    }
}

fn day(d: &mut Dice) -> (i64, i64) {
    let low = 19_700 * DAY
        + i64::try_from(d.below(12)).unwrap() * DAY
        + i64::try_from(d.below(3)).unwrap() * 3_600_000_000;
    match d.below(12) {
        0 => (i64::MIN, low),
        1 => (low, i64::MAX),
        2 => (low, low + 40 * DAY),
        3 => (low, low + 3 * DAY + 7),
        4..=7 => (low, low + DAY),
        _ => (low, low + 1_000_000),
    }
}

fn number(d: &mut Dice) -> (f64, f64, f64) {
    let value = [0.0, 1.0, 1.5, 2.0, 10.0, -3.0][usize::try_from(d.below(6)).unwrap()];
    (value, value - 0.5, value + 0.5)
}

fn text(d: &mut Dice, options: &[&str]) -> Box<str> {
    d.of(options).into()
}

const NAMES: &[&str] = &["Zoë", "zoe", "Zoe Ann", "Smith", "SMITHERS", "O'Neil", "a"];

fn term(d: &mut Dice, code: &str) -> Term {
    match code {
        "name" | "family" | "value-string" => Term::Str {
            text: if d.one_in(8) {
                format!("{}{}", "long ".repeat(12), d.below(3)).into()
            } else {
                text(d, NAMES)
            },
        },
        "birthdate" | "date" => {
            let (low, high) = day(d);
            Term::Date { low, high }
        }
        "probability" => {
            let (value, low, high) = number(d);
            Term::Number { low, high, value }
        }
        "value-quantity" | "combo-value-quantity" => {
            let (value, low, high) = number(d);
            let system = d.one_in(2).then(|| text(d, &["http://unitsofmeasure.org", "urn:u"]));
            let code = d.one_in(2).then(|| text(d, &["mg", "kg"]));
            let unit = d.one_in(2).then(|| text(d, &["mg", "stone"]));
            Term::Quantity { value, low, high, system, code, unit }
        }
        "_profile" => Term::Uri { uri: text(d, &["http://x/a", "http://x/b"]) },
        "patient"
        | "subject"
        | "general-practitioner"
        | "participant"
        | "actor"
        | "performer"
        | "organization"
        | "encounter"
        | "practitioner" => {
            if d.one_in(12) {
                let url = Some(text(d, &["http://other/Patient/1", "http://other/2"]));
                return Term::Ref { target: None, id: None, url, identifier: None };
            }
            let (target, id) = reference(d, targets(code));
            let identifier = d.one_in(6).then(|| (None, Box::from("x")));
            Term::Ref { target: Some(target), id: Some(id), url: None, identifier }
        }
        "status" => Term::Token {
            system: None,
            code: Some(text(
                d,
                &["active", "final", "cancelled", "entered-in-error", "inactive", "noshow"],
            )),
        },
        "active" => Term::Token { system: None, code: Some(text(d, &["true", "false"])) },
        _ => Term::Token {
            system: (!d.one_in(4)).then(|| text(d, &["urn:s1", "urn:s2"])),
            code: (!d.one_in(10)).then(|| text(d, &["A", "B", "C"])),
        },
    }
}

fn record(seed: u64, seq: u64) -> Indexed {
    let mut d = Dice(seed);
    let (name, codes) = d.of(PARAMS);
    let t = ty(name);
    let id_ = match name {
        "Patient" => d.of(&["p1", "p2", "p3"]),
        _ => d.of(&["a", "b", "c", "00112233-4455-6677-8899-aabbccddeeff"]),
    };
    let mut values = Vec::new();
    for code in codes {
        let prm = p(name, code);
        let classes: Vec<DataClass> = prm.classes(t).iter().collect();
        if classes.is_empty() {
            continue;
        }
        let n = if d.one_in(5) { 2 } else { u64::from(!d.one_in(4)) };
        for _ in 0..n {
            let v = (prm, d.of(&classes), term(&mut d, code));
            // Some values belong to several parameters, as in life.
            if let Some(twin) = match *code {
                "code" => Some("combo-code"),
                "name" => Some("family"),
                "patient" => Some("subject"),
                "value-quantity" => Some("combo-value-quantity"),
                _ => None,
            } && codes.contains(&twin)
                && p(name, twin).classes(t).has(v.1)
                && !d.one_in(3)
            {
                values.push((p(name, twin), v.1, v.2.clone()));
            }
            values.push(v);
        }
    }
    // About the patients that it names, mostly.
    let mut patients: BTreeSet<LogicalId> = values
        .iter()
        .filter_map(|(q, _, t)| match t {
            Term::Ref { target: Some(t), id: Some(i), .. }
                if t.name() == "Patient" && (q.code() != "performer" || d.one_in(2)) =>
            {
                Some(id(i))
            }
            _ => None,
        })
        .collect();
    if name == "Patient" {
        patients = [id(id_)].into();
    }
    if name == "PractitionerRole" {
        patients.clear();
    }
    let labels = if d.one_in(4) { LabelSet::NONE.with(Label::PSY) } else { LabelSet::NONE };
    let primary = primary_date_param(t);
    let primary_date = values.iter().find_map(|(q, _, t)| match t {
        Term::Date { low, .. } if Some(*q) == primary => Some(*low),
        _ => None,
    });
    let mut row = [0; 16];
    row[0] = t.number();
    for (to, from) in row[1..].iter_mut().zip(id_.bytes().rev()) {
        *to = from;
    }
    Indexed {
        seq: Seq(seq),
        row: RowId(row),
        version: Version(u32::try_from(seq).unwrap()),
        ty: t,
        id: id(id_),
        patients: patients.into_iter().collect(),
        labels,
        classes: ClassSet::ALL,
        deleted: d.one_in(12),
        last_updated: 19_800 * DAY + i64::try_from(d.below(6)).unwrap() * DAY,
        values: Extracted { values, primary_date },
    }
}

fn operand(d: &mut Dice, code: &str) -> Operand {
    const PREFIXES: [Prefix; 9] = [
        Prefix::Eq,
        Prefix::Ne,
        Prefix::Gt,
        Prefix::Lt,
        Prefix::Ge,
        Prefix::Le,
        Prefix::Sa,
        Prefix::Eb,
        Prefix::Ap,
    ];
    match term(d, code) {
        Term::Token { system, code } => match d.below(4) {
            0 => Operand::Token { system: Some(system), code },
            1 if system.is_some() => Operand::Token { system: Some(system), code: None },
            2 => Operand::Token { system: Some(None), code: Some(code.unwrap_or("A".into())) },
            _ => Operand::Token { system: None, code: Some(code.unwrap_or("B".into())) },
        },
        Term::Str { text } => {
            let cut: String =
                text.chars().take(1 + usize::try_from(d.below(70)).unwrap()).collect();
            Operand::Str(if d.one_in(2) { cut.into() } else { text })
        }
        Term::Date { low, high } => {
            let low = low.max(19_690 * DAY);
            Operand::Date { prefix: d.of(&PREFIXES), low, high: high.min(low + 60 * DAY) }
        }
        Term::Number { low, high, value } => {
            Operand::Number { prefix: d.of(&PREFIXES), value, low, high }
        }
        Term::Quantity { value, low, high, system, code, .. } => {
            Operand::Quantity { prefix: d.of(&PREFIXES), value, low, high, system, code }
        }
        Term::Ref { target, id, url, .. } => {
            Operand::Ref { target: if d.one_in(3) { None } else { target }, id, url }
        }
        Term::Uri { uri } => Operand::Uri(uri),
    }
}

fn query(seed: u64) -> Query {
    let mut d = Dice(seed);
    let (name, codes) = d.of(PARAMS);
    let mut q = Query::all(ty(name));
    for _ in 0..d.below(4) {
        if d.one_in(12) {
            let values = vec![Operand::Id(id("a")), Operand::Id(id(d.of(&["p1", "b", "none"])))];
            q.filters.push(Filter { on: On::Id, modifier: Modifier::None, values });
            continue;
        }
        if d.one_in(12) {
            let low = (19_800 + i64::try_from(d.below(6)).unwrap()) * DAY;
            let prefix = d.of(&[Prefix::Ge, Prefix::Lt, Prefix::Eq, Prefix::Ne]);
            let values = vec![Operand::Date { prefix, low, high: low + DAY }];
            q.filters.push(Filter { on: On::LastUpdated, modifier: Modifier::None, values });
            continue;
        }
        let code = d.of(codes);
        let prm = p(name, code);
        if d.one_in(10) {
            let values = vec![Operand::Missing(d.one_in(2))];
            q.filters.push(Filter { on: On::Param(prm), modifier: Modifier::Missing, values });
            continue;
        }
        let mut values = vec![operand(&mut d, code)];
        if d.one_in(3) {
            values.push(operand(&mut d, code));
        }
        let modifier = match &values[0] {
            Operand::Token { .. } if d.one_in(4) => Modifier::Not,
            Operand::Str(_) => d.of(&[Modifier::None, Modifier::Exact, Modifier::Contains]),
            _ => Modifier::None,
        };
        q.filters.push(Filter { on: On::Param(prm), modifier, values });
    }
    let sorts = d.below(3);
    if sorts > 0 && d.one_in(2) && codes.contains(&"date") {
        q.sort.push(SortKey { on: On::Param(p(name, "date")), descending: d.one_in(2) });
    } else {
        for _ in 0..sorts {
            let on = match d.below(6) {
                0 => On::Id,
                1 => On::LastUpdated,
                _ => On::Param(p(name, d.of(codes))),
            };
            q.sort.push(SortKey { on, descending: d.one_in(2) });
        }
    }
    if d.one_in(3) {
        let (t, i) = reference(&mut d, &["Patient", "Patient", "Practitioner", "Encounter"]);
        q.compartment = Some((t, id(&i)));
    }
    q
}

/// A policy drawn from a seed: the mask of a shape under relationships.
fn policy(seed: u64) -> impl Fn(&Shape, RelationshipSet) -> ClassSet {
    move |s, r| {
        if seed % 3 == 0 {
            return ClassSet::ALL;
        }
        let mut d = Dice(
            seed ^ u64::from(s.ty.number()) << 40
                ^ u64::from(s.labels.bits()) << 20
                ^ u64::from(s.about_patient) << 10
                ^ u64::from(r.bits()),
        );
        if d.one_in(6) {
            return ClassSet::NONE;
        }
        let drawn = d.next() | d.next();
        let mask = ClassSet::from_bits(u16::try_from(drawn & 0xfff).unwrap());
        if d.one_in(8) { mask } else { mask.with(DataClass::Administrative) }
    }
}

fn viewer(seed: u64) -> Viewer {
    let mut d = Dice(seed);
    Viewer {
        practitioner: (!d.one_in(4)).then(|| id(d.of(&["dr1", "dr2", "nobody"]))),
        patient: d.one_in(3).then(|| id(d.of(&["p1", "p2", "p9"]))),
    }
}

/// All pages of a search at a page size; also checks what each page claims.
fn pages(
    index: &Index,
    q: &Query,
    viewer: &Viewer,
    mask: &dyn Fn(&Shape, RelationshipSet) -> ClassSet,
    at: Seq,
    limit: u32,
    count: bool,
) -> (Vec<Seq>, Option<u64>) {
    let mut out = Vec::new();
    let mut after: Option<PageKey> = None;
    let mut total = None;
    loop {
        let asked = RefCell::new(BTreeSet::new());
        let access = |s: &Shape, r: RelationshipSet| {
            let once = (s.ty, s.labels.bits(), s.about_patient, r.bits());
            assert!(asked.borrow_mut().insert(once), "a shape is judged once a search");
            mask(s, r)
        };
        let page = index.search(q, viewer, &access, at, after.as_ref(), limit, count).unwrap();
        assert!(page.hits.len() <= limit as usize);
        assert!(page.hits.is_sorted_by(|a, b| a.key < b.key));
        if count {
            assert!(total.is_none_or(|t| Some(t) == page.total), "the total holds on every page");
            total = page.total;
        }
        out.extend(page.hits.iter().map(|h| h.seq));
        match page.next {
            Some(next) => {
                assert_eq!(page.hits.len(), limit as usize);
                // Any node continues from the bytes.
                after = Some(PageKey::decode(&next.encode()).unwrap());
            }
            None => return (out, total),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn search_is_what_each_record_by_itself_says(
        records in prop::collection::vec(any::<u64>(), 1..90),
        queries in prop::collection::vec(any::<u64>(), 40),
        seed in any::<u64>(),
        batch in 1_usize..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let index = open(&dir);
        let log: Vec<Indexed> = (1..).zip(&records).map(|(n, s)| record(*s, n * 2)).collect();
        let model = Model { log: &log };
        let mut d = Dice(seed);
        for part in log.chunks(batch) {
            index.apply(part).unwrap();
            // Something kept from before the next change must not outlive it.
            index.relationships(&viewer(seed), &[id("p1")]).unwrap();
        }
        prop_assert_eq!(index.applied(), log.last().unwrap().seq);
        for q in &queries {
            let query = query(*q);
            let mask = policy(d.next());
            let viewer = viewer(if d.one_in(2) { seed } else { *q });
            let end = log.last().unwrap().seq.0;
            let at = if d.one_in(2) { Seq(end) } else { Seq(d.below(end + 1)) };
            let want = model.search(&query, &viewer, &mask, at);
            let limit = u32::try_from(1 + d.below(5)).unwrap();
            let count = d.one_in(2);
            let (got, total) = pages(&index, &query, &viewer, &mask, at, limit, count);
            prop_assert_eq!(&got, &want, "{:?} limit {} count {}", query, limit, count);
            prop_assert_eq!(total, count.then_some(want.len() as u64));
            let none = index.search(&query, &viewer, &mask, at, None, 0, true).unwrap();
            prop_assert_eq!(none.total, Some(want.len() as u64));
            prop_assert!(none.hits.is_empty());

            let hits = index.search(&query, &viewer, &mask, at, None, 100, false).unwrap().hits;
            for code in ["subject", "participant", "encounter", "actor"] {
                let Some(by) = param(query.ty, code) else { continue };
                let include = [Include { source: query.ty, param: by, target: None }];
                let got: BTreeSet<Seq> = index
                    .includes(&include, &hits, &viewer, &mask, at)
                    .unwrap()
                    .iter()
                    .map(|h| h.seq)
                    .collect();
                let want = model.includes(&want, query.ty, by, &viewer, &mask, at);
                prop_assert_eq!(got, want, "{:?} {}", query, code);
            }
        }
        for patients in [vec![], vec![id("p1")], vec![id("p1"), id("p2")], vec![id("p9")]] {
            for v in [seed, seed ^ 1, seed ^ 2] {
                let v = viewer(v);
                prop_assert_eq!(
                    index.relationships(&v, &patients).unwrap(),
                    model.relationships(&v, &patients)
                );
            }
        }
    }

    #[test]
    fn an_index_equals_its_rebuild(
        records in prop::collection::vec(any::<u64>(), 1..120),
        cut in 1_usize..50,
    ) {
        let log: Vec<Indexed> = (1..).zip(&records).map(|(n, s)| record(*s, n)).collect();
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = open(&a);
        for part in log.chunks(cut) {
            first.apply(part).unwrap();
            first.expire(19_803 * DAY).unwrap();
        }
        let second = open(&b);
        second.apply(&log).unwrap();
        prop_assert_eq!(first.dump().unwrap(), second.dump().unwrap());
        second.expire(i64::MAX).unwrap();
        prop_assert_eq!(first.dump().unwrap(), second.dump().unwrap());
        // And what a closed file says when it is opened again.
        drop(first);
        let again = open(&a);
        prop_assert_eq!(again.applied(), log.last().unwrap().seq);
        prop_assert_eq!(again.dump().unwrap(), second.dump().unwrap());
        let model = Model { log: &log };
        for n in 0..20 {
            let q = query(records[0] ^ n);
            let at = again.applied();
            let want = model.search(&q, &Viewer::default(), &everything, at);
            let (got, _) = pages(&again, &q, &Viewer::default(), &everything, at, 3, false);
            prop_assert_eq!(got, want, "{:?}", q);
        }
    }

    #[test]
    fn a_forgotten_patient_is_as_if_never_written(
        records in prop::collection::vec(any::<u64>(), 1..80),
    ) {
        let log: Vec<Indexed> = (1..).zip(&records).map(|(n, s)| record(*s, n)).collect();
        let without: Vec<Indexed> = {
            // A record that was about the patient in one version, and is about others in
            // the current one, stays with its other versions.
            log.iter().filter(|v| !v.patients.contains(&id("p1"))).cloned().collect()
        };
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = open(&a);
        first.apply(&log).unwrap();
        first.expire(i64::MAX).unwrap();
        first.forget_patient(&id("p1")).unwrap();
        let second = open(&b);
        second.apply(&without).unwrap();
        second.advance(first.applied()).unwrap();
        let end = first.applied();
        for n in 0..30 {
            let q = query(records[0] ^ n);
            let (got, _) = pages(&first, &q, &Viewer::default(), &everything, end, 3, false);
            let last = |v: &Indexed| {
                log.iter().rev().find(|o| (o.ty, &o.id) == (v.ty, &v.id)).map(|o| o.seq)
            };
            let model = Model { log: &without };
            let want: Vec<Seq> = model
                .search(&q, &Viewer::default(), &everything, end)
                .into_iter()
                .filter(|s| log.iter().any(|v| v.seq == *s && last(v) == Some(*s)))
                .collect();
            prop_assert_eq!(got, want, "{:?}", q);
        }
        // The index goes on after it.
        let mut more = record(records[0], end.0 + 1);
        more.deleted = false;
        first.apply(&[more]).unwrap();
        prop_assert_eq!(first.applied(), Seq(end.0 + 1));
        first.dump().unwrap();
    }
}

fn plain(
    seq: u64,
    t: &str,
    i: &str,
    patients: &[&str],
    values: Vec<(ParamId, DataClass, Term)>,
) -> Indexed {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&seq.to_le_bytes());
    Indexed {
        seq: Seq(seq),
        row: RowId(row),
        version: Version(1),
        ty: ty(t),
        id: id(i),
        patients: patients.iter().map(|p| id(p)).collect(),
        labels: LabelSet::NONE,
        classes: ClassSet::ALL,
        deleted: false,
        last_updated: i64::try_from(seq).unwrap(),
        values: Extracted { values, primary_date: None },
    }
}

fn to(t: &str, i: &str) -> Term {
    Term::Ref { target: Some(ty(t)), id: Some(i.into()), url: None, identifier: None }
}

fn code(c: &str) -> Term {
    Term::Token { system: None, code: Some(c.into()) }
}

const ADMIN: DataClass = DataClass::Administrative;

fn doctor() -> Viewer {
    Viewer { practitioner: Some(id("dr")), patient: None }
}

#[track_caller]
fn check_tie(records: Vec<Indexed>, want: &[Relationship]) {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    // Asked before too: an answer kept from then must not stay.
    index.relationships(&doctor(), &[id("p")]).unwrap();
    for r in &records {
        index.apply(std::slice::from_ref(r)).unwrap();
        index.relationships(&doctor(), &[id("p")]).unwrap();
    }
    let got = index.relationships(&doctor(), &[id("p")]).unwrap();
    assert_eq!(got, want.iter().copied().collect());
    assert_eq!(
        index.relationships(&doctor(), &[id("p"), id("other")]).unwrap(),
        RelationshipSet::NONE,
        "one tied patient does not open a record about two"
    );
}

fn team(seq: u64, i: &str, member: Term, status: &str) -> Indexed {
    plain(
        seq,
        "CareTeam",
        i,
        &["p"],
        vec![
            (p("CareTeam", "participant"), ADMIN, member),
            (p("CareTeam", "patient"), ADMIN, to("Patient", "p")),
            (p("CareTeam", "subject"), ADMIN, to("Patient", "p")),
            (p("CareTeam", "status"), ADMIN, code(status)),
        ],
    )
}

#[test]
fn a_member_of_the_care_team_is_tied_until_it_ends() {
    check_tie(vec![team(1, "t", to("Practitioner", "dr"), "active")], &[Relationship::CareTeam]);
    check_tie(vec![team(1, "t", to("Practitioner", "dr"), "inactive")], &[]);
    check_tie(vec![team(1, "t", to("Practitioner", "other"), "active")], &[]);
    check_tie(
        vec![
            team(1, "t", to("Practitioner", "dr"), "active"),
            team(2, "t", to("Practitioner", "dr"), "entered-in-error"),
        ],
        &[],
    );
    let mut gone = team(2, "t", to("Practitioner", "dr"), "active");
    gone.deleted = true;
    gone.values = Extracted::default();
    check_tie(vec![team(1, "t", to("Practitioner", "dr"), "active"), gone], &[]);
}

fn role(seq: u64, active: &str) -> Indexed {
    plain(
        seq,
        "PractitionerRole",
        "r",
        &[],
        vec![
            (p("PractitionerRole", "practitioner"), ADMIN, to("Practitioner", "dr")),
            (p("PractitionerRole", "organization"), ADMIN, to("Organization", "o")),
            (p("PractitionerRole", "active"), ADMIN, code(active)),
        ],
    )
}

#[test]
fn a_role_ties_its_practitioner_while_it_is_active() {
    let team = |seq| team(seq, "t", to("PractitionerRole", "r"), "active");
    check_tie(vec![role(1, "true"), team(2)], &[Relationship::CareTeam]);
    check_tie(vec![team(1), role(2, "true")], &[Relationship::CareTeam]);
    check_tie(vec![role(1, "true"), team(2), role(3, "false")], &[]);
}

#[test]
fn the_managing_organization_ties_its_practitioners() {
    let patient = |seq| {
        plain(
            seq,
            "Patient",
            "p",
            &["p"],
            vec![(p("Patient", "organization"), ADMIN, to("Organization", "o"))],
        )
    };
    check_tie(vec![patient(1), role(2, "true")], &[Relationship::Assignment]);
    check_tie(vec![role(1, "true"), patient(2)], &[Relationship::Assignment]);
    check_tie(vec![patient(1), role(2, "false")], &[]);
}

#[test]
fn an_appointment_ties_unless_it_was_called_off() {
    let visit = |status| {
        let actor = p("Appointment", "actor");
        plain(
            1,
            "Appointment",
            "a",
            &["p"],
            vec![
                (actor, ADMIN, to("Practitioner", "dr")),
                (actor, ADMIN, to("Patient", "p")),
                (p("Appointment", "status"), ADMIN, code(status)),
            ],
        )
    };
    check_tie(vec![visit("booked")], &[Relationship::Appointment]);
    for status in ["cancelled", "noshow", "entered-in-error"] {
        check_tie(vec![visit(status)], &[]);
    }
}

#[test]
fn encounter_and_general_practitioner_tie() {
    let encounter = plain(
        1,
        "Encounter",
        "e",
        &["p"],
        vec![
            (p("Encounter", "participant"), ADMIN, to("Practitioner", "dr")),
            (p("Encounter", "subject"), ADMIN, to("Patient", "p")),
        ],
    );
    let patient = plain(
        2,
        "Patient",
        "p",
        &["p"],
        vec![(p("Patient", "general-practitioner"), ADMIN, to("Practitioner", "dr"))],
    );
    check_tie(
        vec![encounter, patient],
        &[Relationship::Encounter, Relationship::GeneralPractitioner],
    );
}

#[test]
fn another_key_makes_the_file_unusable() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).apply(&[role(1, "true")]).unwrap();
    let wrong = Index::open(dir.path(), 1, &key(2), &Options::default());
    assert!(matches!(wrong, Err(Error::Unusable)), "{wrong:?}");
    assert_eq!(open(&dir).applied(), Seq(1), "the right key still opens it");
    Index::delete(dir.path(), 1).unwrap();
    assert_eq!(open(&dir).applied(), Seq(0));
}

#[test]
fn a_damaged_page_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log: Vec<Indexed> = (1..400).map(|n| record(n * 77, n)).collect();
    {
        let index = open(&dir);
        index.apply(&log).unwrap();
    }
    let file = Index::file(dir.path(), 1);
    let mut bytes = fs::read(&file).unwrap();
    for page in bytes.chunks_mut(8192).skip(1) {
        page[4000] ^= 1;
    }
    fs::write(&file, bytes).unwrap();
    let found = Index::open(dir.path(), 1, &key(1), &Options::default())
        .and_then(|index| index.dump().map(|_| ()));
    assert!(matches!(found, Err(Error::Unusable)), "{found:?}");
}

#[test]
fn no_file_of_the_index_shows_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    let needle = "Xanthippe-needle";
    let record = plain(
        1,
        "Patient",
        needle,
        &[needle],
        vec![
            (p("Patient", "name"), DataClass::Demographic, Term::Str { text: needle.into() }),
            (p("Patient", "identifier"), DataClass::Identifier, code(needle)),
            (
                p("Patient", "identifier"),
                DataClass::Identifier,
                Term::Token { system: Some(needle.into()), code: None },
            ),
        ],
    );
    index.apply(&[record]).unwrap();
    let clean = |what: &str| {
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let shown = bytes.windows(9).any(|w| w.eq_ignore_ascii_case(b"Xanthippe"));
            assert!(!shown, "{what}: {}", path.display());
            assert!(!bytes.starts_with(b"SQLite format 3"), "{what}: {}", path.display());
        }
    };
    clean("open");
    drop(index);
    clean("closed");
}

#[test]
fn a_snapshot_outlives_updates_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    let version = |seq, status| {
        let mut v = plain(
            seq,
            "Observation",
            "o",
            &["p"],
            vec![(p("Observation", "status"), ADMIN, code(status))],
        );
        v.version = Version(u32::try_from(seq).unwrap());
        v
    };
    index.apply(&[version(1, "preliminary"), version(2, "final")]).unwrap();
    let mut q = Query::all(ty("Observation"));
    q.filters.push(Filter {
        on: On::Param(p("Observation", "status")),
        modifier: Modifier::None,
        values: vec![Operand::Token { system: None, code: Some("preliminary".into()) }],
    });
    let find = |at| {
        let page = index.search(&q, &Viewer::default(), &everything, Seq(at), None, 9, true);
        page.unwrap().total
    };
    assert_eq!((find(1), find(2)), (Some(1), Some(0)));
    index.expire(2).unwrap();
    assert_eq!(find(1), Some(1), "superseded at 2, which is not before 2");
    index.expire(3).unwrap();
    assert_eq!((find(1), find(2)), (Some(0), Some(0)));
    let ahead = index.search(&q, &Viewer::default(), &everything, Seq(3), None, 9, false);
    assert!(matches!(ahead, Err(Error::Invalid(_))), "what is not applied is not answered for");
}

#[test]
fn a_hidden_class_is_no_oracle() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    let ids = p("Patient", "identifier");
    let patient = |seq, name: &str, ssn: Option<&str>| {
        let mut values = vec![(ids, DataClass::Identifier, code("mrn"))];
        values.extend(ssn.map(|s| (ids, DataClass::GovernmentIdentifier, code(s))));
        plain(seq, "Patient", name, &[name], values)
    };
    index.apply(&[patient(1, "a", Some("123")), patient(2, "b", None)]).unwrap();
    let no_ssn = |_: &Shape, _: RelationshipSet| {
        ClassSet::ALL.minus(ClassSet::of(DataClass::GovernmentIdentifier))
    };
    let total = |q: &Query| {
        index.search(q, &Viewer::default(), &no_ssn, Seq(2), None, 10, true).unwrap().total
    };
    let filter = |modifier, o| {
        let mut q = Query::all(ty("Patient"));
        q.filters.push(Filter { on: On::Param(ids), modifier, values: vec![o] });
        q
    };
    let token = |c: &str| Operand::Token { system: None, code: Some(c.into()) };
    assert_eq!(total(&filter(Modifier::None, token("mrn"))), Some(2));
    assert_eq!(total(&filter(Modifier::None, token("123"))), Some(0));
    assert_eq!(total(&filter(Modifier::Not, token("123"))), Some(0), "nor by what is left over");
    assert_eq!(total(&filter(Modifier::Missing, Operand::Missing(false))), Some(0));
    assert_eq!(total(&filter(Modifier::Missing, Operand::Missing(true))), Some(0));
    let mut sorted = Query::all(ty("Patient"));
    sorted.sort.push(SortKey { on: On::Param(ids), descending: false });
    assert_eq!(total(&sorted), Some(0), "nor by the order");
}

#[test]
fn a_batch_out_of_order_is_refused_and_a_repeated_one_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    let wrong = index.apply(&[role(2, "true"), role(1, "true")]);
    assert!(matches!(wrong, Err(Error::Invalid(_))), "{wrong:?}");
    let good = [role(1, "true"), team(2, "t", to("PractitionerRole", "r"), "active")];
    index.apply(&good).unwrap();
    let before = index.dump().unwrap();
    index.apply(&good).unwrap();
    assert_eq!(index.dump().unwrap(), before);
}
