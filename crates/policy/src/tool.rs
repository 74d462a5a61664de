//! What people ask of a set of policies before they put it in force: what each role sees,
//! who gains and who loses between two sets, and whether a set decides as a table of one's
//! own says. It asks the set as everyone does and refuses to know a rule of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use phial_base::{ClassSet, DataClass, Label, LabelSet, Purpose, Subject, SubjectId, TenantId};

use crate::{Action, Consent, Context, PolicySet, Relationship, RelationshipSet};

/// The letter of each class in a cell.
pub const LETTERS: [(char, DataClass); 12] = [
    ('a', DataClass::Administrative),
    ('d', DataClass::Demographic),
    ('c', DataClass::Contact),
    ('i', DataClass::Identifier),
    ('g', DataClass::GovernmentIdentifier),
    ('f', DataClass::Financial),
    ('s', DataClass::Scheduling),
    ('k', DataClass::Clinical),
    ('m', DataClass::Medication),
    ('l', DataClass::Laboratory),
    ('n', DataClass::Notes),
    ('t', DataClass::Attachment),
];

/// Classes as letters, `.` for none.
#[must_use]
pub fn cell(classes: ClassSet) -> String {
    if classes.is_empty() {
        return ".".to_owned();
    }
    LETTERS.iter().filter(|(_, c)| classes.has(*c)).map(|(l, _)| *l).collect()
}

/// A record and how the one who asks stands to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// In words.
    pub name: String,
    /// The record's labels.
    pub labels: LabelSet,
    /// What ties the one who asks to its patient.
    pub relationships: RelationshipSet,
    /// What consents say.
    pub consent: Consent,
}

/// The situations that sets are compared in.
#[must_use]
pub fn situations() -> Vec<Situation> {
    let texts = [
        "plain",
        "CareTeam",
        "Assignment",
        "SelfPatient",
        "Proxy",
        "Household",
        "BreakGlass",
        "denied",
        "CareTeam+denied",
        "SUD",
        "SUD+CareTeam",
        "SUD+BreakGlass",
        "SUD+SelfPatient",
        "42CFRPart2+CareTeam",
        "42CFRPart2+CareTeam+consented",
        "PSYTHPN+CareTeam",
        "PSYTHPN+BreakGlass",
        "VIP",
        "VIP+CareTeam",
        "TBOO+SelfPatient",
        "HIPAASelfPay",
    ];
    texts.into_iter().filter_map(|text| situation_of(text).ok()).map(|(_, s)| s).collect()
}

/// Someone with one role and nothing else.
#[must_use]
pub fn someone(role: &str, purpose: Purpose) -> Option<Subject> {
    Some(Subject {
        tenant: TenantId::default_tenant(),
        id: SubjectId::new("someone").ok()?,
        roles: vec![role.to_owned()],
        unit: None,
        practitioner: None,
        patient: None,
        purpose,
        mfa: 2,
        session: None,
        client: None,
        scopes: None,
    })
}

fn mask(
    set: &PolicySet,
    subject: &Subject,
    action: Action,
    ty: &str,
    about: bool,
    situation: &Situation,
) -> ClassSet {
    let Situation { labels, relationships, consent, .. } = situation;
    let context = Context { consent: *consent, ..Context::new(*relationships) };
    set.mask(subject, action, ty, *labels, about, &context).classes
}

/// What each role reads of each type, for its first purpose: without any tie, and with a
/// place in the care team. Types that a role never reads have no line.
#[must_use]
pub fn matrix(set: &PolicySet) -> String {
    let mut out = String::new();
    let mut types: Vec<&str> = set.resource_types().collect();
    types.sort_unstable();
    let plain = Situation {
        name: String::new(),
        labels: LabelSet::NONE,
        relationships: RelationshipSet::NONE,
        consent: Consent::SILENT,
    };
    let care =
        Situation { relationships: RelationshipSet::of(Relationship::CareTeam), ..plain.clone() };
    for role in set.roles() {
        let Some(purpose) = role.default_purpose() else { continue };
        let Some(subject) = someone(&role.name, purpose) else { continue };
        let _ = writeln!(out, "{} ({purpose}): {}", role.name, role.description);
        let can: Vec<&str> = Action::ALL
            .into_iter()
            .filter(|a| set.allows(&subject, *a))
            .map(Action::name)
            .collect();
        if !can.is_empty() {
            let _ = writeln!(out, "  may {}", can.join(", "));
        }
        for ty in &types {
            let mut cells: Vec<String> = Vec::new();
            for about in [false, true] {
                for situation in [&plain, &care] {
                    cells.push(cell(mask(set, &subject, Action::Read, ty, about, situation)));
                }
            }
            if cells.iter().any(|c| c != ".") {
                let _ = writeln!(
                    out,
                    "  {ty:<34} of no patient {:<13} of a patient {:<13} in the care team {}",
                    cells.first().map_or(".", String::as_str),
                    cells.get(2).map_or(".", String::as_str),
                    cells.get(3).map_or(".", String::as_str),
                );
            }
        }
    }
    out
}

/// What one role gains or loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The role.
    pub role: String,
    /// For which purpose.
    pub purpose: Purpose,
    /// Doing what.
    pub action: Action,
    /// Of records of which type; empty for actions that are not about records.
    pub resource_type: String,
    /// In which situation; empty for those as well.
    pub situation: String,
    /// What it sees now and did not see before.
    pub gains: ClassSet,
    /// What it saw before and does not see now.
    pub loses: ClassSet,
}

/// Who gains and who loses what between two sets, in every situation that they are
/// compared in, over all roles and types of both.
#[must_use]
pub fn diff(before: &PolicySet, after: &PolicySet) -> Vec<Change> {
    let mut types: Vec<&str> = before.resource_types().chain(after.resource_types()).collect();
    types.sort_unstable();
    types.dedup();
    diff_of(before, after, &types)
}

/// As [`diff`], of records of these types alone.
#[must_use]
pub fn diff_of(before: &PolicySet, after: &PolicySet, types: &[&str]) -> Vec<Change> {
    let mut roles: Vec<&str> = before.roles().chain(after.roles()).map(|r| &*r.name).collect();
    roles.sort_unstable();
    roles.dedup();
    let situations = situations();
    let mut changes = Vec::new();
    for role in roles {
        for purpose in Purpose::ALL {
            let claims = |set: &PolicySet| set.may_claim([role], purpose);
            if !claims(before) && !claims(after) {
                continue;
            }
            let Some(subject) = someone(role, purpose) else { continue };
            let (old, new) = (before.rules_of(role), after.rules_of(role));
            if old == new {
                continue;
            }
            // A type that no rule names is decided as every other such type.
            let named = |ty: &str| {
                let literal = format!("Type::\"{ty}\"");
                old.union(&new).any(|rule| rule.contains(&literal))
            };
            let kinds: Vec<(&str, Option<(bool, bool)>)> = types
                .iter()
                .map(|ty| {
                    let known = |set: &PolicySet| set.resource_types().any(|t| t == *ty);
                    (*ty, (!named(ty)).then(|| (known(before), known(after))))
                })
                .collect();
            for action in Action::ALL {
                let change = |gains, loses, ty: &str, situation: &str| Change {
                    role: role.to_owned(),
                    purpose,
                    action,
                    resource_type: ty.to_owned(),
                    situation: situation.to_owned(),
                    gains,
                    loses,
                };
                if !action.on_records() {
                    match (before.allows(&subject, action), after.allows(&subject, action)) {
                        (false, true) => {
                            changes.push(change(ClassSet::ALL, ClassSet::NONE, "", ""));
                        }
                        (true, false) => {
                            changes.push(change(ClassSet::NONE, ClassSet::ALL, "", ""));
                        }
                        _ => {}
                    }
                    continue;
                }
                let mut alike: BTreeMap<(bool, bool), Vec<Differs<'_>>> = BTreeMap::new();
                for (ty, kind) in &kinds {
                    let found = match kind.and_then(|kind| alike.get(&kind)) {
                        Some(found) => found.clone(),
                        None => differences(before, after, &subject, action, ty, &situations),
                    };
                    for (name, gains, loses) in &found {
                        changes.push(change(*gains, *loses, ty, name));
                    }
                    if let Some(kind) = kind {
                        alike.entry(*kind).or_insert(found);
                    }
                }
            }
        }
    }
    changes
}

/// A situation, and what is gained and lost in it.
type Differs<'a> = (&'a str, ClassSet, ClassSet);

/// In which situations the sets differ about records of a type.
fn differences<'a>(
    before: &PolicySet,
    after: &PolicySet,
    subject: &Subject,
    action: Action,
    ty: &str,
    situations: &'a [Situation],
) -> Vec<Differs<'a>> {
    let mut found = Vec::new();
    for situation in situations {
        for about in [true, false] {
            let tied = situation.name != "plain";
            if !about && tied {
                continue;
            }
            let was = mask(before, subject, action, ty, about, situation);
            let is = mask(after, subject, action, ty, about, situation);
            if was != is {
                let name = if about { situation.name.as_str() } else { "of no patient" };
                found.push((name, is.minus(was), was.minus(is)));
            }
        }
    }
    found
}

/// A line of a table that a set is held against, and what the set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The line's number, from 1.
    pub line: usize,
    /// What the table says, in letters.
    pub wanted: String,
    /// What the set says.
    pub found: String,
}

/// Holds a set against a table. A line is `ROLE PURPOSE ACTION TYPE SITUATION LETTERS`;
/// a situation joins labels, relationships, `denied` and `consented` with `+`, or is
/// `plain`, or `none` for a record of no patient; letters are those of [`cell`]. `#`
/// begins a comment.
///
/// # Errors
/// The number of a line that can't be read, and why.
pub fn test(set: &PolicySet, table: &str) -> Result<Vec<Checked>, (usize, String)> {
    let mut checked = Vec::new();
    for (n, line) in table.lines().enumerate() {
        let bad = |what: String| (n + 1, what);
        let words: Vec<&str> =
            line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let [role, purpose, action, ty, situation, wanted] = words.as_slice() else {
            if words.is_empty() {
                continue;
            }
            return Err(bad("a line is ROLE PURPOSE ACTION TYPE SITUATION LETTERS".to_owned()));
        };
        if set.role(role).is_none() {
            return Err(bad(format!("there is no role {role}")));
        }
        let purpose = Purpose::from_code(purpose)
            .ok_or_else(|| bad(format!("{purpose} is no purpose of use")))?;
        let action = Action::from_name(action)
            .filter(|a| a.on_records())
            .ok_or_else(|| bad(format!("{action} is no action on records")))?;
        if !set.resource_types().any(|t| t == *ty) {
            return Err(bad(format!("{ty} is no resource type")));
        }
        let (about, situation) = situation_of(situation).map_err(bad)?;
        let mut letters = ClassSet::NONE;
        for letter in wanted.chars().filter(|c| *c != '.') {
            let class = LETTERS.iter().find(|(l, _)| *l == letter);
            let (_, class) = class.ok_or_else(|| bad(format!("{letter} is no class's letter")))?;
            letters = letters.with(*class);
        }
        let Some(subject) = someone(role, purpose) else { continue };
        let found = mask(set, &subject, action, ty, about, &situation);
        checked.push(Checked { line: n + 1, wanted: cell(letters), found: cell(found) });
    }
    Ok(checked)
}

fn situation_of(text: &str) -> Result<(bool, Situation), String> {
    let mut s = Situation {
        name: text.to_owned(),
        labels: LabelSet::NONE,
        relationships: RelationshipSet::NONE,
        consent: Consent::SILENT,
    };
    let mut about = true;
    for part in text.split('+') {
        let label = Label::ALL.into_iter().find(|l| l.code() == part);
        let tie = Relationship::ALL.into_iter().find(|r| r.name() == part);
        match (part, label, tie) {
            ("plain", ..) => {}
            ("none", ..) => about = false,
            ("denied", ..) => s.consent = Consent { denies: true, permits: false },
            ("consented", ..) => s.consent = Consent { denies: false, permits: true },
            (_, Some(label), _) => s.labels = s.labels.with(label),
            (_, _, Some(tie)) => s.relationships = s.relationships.with(tie),
            _ => {
                return Err(format!(
                    "{part} is no label, no relationship and no word of this table"
                ));
            }
        }
    }
    Ok((about, s))
}
