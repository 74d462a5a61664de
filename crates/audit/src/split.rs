//! Splitting an entry that is too large for one leaf (a bulk export, a search that
//! delivers hundreds of patients, a transaction of thousands of writes).
//!
//! The parts carry the same request, intent and outcome and say `(i, n)`; each names
//! only its own records and patients. A store appends them in one batch.

use std::collections::HashMap;

use crate::entry::{Entry, PatientPart, Target};
use crate::sealed::MAX_SEALED;

/// More than a seal, its handle and the map around a patient's part can take.
const PART_BYTES: usize = 140;
/// More than a target takes beside its texts: row, version, name and shape.
const TARGET_BYTES: usize = 96;
const WRITE_BYTES: usize = 56;

fn texts<'a>(all: impl IntoIterator<Item = &'a String>) -> usize {
    all.into_iter().map(|s| s.len() + 8).sum()
}

impl Entry {
    /// More than the sealed bytes of everything but targets, patients and writes.
    fn base_bound(&self) -> usize {
        let w = &self.who;
        let options = [&w.user, &w.unit, &w.session, &w.client, &w.device, &self.grant];
        400 + texts(&w.roles)
            + texts(options.into_iter().flatten())
            + texts(self.detail.values())
            + self.query.as_ref().map_or(0, |q| q.reveal().len())
    }

    fn target_bound(target: &Target) -> usize {
        let id = target.id.as_ref().map_or(0, |id| id.as_str().len() + 12);
        // The id is repeated in the part of each of its patients.
        TARGET_BYTES
            + target.resource_type.len()
            + texts(&target.elements)
            + target.patients.len().max(1) * (id + 8)
    }

    fn patient_bound(part: &PatientPart) -> usize {
        PART_BYTES + part.id.as_ref().map_or(0, |id| id.as_str().len())
    }

    /// This entry, or several that say the same when it may be too large to be one leaf.
    /// A store calls it before it numbers and seals.
    #[must_use]
    pub fn split(self) -> Vec<Entry> {
        let whole = self.base_bound()
            + self.what.iter().map(Self::target_bound).sum::<usize>()
            + self.patients.iter().map(Self::patient_bound).sum::<usize>()
            + self.writes.len() * WRITE_BYTES;
        if whole <= MAX_SEALED { vec![self] } else { self.cut() }
    }

    fn cut(mut self) -> Vec<Entry> {
        let what = std::mem::take(&mut self.what);
        let writes = std::mem::take(&mut self.writes);
        let patients = std::mem::take(&mut self.patients);
        let base = self.base_bound();
        let mut parts: Vec<Entry> = Vec::new();
        let mut current = self.clone();
        // The query is said once.
        self.query = None;
        let mut size = base;
        let mut known: HashMap<u32, u32> = HashMap::new();
        let mut named = vec![false; patients.len()];
        let (mut what, mut writes) = (what.into_iter(), writes.into_iter());
        loop {
            let (target, write) = (what.next(), writes.next());
            if target.is_none() && write.is_none() {
                break;
            }
            let mut cost = write.as_ref().map_or(0, |_| WRITE_BYTES);
            if let Some(t) = &target {
                let bounds = t.patients.iter().filter_map(|p| patients.get(*p as usize));
                cost += Self::target_bound(t) + bounds.map(Self::patient_bound).sum::<usize>();
            }
            if size + cost > MAX_SEALED && size > base {
                parts.push(std::mem::replace(&mut current, self.clone()));
                known.clear();
                size = base;
            }
            size += cost;
            if let Some(mut t) = target {
                for p in &mut t.patients {
                    let Some(part) = patients.get(*p as usize) else { continue };
                    if let Some(named) = named.get_mut(*p as usize) {
                        *named = true;
                    }
                    *p = *known.entry(*p).or_insert_with(|| {
                        current.patients.push(part.clone());
                        u32::try_from(current.patients.len() - 1).unwrap_or(u32::MAX)
                    });
                }
                current.what.push(t);
            }
            current.writes.extend(write);
        }
        // Patients that no record speaks of.
        for (part, _) in patients.into_iter().zip(named).filter(|(_, named)| !named) {
            let cost = Self::patient_bound(&part);
            if size + cost > MAX_SEALED && size > base {
                parts.push(std::mem::replace(&mut current, self.clone()));
                size = base;
            }
            size += cost;
            current.patients.push(part);
        }
        parts.push(current);
        let of = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        for (entry, i) in parts.iter_mut().zip(1..=of) {
            entry.part = Some((i, of));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use phial_base::{KeyHandle, LogicalId, RowId, SeededRng, Sensitive, TenantId, Version};
    use phial_crypto::SecretKey;

    use super::*;
    use crate::{EventKind, Place, Write, seal_entry};

    fn id(i: u32) -> LogicalId {
        LogicalId::new(&format!("{i:064}")).unwrap()
    }

    fn row(i: u32) -> RowId {
        let mut b = [0; 16];
        b[..4].copy_from_slice(&i.to_be_bytes());
        RowId(b)
    }

    #[test]
    fn a_large_search_is_split_and_nothing_is_lost() {
        let mut e = Entry::system(EventKind::Search, Timestamp::UNIX_EPOCH);
        e.query = Some(Sensitive::new("code=x".into()));
        for i in 0..2000u32 {
            let mut t = Target::new(row(i), Some(Version(i)), "Observation");
            t.id = Some(id(i));
            e.target(t, &[id(1_000_000 + i % 700), id(2_000_000)]);
        }
        e.patient(&id(3_000_000));
        let parts = e.clone().split();
        assert!(parts.len() > 1);
        assert_eq!(parts.iter().filter(|p| p.query.is_some()).count(), 1);
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        let place = Place { tenant: TenantId::default_tenant(), node: [0; 16], number: 1 };
        let handle = KeyHandle([0; 16]);
        let keys = |_: &LogicalId| Some((handle, &key));
        let mut rows = Vec::new();
        let mut patients = std::collections::BTreeSet::new();
        for (p, i) in parts.iter().zip(1..) {
            assert_eq!(p.part, Some((i, parts.len() as u16)));
            seal_entry(p, &place, &(handle, &key), &keys, &SeededRng::new(1)).unwrap();
            for t in &p.what {
                let of: Vec<_> =
                    t.patients.iter().map(|x| p.patients[*x as usize].id.clone()).collect();
                let n = rows.len() as u32;
                assert_eq!(of, [Some(id(1_000_000 + n % 700)), Some(id(2_000_000))]);
                rows.push(t.row);
            }
            patients.extend(p.patients.iter().filter_map(|p| p.id.clone()));
        }
        assert_eq!(rows, (0..2000).map(row).collect::<Vec<_>>());
        assert_eq!(patients.len(), 702);
    }

    #[test]
    fn a_large_intent_is_split_and_keeps_its_order() {
        let write = |i| Write { row: row(i), version: Version(1), hash: [i as u8; 32] };
        let writes: Vec<_> = (0..3000).map(write).collect();
        let e = Entry::system(EventKind::Create, Timestamp::UNIX_EPOCH);
        let parts = e.into_intent([5; 16], EventKind::Transaction, writes.clone()).split();
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|p| p.intent == Some([5; 16])));
        assert_eq!(parts.into_iter().flat_map(|p| p.writes).collect::<Vec<_>>(), writes);
    }

    #[test]
    fn an_ordinary_entry_stays_one() {
        let e = Entry::system(EventKind::Start, Timestamp::UNIX_EPOCH);
        assert_eq!(e.clone().split(), [e]);
    }
}
