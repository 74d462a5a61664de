//! How interactions are written down: from what the engine knows to audit entries.

use phial_audit::{DetailKey, Entry, EventKind, Target};
use phial_base::{ClassSet, LogicalId, RowId, Sensitive};
use phial_fhir::definitions::ResourceType;
use phial_policy::{Denial, Facts, Permit, RecordRef};
use phial_store::vessel::Unopened;

use crate::caller::Caller;

/// An entry about this caller's request.
pub(crate) fn of(caller: &Caller, kind: EventKind) -> Entry {
    Entry::new(kind, Some(&caller.subject), &caller.request)
}

/// Adds a record that was permitted: what was given and what was withheld.
pub(crate) fn target(e: &mut Entry, found: &Unopened, permit: &Permit) {
    delivered(e, found, permit, permit.classes().and(found.header.classes));
}

/// Adds a record that was permitted and of which only `given` was asked for.
pub(crate) fn delivered(e: &mut Entry, found: &Unopened, permit: &Permit, given: ClassSet) {
    let mut t = Target::new(found.row, Some(found.version), found.header.ty.name());
    t.id = Some(found.header.id.clone());
    t.given = given;
    t.withheld = found.header.classes.minus(permit.classes());
    e.target(t, &found.header.patients);
    for obligation in permit.obligations().iter() {
        let said = e.detail.entry(DetailKey::Obligations).or_default();
        if !said.split(',').any(|o| o == obligation.name()) {
            if !said.is_empty() {
                said.push(',');
            }
            said.push_str(obligation.name());
        }
    }
}

/// Adds a record that was denied.
pub(crate) fn denied(e: &mut Entry, found: &Unopened, denial: &Denial) {
    let mut t = Target::new(found.row, Some(found.version), found.header.ty.name());
    t.id = Some(found.header.id.clone());
    t.given = ClassSet::NONE;
    t.withheld = found.header.classes;
    e.target(t, &found.header.patients);
    note(e, DetailKey::Reason, denial.reason.name().to_owned());
}

/// Adds a record that was asked for and does not exist. The id may be a patient's,
/// mistyped, so only its row id is written down.
pub(crate) fn absent(e: &mut Entry, ty: ResourceType, row: RowId) {
    e.target(Target::new(row, None, ty.name()), &[]);
}

/// Adds a record to be written: the classes that are written, and those that are carried
/// over unseen.
pub(crate) fn written(
    e: &mut Entry,
    ty: ResourceType,
    row: RowId,
    version: phial_base::Version,
    (wrote, carried): (ClassSet, ClassSet),
    action: EventKind,
    patients: &[LogicalId],
) {
    let mut t = Target::new(row, Some(version), ty.name());
    t.given = wrote;
    t.withheld = carried;
    t.action = Some(action);
    e.target(t, patients);
}

/// Adds a version that policy would not let be written.
pub(crate) fn not_written(
    e: &mut Entry,
    record: &RecordRef,
    facts: &Facts,
    denial: &Denial,
    patients: &[LogicalId],
) {
    let mut t = Target::new(record.row, Some(record.version), facts.resource_type);
    t.withheld = facts.classes;
    // Patients who are merely named in a refused write may not exist: no key is made
    // for them, so only their number is written down.
    note(e, DetailKey::Count, patients.len().to_string());
    e.target(t, &[]);
    note(e, DetailKey::Reason, denial.reason.name().to_owned());
}

/// Sets the query of a search, sealed inside the entry.
pub(crate) fn query(e: &mut Entry, ty: Option<ResourceType>, pairs: &[(String, String)]) {
    let text: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs.iter().filter(|(k, _)| k != "_page"))
        .finish();
    let ty = ty.map_or("", ResourceType::name);
    e.query = Some(Sensitive::new(format!("{ty}?{text}")));
}

/// Adds a detail.
pub(crate) fn note(e: &mut Entry, key: DetailKey, value: String) {
    e.detail.insert(key, value);
}
