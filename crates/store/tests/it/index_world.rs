//! Records, queries, viewers and policies drawn from seeds, for the tests of the index.

use std::cell::RefCell;
use std::collections::BTreeSet;

use phial_base::{ClassSet, DataClass, Label, LabelSet, LogicalId, RowId, Seq, Version};
use phial_crypto::SecretKey;
use phial_fhir::ResourceType;
use phial_fhir::search::{
    Criterion, Extracted, Filter, Modifier, On, Operand, ParamId, Prefix, Query, SortKey, Term,
    param, primary_date_param,
};
use phial_policy::RelationshipSet;
use phial_store::Options;
use phial_store::index::{Index, Indexed, PageKey, Shape, Viewer};

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32]).unwrap()
}

pub(crate) fn open(dir: &tempfile::TempDir) -> Index {
    // So few that some have settled and some still wait.
    let options = Options { rows_wait: Some(5), ..Options::default() };
    Index::open(dir.path(), 1, &key(1), &options).unwrap()
}

pub(crate) fn ty(name: &str) -> ResourceType {
    ResourceType::from_name(name).unwrap()
}

pub(crate) fn p(t: &str, code: &str) -> ParamId {
    param(ty(t), code).unwrap()
}

pub(crate) fn id(s: &str) -> LogicalId {
    LogicalId::new(s).unwrap()
}

pub(crate) fn everything(_: &Shape, _: RelationshipSet) -> ClassSet {
    ClassSet::ALL
}

/// SplitMix64: enough to choose with.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone()
    }
}

pub(crate) const DAY: i64 = 86_400_000_000;

pub(crate) const PARAMS: &[(&str, &[&str])] = &[
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
            "component-code",
            "component-value-quantity",
            "component-value-concept",
            "component-code-value-quantity",
            "combo-code-value-quantity",
            "component-code-value-concept",
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

pub(crate) fn reference(d: &mut Dice, types: &[&str]) -> (ResourceType, Box<str>) {
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

pub(crate) fn targets(code: &str) -> &'static [&'static str] {
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

pub(crate) fn day(d: &mut Dice) -> (i64, i64) {
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

pub(crate) fn number(d: &mut Dice) -> (f64, f64, f64) {
    let value = [0.0, 1.0, 1.5, 2.0, 10.0, -3.0][usize::try_from(d.below(6)).unwrap()];
    (value, value - 0.5, value + 0.5)
}

pub(crate) fn text(d: &mut Dice, options: &[&str]) -> Box<str> {
    d.of(options).into()
}

pub(crate) const NAMES: &[&str] = &["Zoë", "zoe", "Zoe Ann", "Smith", "SMITHERS", "O'Neil", "a"];

pub(crate) fn term(d: &mut Dice, code: &str) -> Term {
    match code {
        "family" if d.one_in(5) => Term::Later { text: text(d, &["smith", "ann", "zoe"]) },
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
        "value-quantity" | "combo-value-quantity" | "component-value-quantity" => {
            let (value, low, high) = number(d);
            let system = d.one_in(2).then(|| text(d, &["http://unitsofmeasure.org", "urn:u"]));
            let code = d.one_in(2).then(|| text(d, &["mg", "kg"]));
            let unit = d.one_in(2).then(|| text(d, &["mg", "stone"]));
            if d.one_in(5) {
                let low = if d.one_in(3) { f64::NEG_INFINITY } else { value - 1.0 };
                let high = if low.is_finite() && d.one_in(3) { f64::INFINITY } else { value + 2.0 };
                return Term::Range { low, high, system, code, unit };
            }
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
        // What a code says to people, and what an identifier is under its type.
        "code" | "combo-code" | "component-code" if d.one_in(4) => {
            Term::Said { text: text(d, NAMES) }
        }
        "identifier" if d.one_in(4) => typed(d),
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

pub(crate) fn typed(d: &mut Dice) -> Term {
    Term::Typed {
        system: text(d, &["urn:s1", "urn:t"]),
        code: text(d, &["MR", "SS"]),
        value: text(d, &["A", "B"]),
    }
}

pub(crate) fn record(seed: u64, seq: u64) -> Indexed {
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
        if classes.is_empty() || !prm.components().is_empty() {
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
                "value-quantity" | "component-value-quantity" => Some("combo-value-quantity"),
                "component-code" => Some("combo-code"),
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
    // What has one value at most has the first of them.
    let mut one = BTreeSet::new();
    values.retain(|(q, _, _): &(ParamId, DataClass, Term)| !q.single(t) || one.insert(*q));
    // Composites of values that are there: two components, one or two values of each.
    for code in codes {
        let prm = p(name, code);
        let mut put = || {
            let parts: Vec<Box<[(DataClass, Term)]>> = prm
                .components()
                .iter()
                .map(|c| {
                    let all: Vec<(DataClass, Term)> = values
                        .iter()
                        .filter(|(q, _, _)| q == c)
                        .filter(|(_, _, t)| !matches!(t, Term::Said { .. } | Term::Typed { .. }))
                        .map(|(_, class, t)| (*class, t.clone()))
                        .collect();
                    let some = all.into_iter().filter(|_| !d.one_in(3));
                    some.collect::<Vec<_>>().into_boxed_slice()
                })
                .collect();
            if !parts.is_empty() && parts.iter().all(|p| !p.is_empty()) {
                let class = parts[0][0].0;
                values.push((prm, class, Term::Parts { parts: parts.into() }));
            }
        };
        put();
        put();
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

pub(crate) fn operand(d: &mut Dice, code: &str) -> Operand {
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
    let found = match term(d, code) {
        Term::Range { high, system, code, unit, .. } => {
            let value = if high.is_finite() { high - 1.0 } else { 2.0 };
            Term::Quantity { value, low: value - 0.5, high: value + 0.5, system, code, unit }
        }
        // A family name is asked for as it is.
        Term::Later { text } => Term::Str { text },
        // Those are asked for by modifiers of their own.
        Term::Said { .. } | Term::Typed { .. } => Term::Token {
            system: (!d.one_in(4)).then(|| text(d, &["urn:s1", "urn:s2"])),
            code: Some(text(d, &["A", "B", "C"])),
        },
        other => other,
    };
    match found {
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
        Term::Parts { .. }
        | Term::Said { .. }
        | Term::Typed { .. }
        | Term::Range { .. }
        | Term::Held { .. }
        | Term::Inner { .. }
        | Term::Order { .. }
        | Term::Later { .. } => {
            unreachable!("not made by `term`, or taken out above")
        }
    }
}

/// An operand of the parameter, composite or not.
pub(crate) fn operand_of(d: &mut Dice, prm: ParamId) -> Operand {
    let components = prm.components();
    if components.is_empty() {
        return operand(d, prm.code());
    }
    Operand::Parts(components.iter().map(|c| operand(d, c.code())).collect())
}

/// A filter on records of a type.
pub(crate) fn filter(d: &mut Dice, name: &str, codes: &[&str]) -> Filter {
    if d.one_in(12) {
        let values = vec![Operand::Id(id("a")), Operand::Id(id(d.of(&["p1", "b", "none"])))];
        return Filter { on: On::Id, modifier: Modifier::None, values };
    }
    if d.one_in(12) {
        let low = (19_800 + i64::try_from(d.below(6)).unwrap()) * DAY;
        let prefix = d.of(&[Prefix::Ge, Prefix::Lt, Prefix::Eq, Prefix::Ne]);
        let values = vec![Operand::Date { prefix, low, high: low + DAY }];
        return Filter { on: On::LastUpdated, modifier: Modifier::None, values };
    }
    let code = d.of(codes);
    let prm = p(name, code);
    let on = On::Param(prm);
    let composite = !prm.components().is_empty();
    if d.one_in(10) && !composite {
        let values = vec![Operand::Missing(d.one_in(2))];
        return Filter { on, modifier: Modifier::Missing, values };
    }
    let mut values = vec![operand_of(d, prm)];
    if d.one_in(3) {
        values.push(operand_of(d, prm));
    }
    let token = |d: &mut Dice, code: &[&str]| Operand::Token {
        system: Some((!d.one_in(3)).then(|| text(d, &["urn:s1", "urn:s2"]))),
        code: Some(text(d, code)),
    };
    let modifier = match &values[0] {
        Operand::Token { .. } => match d.below(10) {
            0 | 1 => Modifier::Not,
            2 => Modifier::Other,
            3 => {
                values = vec![Operand::Str(text(d, &["zoe", "S", "smith", "Zo\u{eb} A"]))];
                Modifier::Text
            }
            4 => {
                let Term::Typed { system, code, value } = typed(d) else { unreachable!() };
                values = vec![Operand::Typed { system, code, value }];
                Modifier::OfType
            }
            n @ (5 | 6) => {
                // As many as a value set may have, most of them nowhere.
                let most = d.below(30);
                values = (0..most)
                    .map(|n| {
                        let code = Some(format!("none-{n}").into());
                        Operand::Token { system: Some(Some("urn:s1".into())), code }
                    })
                    .collect();
                values.push(token(d, &["A", "B"]));
                if n == 5 { Modifier::In } else { Modifier::NotIn }
            }
            _ => Modifier::None,
        },
        Operand::Str(_) => d.of(&[
            Modifier::None,
            Modifier::Exact,
            Modifier::Contains,
            Modifier::Whole,
            Modifier::Ends,
            Modifier::Other,
        ]),
        Operand::Uri(_) => {
            values = vec![Operand::Uri(text(d, &["http://x", "http://x/a", "http://x/abc"]))];
            d.of(&[Modifier::None, Modifier::Above, Modifier::Below, Modifier::Other])
        }
        Operand::Ref { .. } => match d.below(8) {
            0 => Modifier::Other,
            1 => {
                values = vec![Operand::Token { system: None, code: Some("x".into()) }];
                Modifier::Identifier
            }
            _ => Modifier::None,
        },
        _ => Modifier::None,
    };
    Filter { on, modifier, values }
}

/// Which records lead to which, and by what.
const LINKS: &[(&str, &str, &str)] = &[
    ("Observation", "patient", "Patient"),
    ("Observation", "subject", "Patient"),
    ("Observation", "encounter", "Encounter"),
    ("Encounter", "subject", "Patient"),
    ("CareTeam", "patient", "Patient"),
    ("Appointment", "patient", "Patient"),
    ("Appointment", "actor", "PractitionerRole"),
    ("RiskAssessment", "subject", "Patient"),
];

/// A criterion on records of a type.
pub(crate) fn criterion(d: &mut Dice, name: &str, depth: u64) -> Criterion {
    let codes = PARAMS.iter().find(|(n, _)| *n == name).unwrap().1;
    let links = |of: &dyn Fn(&(&str, &str, &str)) -> bool| -> Vec<(&str, &str, &str)> {
        LINKS.iter().copied().filter(|l| of(l)).collect()
    };
    if depth > 0 {
        match d.below(7) {
            0 | 1 => {
                let out = links(&|l| l.0 == name);
                if !out.is_empty() {
                    let (_, by, target) = d.of(&out);
                    let mut to = vec![(ty(target), criterion(d, target, depth - 1))];
                    if by == "actor" && d.one_in(2) {
                        to.push((ty("Patient"), criterion(d, "Patient", depth - 1)));
                    }
                    return Criterion::Leads { by: p(name, by), to };
                }
            }
            2 | 3 => {
                let back = links(&|l| l.2 == name);
                if !back.is_empty() {
                    let (from, by, _) = d.of(&back);
                    let that = Box::new(criterion(d, from, depth - 1));
                    return Criterion::Named { from: ty(from), by: p(from, by), that };
                }
            }
            4 => {
                let two = vec![criterion(d, name, depth - 1), criterion(d, name, depth - 1)];
                return if d.one_in(2) { Criterion::All(two) } else { Criterion::Any(two) };
            }
            5 => return Criterion::Not(Box::new(criterion(d, name, depth - 1))),
            _ => {}
        }
    }
    Criterion::Is(filter(d, name, codes))
}

pub(crate) fn query(seed: u64) -> Query {
    let mut d = Dice(seed);
    let (name, codes) = d.of(PARAMS);
    let mut q = Query::all(ty(name));
    for _ in 0..d.below(4) {
        q.filters.push(filter(&mut d, name, codes));
    }
    if d.one_in(3) {
        let depth = 1 + d.below(3);
        q.criteria.push(criterion(&mut d, name, depth));
    }
    let sorts = d.below(3);
    if sorts > 0 && d.one_in(2) && codes.contains(&"date") {
        q.sort.push(SortKey { on: On::Param(p(name, "date")), descending: d.one_in(2) });
    } else {
        for _ in 0..sorts {
            let on = match d.below(6) {
                0 => On::Id,
                1 => On::LastUpdated,
                _ => {
                    let single: Vec<&str> = codes
                        .iter()
                        .copied()
                        .filter(|c| p(name, c).components().is_empty())
                        .collect();
                    On::Param(p(name, d.of(&single)))
                }
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
pub(crate) fn policy(seed: u64) -> impl Fn(&Shape, RelationshipSet) -> ClassSet {
    move |s, r| {
        if seed.is_multiple_of(3) {
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

pub(crate) fn viewer(seed: u64) -> Viewer {
    let mut d = Dice(seed);
    Viewer {
        practitioner: (!d.one_in(4)).then(|| id(d.of(&["dr1", "dr2", "nobody"]))),
        patient: d.one_in(3).then(|| id(d.of(&["p1", "p2", "p9"]))),
        launch: d.one_in(3).then(|| id(d.of(&["p1", "p2", "p9"]))),
    }
}

/// All pages of a search at a page size; also checks what each page claims.
pub(crate) fn pages(
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
