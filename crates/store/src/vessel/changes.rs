//! The record log as it goes on, for those who follow it: heads alone, segments sealed.
//! Many may follow it, each for some types: a head that was opened once to know its type
//! is not opened again for those who don't want it.

use phial_base::Seq;
use phial_fhir::definitions::ResourceType;

use super::past::{GONE, UNKNOWN};
use super::{Unopened, Vessel, lock};
use crate::error::Error;

/// Versions read at once where their types are not known yet.
const AT_ONCE: usize = 64;
/// Places passed over in one stretch, at most: what is known costs next to nothing.
const PASSED: u64 = 100_000;

/// A stretch of the log.
pub struct Stretch {
    /// Up to where it goes.
    pub seen: Seq,
    /// The wanted versions in it, in the order of the log, unopened.
    pub found: Vec<(Seq, Unopened)>,
    /// How many heads were opened for it.
    pub opened: usize,
    /// Whether there may be more behind it.
    pub more: bool,
}

impl Vessel {
    /// The versions after `after` whose type is wanted, in the order of the log, at most
    /// `enough` of them, for which at most `limit` heads are opened. One whose key was
    /// destroyed is passed over.
    ///
    /// # Errors
    /// As [`Vessel::find`].
    pub fn changes_of(
        &self,
        after: Seq,
        (enough, limit): (usize, usize),
        wanted: &dyn Fn(ResourceType) -> bool,
    ) -> Result<Stretch, Error> {
        let head = self.records.head()?;
        let mut out = Stretch { seen: after, found: Vec::new(), opened: 0, more: false };
        let last = after.0.saturating_add(PASSED);
        while out.seen < head {
            let full = out.found.len() >= enough || out.opened >= limit;
            if full || out.seen.0 >= last {
                out.more = true;
                return Ok(out);
            }
            let next = Seq(out.seen.0 + 1);
            let kind = lock(&self.kinds).of(next);
            match kind {
                UNKNOWN => {
                    let most = AT_ONCE.min(limit - out.opened);
                    let rows = self.records.changes(out.seen, most)?;
                    if rows.is_empty() {
                        // What stood up to the head is deleted.
                        self.gone(next, Seq(head.0 + 1));
                        out.seen = head;
                    }
                    for found in rows {
                        if out.found.len() >= enough {
                            break;
                        }
                        // Places are taken in order: none between is ever filled.
                        self.gone(Seq(out.seen.0 + 1), found.seq);
                        out.seen = found.seq;
                        out.take(self, found, wanted)?;
                    }
                }
                kind => {
                    out.seen = next;
                    let known = ResourceType::from_number(kind).filter(|_| kind != GONE);
                    if known.is_some_and(wanted) {
                        match self.records.at(next)? {
                            Some(found) => out.take(self, found, wanted)?,
                            None => lock(&self.kinds).set(next, GONE),
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    /// Remembers that nothing stands at the places from `from` to before `to`.
    fn gone(&self, from: Seq, to: Seq) {
        let mut kinds = lock(&self.kinds);
        for place in from.0..to.0 {
            kinds.set(Seq(place), GONE);
        }
    }
}

impl Stretch {
    fn take(
        &mut self,
        vessel: &Vessel,
        found: crate::records::Row,
        wanted: &dyn Fn(ResourceType) -> bool,
    ) -> Result<(), Error> {
        let seq = found.seq;
        self.opened += 1;
        let Some(found) = vessel.unseal_head(found)? else { return Ok(()) };
        let ty = found.header.ty;
        lock(&vessel.kinds).set(seq, ty.number());
        if wanted(ty) {
            self.found.push((seq, found));
        }
        Ok(())
    }
}
