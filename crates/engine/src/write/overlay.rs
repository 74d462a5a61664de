//! What the entries of a transaction leave, for conditions to see before anything is
//! committed (decision 0037). Built when a condition first asks for a type that the
//! transaction writes, which most never do.

use std::collections::HashSet;

use phial_base::{LogicalId, RowId, Seq, Version};
use phial_fhir::definitions::ResourceType;
use phial_fhir::json::Doc;
use phial_fhir::search::{Query, extract};
use phial_fhir::split::classes_in;
use phial_fhir::{Limits, compartment, validate};
use phial_policy::Action;
use phial_store::index::Indexed;
use phial_store::vessel::Among;

use super::Method;
use super::refer::Names;
use super::settle::{ByRow, Settled};
use crate::caller::Caller;
use crate::failure::Failure;
use crate::gate::{Engine, Tenant};

/// The state that entries leave, as far as anybody asked.
#[derive(Default)]
pub(crate) struct Overlay {
    /// How many of the settled entries are in here.
    taken: usize,
    /// Rows whose committed version no longer counts; what stands there instead.
    rows: ByRow,
    types: HashSet<ResourceType>,
    index: Option<Among>,
    waiting: Vec<Indexed>,
}

impl Overlay {
    /// Takes in the entries that were settled since.
    fn follow(
        &mut self,
        engine: &Engine,
        tenant: &Tenant,
        caller: &Caller,
        settled: &[Settled],
        names: &Names,
    ) -> Result<(), Failure> {
        let now = engine.clock().now().as_microsecond();
        for s in settled.iter().skip(self.taken) {
            self.taken += 1;
            let ty = s.write.ty;
            // A patch is seen once it is committed.
            if s.existing || s.nothing || s.write.method == Method::Patch {
                continue;
            }
            let row = tenant.vessel.row_id(ty, &s.id).map_err(Engine::store_failure(caller))?;
            self.types.insert(ty);
            self.rows.insert(row, None);
            if let Some(indexed) =
                s.write.body.as_ref().and_then(|doc| version(engine, doc, s, row, now, names))
            {
                self.rows.insert(row, Some(s.id.clone()));
                self.waiting.push(indexed);
            }
        }
        Ok(())
    }
}

/// What the index would know of the entry once it is stored. `None` for one that is not
/// valid: planning says so.
fn version(
    engine: &Engine,
    doc: &Doc,
    s: &Settled,
    row: RowId,
    now: i64,
    names: &Names,
) -> Option<Indexed> {
    let stamp = jiff::Timestamp::from_microsecond(now).unwrap_or_default();
    let text = phial_fhir::stamp(doc, &s.id, Version(1), &format!("{stamp:.3}"), &mut |link| {
        names.plain(&s.write, link)
    });
    let text = zeroize::Zeroizing::new(text.ok()?);
    let valid = validate(Doc::parse(&text, &Limits::default()).ok()?).ok()?;
    Some(Indexed {
        seq: Seq(0),
        row,
        version: Version(1),
        ty: s.write.ty,
        id: s.id.clone(),
        patients: compartment::patients(&valid),
        labels: engine.labels_of(&valid),
        classes: classes_in(valid.doc(), s.write.ty),
        deleted: false,
        last_updated: now,
        values: extract(&valid),
    })
}

/// A transaction's own state: the overlay, its entries, and what they are called.
pub(crate) type Own<'o> = (&'o mut Overlay, &'o [Settled], &'o Names);

impl Engine {
    /// The records that satisfy a condition, at most `most`: those that are committed, and
    /// those that the entries of the same transaction leave.
    pub(crate) fn matching(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        query: &Query,
        most: usize,
        own: Option<Own<'_>>,
    ) -> Result<Vec<LogicalId>, Failure> {
        let failed = Self::store_failure(caller);
        let access = self.access(tenant, caller, Action::Search)?;
        let viewer = caller.viewer();
        let mut found: Vec<LogicalId> = Vec::new();
        let mut superseded = None;
        if let Some((overlay, settled, names)) = own {
            overlay.follow(self, tenant, caller, settled, names)?;
            if overlay.types.contains(&query.ty) {
                if overlay.index.is_none() {
                    overlay.index = Some(tenant.vessel.among().map_err(&failed)?);
                }
                if let Some(index) = &mut overlay.index {
                    index.add(std::mem::take(&mut overlay.waiting)).map_err(&failed)?;
                    let limit = u32::try_from(most).unwrap_or(u32::MAX);
                    let rows = index.find(query, &viewer, &access, limit).map_err(&failed)?;
                    found.extend(rows.iter().filter_map(|row| overlay.rows.get(row)?.clone()));
                }
                superseded = Some(&overlay.rows);
            }
        }
        let at = tenant.vessel.catch_up().map_err(&failed)?;
        let more = most.saturating_add(superseded.map_or(0, ByRow::len));
        let limit = u32::try_from(more).unwrap_or(u32::MAX);
        let page = tenant
            .vessel
            .search(query, &viewer, &access, at, None, limit, false)
            .map_err(&failed)?;
        for hit in page.hits {
            if found.len() >= most {
                break;
            }
            if superseded.is_some_and(|rows| rows.contains_key(&hit.row)) {
                continue;
            }
            let one = tenant.vessel.find_version(hit.row, hit.version).map_err(&failed)?;
            found.extend(one.map(|f| f.header.id));
        }
        found.truncate(most);
        Ok(found)
    }
}
