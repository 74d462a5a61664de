//! The record log read backwards, for histories of a type and of the system. Which type a
//! version is of stands inside its sealed head; what was opened once is remembered here,
//! a byte for a version, so that later walks pass over other types without reading them.
//! The memory is lost with the process and filled by whoever asks.

use phial_base::Seq;
use phial_fhir::definitions::ResourceType;

use super::{Unopened, Vessel, lock};
use crate::error::Error;

/// Not known yet.
pub(super) const UNKNOWN: u8 = u8::MAX;
/// There is no version at this place any more.
pub(super) const GONE: u8 = u8::MAX - 1;

/// The types of versions by their place in the log.
#[derive(Default)]
pub(super) struct Kinds(Vec<u8>);

impl Kinds {
    pub(super) fn of(&self, seq: Seq) -> u8 {
        let at = usize::try_from(seq.0).unwrap_or(usize::MAX);
        self.0.get(at).copied().unwrap_or(UNKNOWN)
    }

    pub(super) fn set(&mut self, seq: Seq, kind: u8) {
        let Ok(at) = usize::try_from(seq.0) else { return };
        if at >= self.0.len() {
            self.0.resize(at + 1, UNKNOWN);
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = kind;
        }
    }
}

/// A step backwards in the log.
pub enum Back {
    /// The next version, and its place.
    Found(Seq, Box<Unopened>),
    /// There is no more.
    End,
    /// So much was opened that the caller should pause: go on below this place.
    Paused(Seq),
}

impl Vessel {
    /// The last version below a place of the log whose type is wanted. Each version that
    /// has to be opened to know it costs one of `budget`.
    ///
    /// # Errors
    /// [`Error`] when a store fails or a row is damaged.
    pub fn back(
        &self,
        below: Seq,
        wanted: &mut dyn FnMut(ResourceType) -> bool,
        budget: &mut usize,
    ) -> Result<Back, Error> {
        let mut at = below.0;
        while at > 1 {
            at -= 1;
            let seq = Seq(at);
            let kind = lock(&self.kinds).of(seq);
            let passed = match kind {
                UNKNOWN => false,
                GONE => true,
                n => ResourceType::from_number(n).is_some_and(|ty| !wanted(ty)),
            };
            if passed {
                continue;
            }
            let Some(left) = budget.checked_sub(1) else { return Ok(Back::Paused(Seq(at + 1))) };
            *budget = left;
            let Some(row) = self.records.at(seq)? else {
                lock(&self.kinds).set(seq, GONE);
                continue;
            };
            // The key of one that can't be opened may be destroyed: it looks absent.
            let Some(found) = self.unseal_head(row)? else { continue };
            let ty = found.header.ty;
            lock(&self.kinds).set(seq, ty.number());
            if wanted(ty) {
                return Ok(Back::Found(seq, Box::new(found)));
            }
        }
        Ok(Back::End)
    }
}
