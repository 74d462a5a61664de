//! The index against a second opinion, and against those who would read it without its key.

use std::collections::BTreeSet;
use std::fs;

use phial_base::{ClassSet, DataClass, LabelSet, RowId, Seq, Version};
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Extracted, Filter, Include, Modifier, On, Operand, ParamId, Prefix, Query, SortKey, Term, param,
};
use phial_policy::{Relationship, RelationshipSet};
use phial_store::Error;
use phial_store::Options;
use phial_store::index::{Index, Indexed, Shape, Viewer};
use proptest::prelude::*;

use crate::index_model::Model;
use crate::index_world::{
    DAY, Dice, everything, id, key, open, p, pages, policy, query, record, ty, viewer,
};

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
            while d.one_in(3) && index.rest().unwrap() {}
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
                let include = [include(query.ty, by)];
                let got: BTreeSet<Seq> = index
                    .includes(&include, &hits, &viewer, &mask, at)
                    .unwrap()
                    .iter()
                    .map(|h| h.seq)
                    .collect();
                let want = model.includes(&want, query.ty, by, &viewer, &mask, at);
                prop_assert_eq!(got, want, "{:?} {}", query, code);
            }
            for (source, code) in [
                ("Observation", "patient"),
                ("Observation", "encounter"),
                ("Observation", "performer"),
                ("Encounter", "participant"),
                ("Appointment", "actor"),
                ("Patient", "general-practitioner"),
            ] {
                let include = [include(ty(source), p(source, code))];
                let most = usize::try_from(d.below(12)).unwrap();
                let got = index.referring(&include, &hits, &viewer, &mask, at, most).unwrap();
                let want = model.referring(&want, ty(source), p(source, code), &viewer, &mask, at);
                if want.len() > most {
                    prop_assert!(got.is_none());
                } else {
                    let got: Vec<Seq> = got.unwrap().iter().map(|h| h.seq).collect();
                    let want: Vec<Seq> = want.into_iter().collect();
                    prop_assert_eq!(got, want, "{:?} {} {}", query, source, code);
                }
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
            // At rest nothing waits; the other takes everything in at once, without a rest.
            while cut % 2 == 0 && first.rest().unwrap() {}
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
            // What was last about the patient leads nowhere either.
            let left: Vec<Indexed> = without
                .iter()
                .filter(|v| last(v).is_some_and(|s| without.iter().any(|w| w.seq == s)))
                .cloned()
                .collect();
            let model = Model { log: &left };
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

fn include(source: ResourceType, by: ParamId) -> Include {
    Include { source: Some(source), param: Some(by), target: None, iterate: false }
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
    Viewer { practitioner: Some(id("dr")), ..Viewer::default() }
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

#[test]
fn times_of_writing_narrow_and_order_a_walk_without_losing_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    let mut d = Dice(11);
    // Far apart in the log; clocks that run a little differently; some updates late.
    let log: Vec<Indexed> = (1..400u64)
        .map(|n| {
            let name = if d.one_in(9) { "o1".to_owned() } else { format!("n{n}") };
            let mut r = plain(n * 700, "Observation", &name, &["p"], Vec::new());
            let late = i64::try_from(d.below(60)).unwrap() - 30;
            r.last_updated = 19_800 * DAY + (i64::try_from(n).unwrap() + late) * 1_000_000;
            r.row = RowId([u8::try_from(n % 251).unwrap(); 16]);
            r
        })
        .collect();
    index.apply(&log).unwrap();
    let model = Model { log: &log };
    let (viewer, end) = (Viewer::default(), index.applied());
    let prefixes =
        [Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le, Prefix::Sa];
    for prefix in prefixes.into_iter().chain([Prefix::Eb, Prefix::Ap]) {
        for (at, sort) in [(-50, None), (90, Some(true)), (200, Some(false)), (600, Some(true))] {
            let mut q = Query::all(ty("Observation"));
            let low = 19_800 * DAY + at * 1_000_000;
            let values = vec![Operand::Date { prefix, low, high: low + 9_000_000 }];
            q.filters.push(Filter { on: On::LastUpdated, modifier: Modifier::None, values });
            q.sort.extend(sort.map(|descending| SortKey { on: On::LastUpdated, descending }));
            for at in [end, Seq(140_000)] {
                let want = model.search(&q, &viewer, &everything, at);
                for count in [false, true] {
                    let (got, total) = pages(&index, &q, &viewer, &everything, at, 23, count);
                    assert_eq!(got, want, "{q:?}");
                    assert!(total.is_none_or(|t| t == want.len() as u64));
                }
                q.filters.clear();
            }
        }
    }
}

#[test]
fn many_facets_and_none_are_searched_alike() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    let mut d = Dice(5);
    let token = |code: String| Term::Token { system: Some("s".into()), code: Some(code.into()) };
    let log: Vec<Indexed> = (1..300u64)
        .map(|n| {
            let (lab, admin) = (DataClass::Laboratory, DataClass::Administrative);
            let low = i64::try_from(d.below(90)).unwrap() * DAY;
            let state = if d.one_in(3) { "amended" } else { "final" };
            let mut values = vec![
                (p("Observation", "code"), lab, token(format!("c{}", d.below(150)))),
                (p("Observation", "status"), admin, token(state.to_owned())),
                (
                    p("Observation", "date"),
                    DataClass::Clinical,
                    Term::Date { low, high: low + DAY },
                ),
            ];
            // Too many codes for a facet.
            let tags = if d.one_in(7) { 13 } else { 0 };
            values.extend(
                (0..tags).map(|t| (p("Observation", "_tag"), admin, token(format!("t{t}")))),
            );
            plain(n, "Observation", &format!("n{n}"), &[d.of(&["p", "q", "r"])], values)
        })
        .collect();
    for part in log.chunks(50) {
        index.apply(part).unwrap();
    }
    let model = Model { log: &log };
    let hidden = |_: &Shape, _: RelationshipSet| {
        ClassSet::of(DataClass::Administrative).with(DataClass::Clinical)
    };
    let (viewer, end) = (Viewer::default(), index.applied());
    let of = |system: Option<Option<&str>>, code: Option<&str>| Operand::Token {
        system: system.map(|s| s.map(Into::into)),
        code: code.map(Into::into),
    };
    for (on, value) in [
        ("status", of(None, Some("final"))),
        ("status", of(Some(Some("s")), None)),
        ("code", of(Some(Some("s")), Some("c7"))),
        ("code", of(Some(Some("s")), None)),
        ("_tag", of(None, Some("t3"))),
        ("code", of(None, Some("absent"))),
    ] {
        for (patient, dated) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut q = Query::all(ty("Observation"));
            let mut add = |on, operand| {
                let values = vec![operand];
                let on = On::Param(p("Observation", on));
                q.filters.push(Filter { on, modifier: Modifier::None, values });
            };
            add(on, value.clone());
            if patient {
                let (target, id) = (Some(ty("Patient")), Some("p".into()));
                add("patient", Operand::Ref { target, id, url: None });
            }
            if dated {
                let (low, high) = (30 * DAY, 31 * DAY);
                add("date", Operand::Date { prefix: Prefix::Ge, low, high });
            }
            for sort in [None, Some(false), Some(true)] {
                let on = || On::Param(p("Observation", "date"));
                q.sort =
                    sort.map(|descending| SortKey { on: on(), descending }).into_iter().collect();
                for access in [&everything as &dyn Fn(&Shape, RelationshipSet) -> ClassSet, &hidden]
                {
                    let want = model.search(&q, &viewer, access, end);
                    for count in [false, true] {
                        let (got, total) = pages(&index, &q, &viewer, access, end, 23, count);
                        assert_eq!(got, want, "{q:?}");
                        assert!(total.is_none_or(|t| t == want.len() as u64));
                    }
                }
            }
        }
    }
    // What is taken out leaves its facets too.
    index.forget_patient(&id("p")).unwrap();
    let log: Vec<Indexed> = log.into_iter().filter(|r| r.patients != [id("p")]).collect();
    let model = Model { log: &log };
    let mut q = Query::all(ty("Observation"));
    let values = vec![of(None, Some("final"))];
    let on = On::Param(p("Observation", "status"));
    q.filters.push(Filter { on, modifier: Modifier::None, values });
    let want = model.search(&q, &viewer, &everything, end);
    assert!(want.len() > 80);
    assert_eq!(pages(&index, &q, &viewer, &everything, end, 23, true).0, want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_total_that_is_kept_is_what_is_there(seed in any::<u64>(), batch in 1_usize..60) {
        let mut d = Dice(seed);
        let dir = tempfile::tempdir().unwrap();
        let index = open(&dir);
        let spans = [0, 1, 1_000, 1_000_000, DAY, 30 * DAY, 31 * DAY, 365 * DAY, 5 * DAY + 7];
        let token = |code: &str| Term::Token { system: Some("s".into()), code: Some(code.into()) };
        let own = |code| p("Observation", code).classes(ty("Observation")).iter().next().unwrap();
        let when = |d: &mut Dice| {
            let edge = d.of(&[0, 30, 31, 58, 59, 364, 365]) * DAY;
            edge + match d.below(5) {
                0 => -1_000_000,
                1 => 0,
                2 => 3,
                3 => 7_000_000,
                _ => i64::try_from(d.below(20)).unwrap() * DAY,
            }
        };
        let log: Vec<Indexed> = (1..250u64)
            .map(|n| {
                let mut values = vec![
                    (p("Observation", "code"), own("code"), token(d.of(&["a", "b"]))),
                    (p("Observation", "status"), own("status"), token(d.of(&["final", "no"]))),
                ];
                for _ in 0..d.of(&[0, 1, 1, 1, 1, 2]) {
                    let low = when(&mut d);
                    let high = low + d.of(&spans);
                    let date = Term::Date { low, high };
                    values.push((p("Observation", "date"), own("date"), date));
                }
                // Names come again: some are changed, some deleted.
                let name = format!("n{}", d.below(170));
                let about = [d.of(&["p", "q", "r"])];
                let mut v = plain(n, "Observation", &name, &about, values);
                v.deleted = d.one_in(15);
                v
            })
            .collect();
        for part in log.chunks(batch) {
            index.apply(part).unwrap();
            if d.one_in(4) {
                index.expire(i64::MAX).unwrap();
            }
            while d.one_in(3) && index.rest().unwrap() {}
        }
        // Whether the tables agree with one another is told too.
        index.dump().unwrap();
        let model = Model { log: &log };
        let (viewer, end) = (Viewer::default(), index.applied());
        for _ in 0..60 {
            let mut q = Query::all(ty("Observation"));
            let mut add = |on, values| {
                let on = On::Param(p("Observation", on));
                q.filters.push(Filter { on, modifier: Modifier::None, values });
            };
            if !d.one_in(4) {
                let code = Some(d.of(&["a", "b", "c"]).into());
                add("code", vec![Operand::Token { system: None, code }]);
            }
            for _ in 0..d.below(3) {
                let prefix = d.of(&[
                    Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le,
                    Prefix::Sa, Prefix::Eb, Prefix::Ap,
                ]);
                let low = d.of(&[0, 31 * DAY, 59 * DAY, 40 * DAY, 365 * DAY, 58 * DAY + 7]);
                let high = low + d.of(&[1, 1_000_000, DAY, 28 * DAY, 31 * DAY, 365 * DAY]);
                add("date", vec![Operand::Date { prefix, low, high }]);
            }
            if d.one_in(5) {
                q.sort = vec![SortKey { on: On::Param(p("Observation", "date")), descending: true }];
            }
            let mask = policy(d.next());
            let want = model.search(&q, &viewer, &mask, end);
            let limit = u32::try_from(d.below(3)).unwrap();
            let page = index.search(&q, &viewer, &mask, end, None, limit, true).unwrap();
            prop_assert_eq!(page.total, Some(want.len() as u64), "{:?}", q);
            let first = want.iter().take(usize::try_from(limit).unwrap());
            prop_assert!(page.hits.iter().map(|h| h.seq).eq(first.copied()), "{:?}", q);
        }
    }
}
