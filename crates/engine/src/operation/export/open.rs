//! From rows of the record log to lines: what is in scope, what policy permits of it,
//! and what of that is shown. Looks nothing up by content.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::{BufMut as _, Bytes};
use phial_audit::Entry;
use phial_base::{KeyHandle, LogicalId, RowId, Seq, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::json::{Doc, Node};
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::search::parse_query;
use phial_fhir::{Limits, Subset};
use phial_policy::{Action, Permit};
use phial_store::Error as StoreError;
use phial_store::records::Row;
use phial_store::vessel::{SNAPSHOT_LIFE_US, Unopened};
use zeroize::Zeroizing;

use super::{Associated, Export};
use crate::caller::Caller;
use crate::condition::form;
use crate::entry;
use crate::failure::{Failure, Refusal};
use crate::gate::{Engine, Tenant};

/// Hits of a `_typeFilter` that are taken from the index at a time.
const HITS: u32 = 10_000;

/// What of an export is the same for all its steps.
pub(super) struct Scope {
    types: Option<HashSet<ResourceType>>,
    /// Only records about these patients, and the keys that can seal such records.
    patients: Option<(HashSet<LogicalId>, HashSet<KeyHandle>)>,
    /// By type, the records that one of its filters found.
    filtered: HashMap<ResourceType, HashSet<RowId>>,
    parts: Vec<(Option<ResourceType>, BTreeSet<String>)>,
    /// Definitions that filters were looked up in: to be written down before it is used.
    pub(super) looked_at: Option<Entry>,
}

/// Lines by type and whether they are deletions, and how many those are.
pub(super) type Texts = BTreeMap<(ResourceType, bool), (Zeroizing<Vec<u8>>, u64)>;

/// A batch of the record log, opened.
pub(super) struct Batch {
    /// The lines of all files, one behind the other; overwritten when dropped.
    pub(super) body: Bytes,
    /// By type and whether they are deletions: where in `body`, and how many lines.
    pub(super) parts: Vec<(ResourceType, bool, std::ops::Range<usize>, u64)>,
    /// The records in it.
    pub(super) entry: Entry,
    /// What permitted them.
    pub(super) permits: Vec<Permit>,
}

impl Engine {
    /// Looks up what the export is about: the members of its Group, the keys of its
    /// patients, what its filters find.
    pub(super) fn export_scope(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &Export,
        mut e: Entry,
    ) -> Result<Scope, Failure> {
        let mut permits = Vec::new();
        let failed = Self::store_failure(caller);
        let types: Option<HashSet<ResourceType>> =
            export.types().map(|types| types.into_iter().collect());
        let mut only: Option<HashSet<LogicalId>> = None;
        let mut narrow = |ids: Vec<LogicalId>| {
            let ids: HashSet<LogicalId> = ids.into_iter().collect();
            only = Some(match only.take() {
                Some(before) => before.intersection(&ids).cloned().collect(),
                None => ids,
            });
        };
        if let Some((id, version)) = &export.group {
            narrow(self.members(tenant, caller, id, Version(*version))?);
        }
        if let Some(ids) = &export.only {
            narrow(ids.iter().filter_map(|id| LogicalId::new(id).ok()).collect());
        }
        let patients = match only {
            Some(ids) => {
                let keystore = tenant.vessel.keystore();
                let mut keys = HashSet::new();
                for id in &ids {
                    let own = keystore.patient_key(&caller.subject.tenant, id).map_err(&failed)?;
                    keys.extend(own.map(|k| k.handle));
                    keys.extend(
                        keystore.joint_handles(&caller.subject.tenant, id).map_err(&failed)?,
                    );
                }
                Some((ids, keys))
            }
            None => None,
        };
        let mut filtered: HashMap<ResourceType, HashSet<RowId>> = HashMap::new();
        for (ty, query) in &export.filters {
            let Some(ty) = ResourceType::from_name(ty) else { continue };
            let looked = (&mut e, &mut permits);
            let found = self.filtered(tenant, caller, export, (ty, query), looked)?;
            filtered.entry(ty).or_default().extend(found);
        }
        let mut parts: Vec<(Option<ResourceType>, BTreeSet<String>)> = Vec::new();
        for (ty, element) in &export.elements {
            let ty = ty.as_ref().and_then(|t| ResourceType::from_name(t));
            match parts.iter_mut().find(|(of, _)| *of == ty) {
                Some((_, names)) => {
                    names.insert(element.clone());
                }
                None => parts.push((ty, BTreeSet::from([element.clone()]))),
            }
        }
        let looked_at = (!permits.is_empty()).then_some(e);
        Ok(Scope { types, patients, filtered, parts, looked_at })
    }

    /// The patients who are members of a Group, if the caller may still export it.
    fn members(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        id: &str,
        version: Version,
    ) -> Result<Vec<LogicalId>, Failure> {
        let failed = Self::store_failure(caller);
        let group = ResourceType::from_name("Group").ok_or(Failure::NotFound)?;
        let id = LogicalId::new(id).map_err(|_| Failure::NotFound)?;
        let row = tenant.vessel.row_id(group, &id).map_err(&failed)?;
        let found = tenant.vessel.find_version(row, version).map_err(&failed)?;
        let now = tenant.vessel.find_row(row).map_err(&failed)?;
        let (Some(found), Some(now)) = (found, now) else { return Err(Failure::Gone) };
        if self.decide(tenant, caller, Action::Export, &now)?.is_err() {
            return Err(Failure::Gone);
        }
        let Ok(permit) = self.decide(tenant, caller, Action::Export, &found)? else {
            return Err(Failure::Gone);
        };
        let opened = tenant.vessel.open_record(&permit, &found).map_err(&failed)?;
        let limits =
            Limits { max_bytes: usize::MAX, max_elements: usize::MAX, ..Limits::default() };
        let doc = Doc::parse(opened.body(), &limits)
            .map_err(|_| failed(StoreError::Corrupt("a record that was opened is no JSON")))?;
        let members = doc.root().member("member").into_iter().flat_map(Node::items);
        let ids = members.filter_map(|m| {
            if m.member("inactive").and_then(Node::as_bool) == Some(true) {
                return None;
            }
            let reference = m.member("entity")?.member("reference")?.as_str()?;
            match classify(&reference) {
                RefKind::Relative { type_, id, .. } if type_.name() == "Patient" => {
                    LogicalId::new(id).ok()
                }
                _ => None,
            }
        });
        Ok(ids.collect())
    }

    /// The snapshot of the index that an export looks at. The index remembers what was
    /// current for some minutes: an export that began before that looks at what is current
    /// now.
    fn snapshot(&self, tenant: &Tenant, caller: &Caller, export: &Export) -> Result<Seq, Failure> {
        let now = tenant.vessel.catch_up().map_err(Self::store_failure(caller))?;
        let age = self.clock().now().as_microsecond() - export.taken;
        Ok(if age < SNAPSHOT_LIFE_US { export.at() } else { now })
    }

    /// The records that a filter finds: those that a search as this caller would find,
    /// by what an export may show.
    fn filtered(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &Export,
        (ty, query): (ResourceType, &str),
        looked: (&mut Entry, &mut Vec<Permit>),
    ) -> Result<HashSet<RowId>, Failure> {
        let failed = Self::store_failure(caller);
        let mut query =
            parse_query(ty, &form(query)).map_err(|issues| Failure::Invalid(Refusal { issues }))?;
        self.guard_as(caller, &query, Action::Export)?;
        let at = self.snapshot(tenant, caller, export)?;
        self.look_up_codes(tenant, caller, &mut query, Some(at), looked)?;
        self.narrow(caller, Action::Export, &mut query);
        let access = self.access(tenant, caller, Action::Export)?;
        let viewer = caller.viewer();
        let (mut found, mut after) = (HashSet::new(), None);
        loop {
            let page = tenant
                .vessel
                .search(&query, &viewer, &access, at, after.as_ref(), HITS, false)
                .map_err(&failed)?;
            found.extend(page.hits.iter().map(|h| h.row));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Opens what of these rows is in scope and permitted. What is denied is absent.
    pub(super) fn export_batch(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &Export,
        scope: &Scope,
        entry: Entry,
        rows: Vec<(Row, bool)>,
    ) -> Result<Batch, Failure> {
        let mut lines = Texts::new();
        let mut batch = Batch { body: Bytes::new(), parts: Vec::new(), entry, permits: Vec::new() };
        let keys = scope.patients.as_ref().map(|(_, keys)| keys);
        for (row, followed) in rows {
            let found = tenant.vessel.unseal_under(row, keys);
            let Some(found) = found.map_err(Self::store_failure(caller))? else { continue };
            let Some(permit) = self.exported(tenant, caller, export, scope, &found, followed)?
            else {
                continue;
            };
            let ty = found.header.ty;
            let (to, count) = lines.entry((ty, found.header.deleted)).or_default();
            if found.header.deleted {
                entry::target(&mut batch.entry, &found, &permit);
                deletion(to, ty, &found.header.id);
            } else {
                let part = scope.part(ty);
                let view = Self::view(tenant, caller, &permit, &found, part.as_ref())?;
                entry::delivered(&mut batch.entry, &found, &permit, view.given);
                one_line(to, &view.body);
            }
            *count += 1;
            batch.permits.push(permit);
        }
        let mut body =
            Zeroizing::new(Vec::with_capacity(lines.values().map(|(l, _)| l.len()).sum()));
        for ((ty, deleted), (text, count)) in lines {
            let from = body.len();
            body.extend_from_slice(&text);
            batch.parts.push((ty, deleted, from..body.len(), count));
        }
        batch.body = Bytes::from_owner(body);
        Ok(batch)
    }

    /// Whether the version is in scope, and if so, the permit for it.
    fn exported(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &Export,
        scope: &Scope,
        found: &Unopened,
        followed: bool,
    ) -> Result<Option<Permit>, Failure> {
        let h = &found.header;
        let associated = export.associated.filter(|_| h.ty.name() == "Provenance");
        let about = match &scope.patients {
            Some((patients, _)) => h.patients.iter().any(|p| patients.contains(p)),
            None => !export.patients || !h.patients.is_empty(),
        };
        let since = export.since.is_none_or(|since| h.last_updated >= since);
        // Deletions are told to those who ask for what has changed.
        let told = !h.deleted || export.since.is_some();
        let typed = scope.types.as_ref().is_none_or(|types| types.contains(&h.ty));
        let filtered =
            h.deleted || scope.filtered.get(&h.ty).is_none_or(|rows| rows.contains(&found.row));
        // A Provenance that goes with a record goes whatever is asked of the records.
        let asked = since && typed && filtered;
        if !(about && told && (asked || (associated.is_some() && !h.deleted))) {
            return Ok(None);
        }
        // A label set since hides its older versions as well.
        if followed {
            let now = tenant.vessel.find_row(found.row).map_err(Self::store_failure(caller))?;
            let Some(now) = now else { return Ok(None) };
            if self.decide(tenant, caller, Action::Export, &now)?.is_err() {
                return Ok(None);
            }
        }
        let permit = self.decide(tenant, caller, Action::Export, found)?.ok();
        match (permit, associated.filter(|_| !h.deleted)) {
            (Some(permit), Some(which)) => {
                let goes =
                    self.comes_along(tenant, caller, export, scope, (found, &permit), which)?;
                Ok(goes.then_some(permit))
            }
            (permit, _) => Ok(permit),
        }
    }

    /// Whether a Provenance is about a record that is exported: about any, or the most
    /// recent one about it.
    fn comes_along(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &Export,
        scope: &Scope,
        (found, permit): (&Unopened, &Permit),
        which: Associated,
    ) -> Result<bool, Failure> {
        let failed = Self::store_failure(caller);
        let opened = tenant.vessel.open_record(permit, found).map_err(&failed)?;
        let limits =
            Limits { max_bytes: usize::MAX, max_elements: usize::MAX, ..Limits::default() };
        let doc = Doc::parse(opened.body(), &limits)
            .map_err(|_| failed(StoreError::Corrupt("a record that was opened is no JSON")))?;
        for target in doc.root().member("target").into_iter().flat_map(Node::items) {
            let Some(reference) = target.member("reference").and_then(Node::as_str) else {
                continue;
            };
            let RefKind::Relative { type_: ty, id, .. } = classify(&reference) else { continue };
            let Some(id) = LogicalId::new(id).ok().filter(|_| ty.name() != "Provenance") else {
                continue;
            };
            let Some(of) = tenant.vessel.find(ty, &id).map_err(&failed)? else { continue };
            if of.header.deleted
                || self.exported(tenant, caller, export, scope, &of, false)?.is_none()
            {
                continue;
            }
            if which == Associated::Relevant
                || self.latest_about(tenant, caller, export, &of)? == Some(found.row)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The most recent Provenance about a record that the caller may export.
    fn latest_about(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        export: &Export,
        of: &Unopened,
    ) -> Result<Option<RowId>, Failure> {
        let failed = Self::store_failure(caller);
        let Some(ty) = ResourceType::from_name("Provenance") else { return Ok(None) };
        let target = format!("{}/{}", of.header.ty.name(), of.header.id.as_str());
        let pairs = [("target".to_owned(), target), ("_sort".to_owned(), "-recorded".to_owned())];
        let mut query =
            parse_query(ty, &pairs).map_err(|issues| Failure::Invalid(Refusal { issues }))?;
        self.narrow(caller, Action::Export, &mut query);
        let at = self.snapshot(tenant, caller, export)?;
        let access = self.access(tenant, caller, Action::Export)?;
        let page = tenant.vessel.search(&query, &caller.viewer(), &access, at, None, 1, false);
        Ok(page.map_err(&failed)?.hits.first().map(|hit| hit.row))
    }
}

impl Scope {
    /// What is shown of records of the type.
    fn part(&self, ty: ResourceType) -> Option<Subset> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (of, elements) in &self.parts {
            if of.is_none_or(|of| of == ty) {
                names.extend(elements.iter().cloned());
            }
        }
        (!names.is_empty()).then_some(Subset::Elements(names))
    }
}

/// A record as a line. JSON as it was sent may have line breaks between its tokens, and
/// none within a string.
fn one_line(to: &mut Vec<u8>, body: &[u8]) {
    to.reserve(body.len() + 1);
    if body.contains(&b'\n') || body.contains(&b'\r') {
        to.extend(body.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
    } else {
        to.extend_from_slice(body);
    }
    to.push(b'\n');
}

/// What a deletion is told as
/// (<https://hl7.org/fhir/uv/bulkdata/STU2/export.html#bulk-data-output-file-request>).
fn deletion(to: &mut Vec<u8>, ty: ResourceType, id: &LogicalId) {
    to.put_slice(br#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":""#);
    to.put_slice(ty.name().as_bytes());
    to.push(b'/');
    to.put_slice(id.as_str().as_bytes());
    to.put_slice(b"\"}}]}\n");
}

/// The place behind these rows.
pub(super) fn behind(rows: &[(Row, bool)], before: Seq) -> Seq {
    rows.last().map_or(before, |(row, _)| row.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let mut out = Vec::new();
        one_line(&mut out, b"{\n \"a\":\r\n1}");
        one_line(&mut out, b"{\"b\":\"x\\ny\"}");
        assert_eq!(out, b"{  \"a\":  1}\n{\"b\":\"x\\ny\"}\n");
    }
}
