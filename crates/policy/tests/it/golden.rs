//! The decision table: role × purpose × type × action × labels × relationship →
//! classes, as a committed text. A change of policy is a change of this file, to be
//! read before it is accepted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use phial_base::{ClassSet, Label, Purpose};
use phial_policy::tool::LETTERS;
use phial_policy::{Action, Consent, Context, Relationship, RelationshipSet, Role};

use crate::world::{labels, shipped, subject};

/// Types sampled, and whether such a record is about a patient.
const TYPES: [(&str, bool); 23] = [
    ("Patient", true),
    ("RelatedPerson", true),
    ("Practitioner", false),
    ("Organization", false),
    ("Location", false),
    ("Medication", false),
    ("Schedule", false),
    ("Appointment", true),
    ("Encounter", true),
    ("CareTeam", true),
    ("Condition", true),
    ("Procedure", true),
    ("AllergyIntolerance", true),
    ("Observation", true),
    ("DiagnosticReport", true),
    ("DocumentReference", true),
    ("Binary", true),
    ("MedicationRequest", true),
    ("Immunization", true),
    ("Coverage", true),
    ("Claim", true),
    ("ExplanationOfBenefit", true),
    ("AuditEvent", true),
];

/// Column heading, labels, relationships, consent.
const SITUATIONS: [(&str, &[Label], &[Relationship], Consent); 20] = {
    const NO: Consent = Consent::SILENT;
    const YES: Consent = Consent { denies: false, permits: true };
    const DENIED: Consent = Consent { denies: true, permits: false };
    const CARE: &[Relationship] = &[Relationship::CareTeam];
    const GLASS: &[Relationship] = &[Relationship::BreakGlass];
    const ITSELF: &[Relationship] = &[Relationship::SelfPatient];
    const PROXY: &[Relationship] = &[Relationship::Proxy];
    [
        ("plain", &[], &[], NO),
        ("plain+care", &[], CARE, NO),
        ("HTEST", &[Label::HTEST], &[], NO),
        ("SUD", &[Label::SUD], &[], NO),
        ("SUD+care", &[Label::SUD], CARE, NO),
        ("Part2+care", &[Label::SUD, Label::Part2], CARE, NO),
        ("Part2+consent", &[Label::SUD, Label::Part2], CARE, YES),
        ("PSYTHPN+care", &[Label::PSYTHPN], CARE, NO),
        ("VIP", &[Label::VIP], &[], NO),
        ("VIP+care", &[Label::VIP], CARE, NO),
        ("denied+care", &[], CARE, DENIED),
        ("selfpay+care", &[Label::HIPAASelfPay], CARE, NO),
        ("BTG", &[], GLASS, NO),
        ("BTG denied", &[], GLASS, DENIED),
        ("BTG Part2", &[Label::SUD, Label::Part2], GLASS, NO),
        ("BTG PSYTHPN", &[Label::PSYTHPN], GLASS, NO),
        ("own", &[], ITSELF, NO),
        ("own SUD", &[Label::SUD], ITSELF, NO),
        ("proxy", &[], PROXY, NO),
        ("proxy SUD", &[Label::SUD], PROXY, NO),
    ]
};

fn cell(classes: ClassSet) -> String {
    if classes.is_empty() {
        return ".".to_owned();
    }
    LETTERS.iter().map(|(l, c)| if classes.has(*c) { *l } else { '-' }).collect()
}

fn context(ties: &[Relationship], consent: Consent) -> Context {
    let relationships: RelationshipSet = ties.iter().copied().collect();
    Context { consent, ..Context::new(relationships) }
}

fn table() -> String {
    let set = shipped();
    let mut out = String::from(
        "# Who sees and writes what under the shipped policies. Generated; do not edit.\n\
         # a administrative  d demographic  c contact  i identifier  g government-identifier\n\
         # f financial  s scheduling  k clinical  m medication  l laboratory  n notes  t attachment\n\
         # \".\" is nothing. \"+care\" is a record of a patient with a CareTeam relationship, \"+consent\"\n\
         # one whose consent permits it, \"denied\" one whose consent denies it, \"BTG\" under a\n\
         # break-glass grant, \"own\" the subject's own, \"proxy\" of one they stand in for.\n",
    );
    // Each role by itself is asked some ten thousand questions: several at once.
    let parts = std::thread::scope(|s| {
        let several: Vec<_> = set.roles().map(|role| s.spawn(|| of_role(role))).collect();
        several.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    parts.iter().for_each(|part| out.push_str(part));
    out
}

/// The sections of a role.
fn of_role(role: &Role) -> String {
    let set = shipped();
    let mut out = String::new();
    // Purposes under which the role decides alike share a section.
    let mut sections: Vec<(String, Vec<&str>)> = Vec::new();
    for purpose in &role.purposes {
        let text = section(&role.name, *purpose);
        match sections.iter_mut().find(|(t, _)| *t == text) {
            Some((_, purposes)) => purposes.push(purpose.code()),
            None => sections.push((text, vec![purpose.code()])),
        }
    }
    for (text, purposes) in sections {
        let _ = write!(out, "\n## {} for {}\n{text}", role.name, purposes.join(" "));
    }
    let others: Vec<&str> = Purpose::ALL
        .into_iter()
        .filter(|p| !role.purposes.contains(p))
        .map(|p| {
            let s = subject(&[&role.name], p);
            let nothing = Action::ALL.into_iter().all(|a| {
                !set.allows(&s, a)
                    && TYPES.iter().all(|(ty, about)| {
                        SITUATIONS.iter().all(|(_, l, ties, consent)| {
                            set.mask(&s, a, ty, labels(l), *about, &context(ties, *consent))
                                .classes
                                .is_empty()
                        })
                    })
            });
            assert!(nothing, "{} may do something for {p}", role.name);
            p.code()
        })
        .collect();
    let _ = writeln!(out, "\n{} for {}: nothing", role.name, others.join(" "));
    out
}

fn section(role: &str, purpose: Purpose) -> String {
    let mut out = String::new();
    let set = shipped();
    let s = subject(&[role], purpose);
    let allowed: Vec<&str> =
        Action::ALL.into_iter().filter(|a| set.allows(&s, *a)).map(Action::name).collect();
    let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(" ") };
    let _ = writeln!(out, "without records: {allowed}");
    let mut head = format!("{:<22}{:<46}", "type", "actions");
    for (name, ..) in SITUATIONS {
        let _ = write!(head, " {name:<13}");
    }
    let mut lines = String::new();
    let mut any = false;
    for (ty, about) in TYPES {
        // Actions with the same masks share a line, in the order of the actions.
        let mut rows: BTreeMap<usize, (Vec<String>, Vec<&str>)> = BTreeMap::new();
        for (n, action) in Action::ALL.into_iter().filter(|a| a.on_records()).enumerate() {
            let cells: Vec<String> = SITUATIONS
                .iter()
                .map(|(_, l, ties, consent)| {
                    let context = context(ties, *consent);
                    cell(set.mask(&s, action, ty, labels(l), about, &context).classes)
                })
                .collect();
            let name = match action {
                Action::Search => "search",
                Action::History => "history",
                other => other.name(),
            };
            match rows.values_mut().find(|(c, _)| *c == cells) {
                Some((_, actions)) => actions.push(name),
                None => {
                    rows.insert(n, (cells, vec![name]));
                }
            }
        }
        let one = rows.len() == 1;
        for (cells, actions) in rows.into_values() {
            let nothing = cells.iter().all(|c| c == ".");
            any |= !nothing;
            let actions = if one { "every action".to_owned() } else { actions.join(" ") };
            let mut line = format!("{ty:<22}{actions:<46}");
            if nothing {
                line.push_str(" nothing");
            } else {
                for c in cells {
                    let _ = write!(line, " {c:<13}");
                }
            }
            let _ = writeln!(lines, "{}", line.trim_end());
        }
    }
    if any {
        let _ = writeln!(out, "{}", head.trim_end());
        out.push_str(&lines);
    } else {
        out.push_str("records: nothing\n");
    }
    out
}

#[test]
fn decisions_are_those_of_the_golden_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/decisions.txt");
    let now = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden == now {
        return;
    }
    let mut changed = String::new();
    let (old, new): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), now.lines().collect());
    for i in 0..old.len().max(new.len()) {
        let (o, n) = (old.get(i).copied().unwrap_or(""), new.get(i).copied().unwrap_or(""));
        if o != n {
            let _ = writeln!(changed, "line {}\n  - {o}\n  + {n}", i + 1);
        }
        if changed.lines().count() >= 30 {
            changed.push_str("...\n");
            break;
        }
    }
    panic!(
        "the policies decide otherwise than tests/golden/decisions.txt says:\n{changed}\
         If that is what you want, regenerate the table with\n  \
         UPDATE_GOLDEN=1 cargo test -p phial-policy --test it golden\n\
         and read its diff: it says who gains and who loses what."
    );
}
