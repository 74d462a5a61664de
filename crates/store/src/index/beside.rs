//! What stands beside a version's values in its block: in which order words come, and what
//! references lead to within the record.

use std::collections::HashMap;

use phial_base::DataClass;
use phial_fhir::search::Term;
use rusqlite::Connection;

use super::Indexed;
use super::dict::Kind;
use super::values::Val;
use super::write::State;
use crate::error::Error;

impl State {
    /// Adds the order of words: where each stands among the other values.
    pub(super) fn order(
        &mut self,
        tx: &Connection,
        rec: &Indexed,
        vals: &mut Vec<Val>,
    ) -> Result<(), Error> {
        let mut loose: Vec<(DataClass, Box<[u16]>, u16)> = Vec::new();
        for (param, class, term) in &rec.values.values {
            let Term::Order { words } = term else { continue };
            let mut places: HashMap<&str, u16> = HashMap::new();
            for (at, val) in vals.iter().enumerate() {
                if let Val::Str { pcode, text } = val
                    && self.names.has_param(*pcode, param.number())
                    && let Ok(at) = u16::try_from(at + 1)
                {
                    places.insert(text, at);
                }
            }
            let mut at = Vec::new();
            for (n, text) in words.split('\n').enumerate() {
                if n > 0 {
                    at.push(0);
                }
                // A word beyond all places is as good as a text's end.
                at.extend(text.split(' ').map(|word| places.get(word).copied().unwrap_or(0)));
            }
            loose.push((*class, at.into_boxed_slice(), param.number()));
        }
        loose.sort_unstable();
        for group in loose.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
            let Some((class, at, _)) = group.first() else { continue };
            let params: Vec<u16> = group.iter().map(|g| g.2).collect();
            for pcode in self.pcodes(tx, (rec.ty.number(), Kind::Order, *class), &params)? {
                vals.push(Val::Order { pcode, at: at.clone() });
            }
        }
        Ok(())
    }

    /// Adds what references lead to within the record.
    pub(super) fn inner(
        &mut self,
        tx: &Connection,
        rec: &Indexed,
        vals: &mut Vec<Val>,
    ) -> Result<(), Error> {
        for (param, class, term) in &rec.values.values {
            let Term::Inner { ty, values } = term else { continue };
            let of = (rec.ty.number(), Kind::Inner, *class);
            for pcode in self.pcodes(tx, of, &[param.number()])? {
                vals.push(Val::Inner { pcode, ty: ty.number(), values: values.clone() });
            }
        }
        Ok(())
    }

    /// The pcode of all these parameters, or one for each when there is no more room.
    pub(super) fn pcodes(
        &mut self,
        tx: &Connection,
        (ty, kind, class): (u8, Kind, DataClass),
        params: &[u16],
    ) -> Result<Vec<u32>, Error> {
        let head = [u16::from(ty), kind as u16, class as u16];
        let whole = [&head[..], params].concat();
        if let Some(pcode) = self.names.intern_pcode(tx, &whole, &mut self.names_changed)? {
            return Ok(vec![pcode]);
        }
        let mut each = Vec::new();
        for param in params {
            let key = [&head[..], &[*param]].concat();
            each.extend(self.names.intern_pcode(tx, &key, &mut self.names_changed)?);
        }
        Ok(each)
    }
}
