//! The rows of a set of versions in every table but `version`, put in or taken out table
//! by table, each in the table's own order.

use std::collections::{BTreeMap, BTreeSet};

use phial_fhir::search::fold;
use rusqlite::{Connection, params};

use super::amount::Amount;
use super::dict::Names;
use super::list::{self, Entry, List};
use super::span::Dated;
use super::text;
use super::timeline::Moment;
use super::values::Val;
use super::write::primary_date;
use super::young::Waiting;
use crate::error::Error;

/// Rows of a set of versions, to insert or to delete.
#[derive(Default)]
pub(super) struct Rows {
    lists: Vec<(List, Entry)>,
    text: Vec<(u32, String, i64)>,
    date: Vec<Dated>,
    line: Vec<Moment>,
    num: Vec<Amount>,
}

/// What the rows of a version share.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub ty: u8,
    pub seq: i64,
    pub tag: u32,
    pub patient: i64,
    pub date: i64,
    /// The version's facet, and how many of its first values that is.
    pub facet: (u32, usize),
}

impl Rows {
    /// Adds the rows of one version. A record about a set of patients is in the lists of
    /// the set, which is how a patient's sets are searched.
    pub(super) fn add(&mut self, h: &Head, vals: &[Val]) {
        let entry = Entry { date: h.date, seq: h.seq, tag: h.tag };
        if h.patient != 0 {
            self.lists.push((List::about(h.patient, h.ty), entry));
        }
        let (facet, shared) = h.facet;
        if shared > 0 {
            self.lists.push((List::of_facet(h.patient, h.ty, facet), entry));
            if primary_date(h.ty).is_some() {
                let (date, seq, patient, tag) = (h.date, h.seq, h.patient, h.tag);
                self.line.push(Moment { facet, date, seq, patient, tag });
            }
        }
        for v in vals.iter().skip(shared) {
            match v {
                Val::Post { pcode, term } => {
                    let list = List { pcode: *pcode, term: *term, patient: h.patient };
                    self.lists.push((list, entry));
                }
                Val::Own { .. } | Val::Parts { .. } | Val::Held { .. } | Val::Order { .. } => {}
                Val::Inner { pcode, ty, .. } => {
                    let term = i64::from(*ty);
                    let list = List { pcode: *pcode, term, patient: h.patient };
                    self.lists.push((list, entry));
                }
                Val::Str { pcode, text } => {
                    self.text.push((*pcode, text::stored(&fold(text)).to_owned(), h.seq));
                }
                Val::Date { pcode, low, high } => {
                    self.date.push(Dated {
                        pcode: *pcode,
                        low: *low,
                        seq: h.seq,
                        high: *high,
                        patient: h.patient,
                        tag: h.tag,
                    });
                }
                Val::Range { pcode, low, high, .. } => {
                    let value = if low.is_finite() { *low } else { *high };
                    self.num.push(Amount { pcode: *pcode, value, seq: h.seq });
                }
                Val::Num { pcode, value, .. } => {
                    self.num.push(Amount { pcode: *pcode, value: *value, seq: h.seq });
                }
            }
        }
    }

    fn sort(&mut self) {
        self.lists.sort_unstable();
        self.lists.dedup();
        self.text.sort_unstable();
        self.text.dedup();
        self.date.sort_unstable();
        self.date.dedup();
        self.line.sort_unstable();
    }

    /// Hands every list with its entries to `to`.
    fn each_list(
        &self,
        tx: &Connection,
        to: impl Fn(&Connection, &List, &[Entry]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut entries = Vec::new();
        for group in self.lists.chunk_by(|a, b| a.0 == b.0) {
            let Some((list, _)) = group.first() else { continue };
            entries.clear();
            entries.extend(group.iter().map(|(_, e)| *e));
            to(tx, list, &entries)?;
        }
        Ok(())
    }

    /// Hands every text with its versions to `to`.
    fn each_text(
        &self,
        tx: &Connection,
        to: impl Fn(&Connection, u32, &str, &[i64]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut seqs = Vec::new();
        for group in self.text.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
            let Some((pcode, text, _)) = group.first() else { continue };
            seqs.clear();
            seqs.extend(group.iter().map(|g| g.2));
            to(tx, *pcode, text, &seqs)?;
        }
        Ok(())
    }

    /// Tells each facet how many versions it has got, or lost (`sign` -1).
    fn count(&self, tx: &Connection, names: &Names, sign: i64) -> Result<(), Error> {
        let mut more: BTreeMap<u32, i64> = BTreeMap::new();
        for facet in self.lists.iter().filter_map(|(list, _)| list.facet()) {
            *more.entry(facet).or_default() += sign;
        }
        let mut s = tx.prepare_cached("UPDATE facet SET versions=versions+?2 WHERE num=?1")?;
        for (facet, more) in more {
            s.execute(params![facet, more])?;
            names.counted(facet, more);
        }
        Ok(())
    }

    /// The rows of numbers, in their order.
    fn numbers(&self) -> BTreeSet<Vec<u8>> {
        self.num.iter().map(Amount::key).collect()
    }

    /// Says how many rows wait for their place.
    pub(super) fn insert(mut self, tx: &Connection, names: &Names) -> Result<Waiting, Error> {
        self.sort();
        self.count(tx, names, 1)?;
        self.each_list(tx, list::insert)?;
        self.each_text(tx, text::insert)?;
        let mut s = tx.prepare_cached("INSERT INTO dat_young VALUES(?1)")?;
        for d in &self.date {
            s.execute([d.key()])?;
        }
        let mut s = tx.prepare_cached("INSERT INTO line_young VALUES(?1)")?;
        for m in &self.line {
            s.execute([m.key()])?;
        }
        let mut s = tx.prepare_cached("INSERT INTO num_young VALUES(?1)")?;
        let numbers = self.numbers();
        for key in &numbers {
            s.execute([key])?;
        }
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(Waiting {
            dat: number(self.date.len()),
            line: number(self.line.len()),
            num: number(numbers.len()),
            ..Waiting::default()
        })
    }

    pub(super) fn delete(mut self, tx: &Connection, names: &Names) -> Result<(), Error> {
        self.sort();
        self.count(tx, names, -1)?;
        self.each_list(tx, list::remove)?;
        self.each_text(tx, text::remove)?;
        let keys = self.date.iter().map(Dated::key);
        take(tx, ["DELETE FROM dat_young WHERE k=?1", "DELETE FROM dat WHERE k=?1"], keys)?;
        let keys = self.line.iter().map(Moment::key);
        take(tx, ["DELETE FROM line_young WHERE k=?1", "DELETE FROM line WHERE k=?1"], keys)?;
        let keys = self.numbers().into_iter();
        take(tx, ["DELETE FROM num_young WHERE k=?1", "DELETE FROM num WHERE k=?1"], keys)
    }
}

/// Deletes keys where they wait, else where they have settled.
fn take(
    tx: &Connection,
    [young, old]: [&'static str; 2],
    keys: impl Iterator<Item = Vec<u8>>,
) -> Result<(), Error> {
    let (mut young, mut old) = (tx.prepare_cached(young)?, tx.prepare_cached(old)?);
    for key in keys {
        if young.execute([&key])? == 0 {
            old.execute([&key])?;
        }
    }
    Ok(())
}
