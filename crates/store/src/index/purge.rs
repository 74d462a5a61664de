//! Taking versions out: superseded ones after their time, and everything about a
//! patient. Deleted content is overwritten in its page (`secure_delete`), and after a
//! purge the write-ahead log is emptied too.

use std::collections::HashSet;

use phial_base::LogicalId;
use phial_base::step::Step;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::dict::{Kind, Names};
use super::list::{self, ABOUT, List, Which};
use super::rows::{Head, Rows};
use super::stored::{delete_resource, delete_term, fetch, fetch_head, resource};
use super::values::Val;
use super::write::{members, patient_type};
use super::{Index, db, lock, tally, unusable};
use crate::durable;
use crate::error::Error;
use std::sync::PoisonError;

/// Versions taken out in one transaction.
const AT_ONCE: usize = 2000;

/// Deletes versions with all their rows. Says which terms and resources they used.
fn delete_versions(
    tx: &Connection,
    names: &Names,
    vids: &[i64],
    used: &mut Used,
) -> Result<(), Error> {
    let mut rows = Rows::default();
    let mut totals = tally::Changes::default();
    let mut gone = tx.prepare_cached("SELECT 1 FROM gone WHERE vid=?1")?;
    for vid in vids {
        let Some(v) = fetch(tx, names, *vid)? else { continue };
        if !gone.exists([vid])? {
            totals.left(tx, names, &v)?;
        }
        if v.tag != 0 {
            let facet = names.tag(v.tag).map_or(0, |t| t.facet);
            let head = Head {
                ty: v.ty,
                seq: v.seq,
                tag: v.tag,
                patient: v.patient,
                date: v.date,
                facet: (facet, names.facet(v.tag).len()),
            };
            rows.add(&head, &v.vals);
        }
        used.resources.insert(v.res);
        for val in &v.vals {
            if let Val::Post { pcode, term } = val {
                if names.pcode(*pcode).is_some_and(|p| p.kind == Kind::Ref) {
                    used.resources.insert(*term);
                } else {
                    used.terms.insert(*term);
                }
            }
        }
        // The resource has no version here any more, unless a later one came.
        tx.prepare_cached("UPDATE res SET cur=0 WHERE num=?1 AND cur=?2")?
            .execute([v.res, v.seq])?;
    }
    drop(gone);
    totals.write(tx)?;
    rows.delete(tx, names)?;
    for vid in vids {
        tx.prepare_cached("DELETE FROM version WHERE vid=?1")?.execute([vid])?;
        tx.prepare_cached("DELETE FROM gone WHERE vid=?1")?.execute([vid])?;
    }
    Ok(())
}

#[derive(Default)]
struct Used {
    resources: HashSet<i64>,
    terms: HashSet<i64>,
}

/// Deletes terms, systems and resource names that no row uses any more.
fn sweep(tx: &Connection, names: &Names, used: &Used) -> Result<(), Error> {
    let mut systems = HashSet::new();
    let posted = |term: i64, refs: bool| -> Result<bool, Error> {
        for (num, p) in names.all() {
            if p.kind.posted() && (p.kind == Kind::Ref) == refs && list::any(tx, num, term)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let shared = |term: i64| -> Result<bool, Error> {
        for (ty, facet) in names.facets_with(term) {
            if list::any(tx, ABOUT, list::facet_term(ty, facet))? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    for term in &used.terms {
        if !posted(*term, false)? && !shared(*term)? {
            delete_term(tx, *term)?;
            systems.insert(term >> 32);
        }
    }
    for s in systems {
        let left = tx
            .prepare_cached("SELECT 1 FROM term WHERE num>=?1 AND num<?2 LIMIT 1")?
            .query_row([s << 32, (s + 1) << 32], |_| Ok(()))
            .optional()?;
        if left.is_none() {
            tx.prepare_cached("DELETE FROM system WHERE num=?1")?.execute([s])?;
        }
    }
    for res in &used.resources {
        let key: Option<(Vec<u8>, i64)> = tx
            .prepare_cached("SELECT key, cur FROM res WHERE num=?1")?
            .query_row([res], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let Some((key, cur)) = key else { continue };
        let patient = key.first() == Some(&patient_type());
        let in_set = || -> Result<bool, Error> {
            Ok(tx
                .prepare_cached("SELECT 1 FROM pset WHERE patient=?1 LIMIT 1")?
                .query_row([res], |_| Ok(()))
                .optional()?
                .is_some())
        };
        let mentioned = cur != 0
            || posted(*res, true)?
            || (patient && (!list::types_about(tx, *res)?.is_empty() || in_set()?));
        if !mentioned {
            delete_resource(tx, *res, &key)?;
        }
    }
    Ok(())
}

impl Index {
    /// Deletes the versions that were superseded, and the deletion markers that were
    /// set, before `before` (microseconds since the epoch). Snapshots older than that
    /// are not answered in full any more.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn expire(&self, before: i64) -> Result<(), Error> {
        self.expire_inner(before).map_err(unusable)
    }

    fn expire_inner(&self, before: i64) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        if !writer.dying.is_empty() {
            let mut gone = self.gone.write().unwrap_or_else(PoisonError::into_inner);
            for seq in std::mem::take(&mut writer.dying) {
                gone.remove(&seq);
            }
        }
        loop {
            let (conn, state) = writer.parts()?;
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let vids: Vec<i64> = {
                let mut s = tx.prepare_cached("SELECT vid FROM gone WHERE since<?1 LIMIT ?2")?;
                let limit = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
                let rows = s.query_map(params![before, limit], |r| r.get(0))?;
                rows.collect::<Result<_, _>>()?
            };
            if vids.is_empty() {
                return Ok(());
            }
            delete_versions(&tx, &state.names, &vids, &mut Used::default())?;
            durable::commit(Step::IndexExpire, tx)?;
            writer.dying.extend(vids.iter().map(|v| db::seq_of(*v)));
        }
    }

    /// Deletes every version that is about the patient, alone or with others, and the
    /// terms and names that only those used; then empties the write-ahead log. Records
    /// that merely mention the patient stay.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn forget_patient(&self, id: &LogicalId) -> Result<(), Error> {
        self.forget_inner(id).map_err(unusable)
    }

    fn forget_inner(&self, id: &LogicalId) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        let (conn, state) = writer.parts()?;
        let Some(patient) = resource(conn, patient_type(), id.as_str())? else { return Ok(()) };
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // A number that is free may be given to another.
        lock(&self.patients).clear();
        let mut columns = vec![patient];
        {
            let mut s = tx.prepare_cached("SELECT num FROM pset WHERE patient=?1")?;
            for set in s.query_map([patient], |r| r.get::<_, i64>(0))? {
                columns.push(-set?);
            }
        }
        let mut used = Used::default();
        used.resources.insert(patient);
        let mut forgotten: HashSet<i64> = HashSet::new();
        for column in &columns {
            let mut vids: Vec<i64> = Vec::new();
            for ty in list::types_about(&tx, *column)? {
                list::scan(&tx, Which::One(List::about(*column, ty)), &mut |_, e| {
                    vids.push(db::vid(ty, e.seq));
                    Ok(true)
                })?;
            }
            // Deletion markers have no rows: they follow the version that they ended.
            let mut markers = Vec::new();
            for vid in &vids {
                let mut next: Option<i64> = tx
                    .prepare_cached("SELECT until FROM gone WHERE vid=?1")?
                    .query_row([vid], |r| r.get(0))
                    .optional()?;
                while let Some(seq) = next.take() {
                    let marker = db::vid(db::type_of(*vid), seq);
                    if fetch_head(&tx, marker)?.is_some_and(|m| m.tag == 0) {
                        markers.push(marker);
                    }
                }
            }
            vids.extend(markers);
            delete_versions(&tx, &state.names, &vids, &mut used)?;
            forgotten.extend(vids.iter().map(|v| db::seq_of(*v)));
            if *column < 0 {
                for p in members(&tx, -column)? {
                    used.resources.insert(p);
                }
                tx.prepare_cached("DELETE FROM pset WHERE num=?1")?.execute([-column])?;
            }
        }
        sweep(&tx, &state.names, &used)?;
        durable::commit(Step::IndexForget, tx)?;
        // Numbers that the caches may still give out are gone.
        state.reset(conn)?;
        // Until no reader stands on the old pages the log can't be emptied; the next
        // checkpoint does it then, and the pages in it are encrypted as all are.
        durable::scrub(Step::IndexForget, conn)?;
        lock(&self.viewers).invalidate(None);
        writer.dying.extend(forgotten);
        Ok(())
    }
}
