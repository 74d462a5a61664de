//! Taking versions in: turning a record's values into rows (see `rows`) and terms into
//! numbers, a batch in one transaction. One writer.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use phial_base::step::Step;
use phial_base::{DataClass, Seq};
use phial_fhir::ResourceType;
use phial_fhir::search::{Term, UCUM, primary_date_param, same_unit};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::dict::{FACET_CODES, Kind, Names, Tag, TwoGenerations, faceted, sayable};
use super::era::Eras;
use super::pack::is_moment;
use super::predicate::Version;
use super::rows::{Head, Rows};
use super::stored::{fetch_head, put_resource, put_term, resource_by_key, terms, write_body};
use super::values::{LONG, NO_DATE, ODD_DATE, SPAN_OTHER, SPANS, Unit, Val, res_key};
use super::{Index, Indexed, Shape, db, lock, relate, tally, unusable, young};
use crate::durable;
use crate::error::Error;
use crate::open::Growing;

/// Terms, and as many resources, whose numbers are remembered between batches.
const CACHED: usize = 100_000;

/// The number of the type Patient.
pub(super) fn patient_type() -> u8 {
    static N: OnceLock<u8> = OnceLock::new();
    *N.get_or_init(|| ResourceType::from_name("Patient").map_or(u8::MAX, ResourceType::number))
}

/// The number of the parameter whose value is a type's primary date.
pub(super) fn primary_date(ty: u8) -> Option<u16> {
    static TABLE: OnceLock<Vec<Option<u16>>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        ResourceType::all().map(|t| primary_date_param(t).map(|p| p.number())).collect()
    });
    table.get(usize::from(ty)).copied().flatten()
}

/// A value before its parameters are gathered: equal ones of one class share a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Post(Kind, i64),
    Own,
    Str(&'a str),
    Date(i64, i64),
    Num(u64, Option<Parts<'a>>),
    Later(&'a str),
    Range(u64, u64, Parts<'a>),
    /// The number of a resource, and from when until when a reference to it holds.
    Held(i64, i64, i64),
}

/// System, code and text of a unit.
type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

impl Value<'_> {
    fn kind(&self) -> Kind {
        match self {
            Value::Post(kind, _) => *kind,
            Value::Own => Kind::Ref,
            Value::Str(_) => Kind::Str,
            Value::Date(low, high) => {
                let long = high.checked_sub(*low).is_none_or(|s| s > LONG);
                if long { Kind::DateLong } else { Kind::Date }
            }
            Value::Num(..) => Kind::Num,
            Value::Later(_) => Kind::Later,
            Value::Range(..) => Kind::Range,
            Value::Held(..) => Kind::Held,
        }
    }
}

/// The values of one record.
struct Gathered {
    /// Those of the facet first, then the others in the order of their pcodes, composites
    /// last.
    vals: Vec<Val>,
    /// The pcode of the references to the record's only patient.
    own: Option<u32>,
    /// The number of the facet; 0 for none.
    facet: u32,
}

/// For each component of a composite the places of its values.
type Places = Box<[Box<[u16]>]>;

/// The writing side.
pub(super) struct Writer {
    pub(super) conn: Option<Connection>,
    pub(super) state: State,
    /// Left `gone` on disk; leaves it in memory at the next expiry, when no search that
    /// began before can still be running on the older snapshot.
    pub(super) dying: Vec<i64>,
    cache: Growing,
    cache_kib: u32,
}

pub(super) struct State {
    pub(super) names: Names,
    pub(super) names_changed: bool,
    next_res: i64,
    next_set: i64,
    res: TwoGenerations<Box<[u8]>, i64>,
    systems: TwoGenerations<Box<str>, i64>,
    terms: TwoGenerations<Box<[u8]>, i64>,
    next_term: TwoGenerations<i64, i64>,
    key: Vec<u8>,
    waiting: young::Waiting,
}

/// What a batch changed besides the file.
#[derive(Default)]
struct Changes {
    gone: Vec<(i64, i64)>,
    touched: HashSet<i64>,
    eras: Eras,
    totals: tally::Changes,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        names: Names,
        rows_wait: Option<u32>,
        cache: Growing,
    ) -> Result<Self, Error> {
        let most = rows_wait.map_or(young::WAITING, i64::from);
        let state = State::new(&conn, names, most)?;
        let cache_kib = cache.least_kib;
        Ok(Writer { conn: Some(conn), state, dying: Vec::new(), cache, cache_kib })
    }

    /// Lets the cache grow with the file, which has so many bytes.
    fn fit(&mut self, bytes: u64) -> Result<(), Error> {
        let conn = self.conn.as_ref().ok_or(Error::Unusable)?;
        self.cache.fit(conn, bytes, &mut self.cache_kib)
    }

    /// The connection; it is there until the index is dropped.
    pub(super) fn parts(&mut self) -> Result<(&mut Connection, &mut State), Error> {
        Ok((self.conn.as_mut().ok_or(Error::Unusable)?, &mut self.state))
    }
}

impl State {
    fn new(conn: &Connection, names: Names, most: i64) -> Result<Self, Error> {
        let next = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0));
        Ok(State {
            names,
            names_changed: false,
            next_res: next("SELECT coalesce(max(num), 0) + 1 FROM res")?,
            next_set: next("SELECT coalesce(max(num), 0) + 1 FROM pset")?,
            res: TwoGenerations::new(CACHED),
            systems: TwoGenerations::new(4096),
            terms: TwoGenerations::new(CACHED),
            next_term: TwoGenerations::new(4096),
            key: Vec::new(),
            waiting: young::Waiting::count(conn, most)?,
        })
    }

    /// Forgets what an undone transaction may have invented.
    pub(super) fn reset(&mut self, conn: &Connection) -> Result<(), Error> {
        *self = State::new(conn, Names::load(conn)?, self.waiting.most)?;
        Ok(())
    }

    /// The number of a resource, made at its first mention; and whether it is new.
    fn resource(&mut self, tx: &Connection, ty: u8, id: &str) -> Result<(i64, bool), Error> {
        res_key(ty, id, &mut self.key);
        if let Some(n) = self.res.find(self.key.as_slice()) {
            return Ok((n, false));
        }
        let found = resource_by_key(tx, &self.key)?;
        let num = match found {
            Some(n) => n,
            None => {
                let n = self.next_res;
                self.next_res += 1;
                put_resource(tx, n, &self.key)?;
                self.waiting.res_hash += 1;
                n
            }
        };
        self.res.keep(self.key.as_slice().into(), num);
        Ok((num, found.is_none()))
    }

    /// The number of a code system, made at its first mention; 0 for none.
    fn system(&mut self, tx: &Connection, uri: Option<&str>) -> Result<i64, Error> {
        let Some(uri) = uri else { return Ok(0) };
        if let Some(n) = self.systems.find(uri) {
            return Ok(n);
        }
        let found: Option<i64> = tx
            .prepare_cached("SELECT num FROM system WHERE uri=?1")?
            .query_row([uri], |r| r.get(0))
            .optional()?;
        let num = match found {
            Some(n) => n,
            None => {
                tx.prepare_cached("INSERT INTO system(uri) VALUES(?1)")?.execute([uri])?;
                tx.last_insert_rowid()
            }
        };
        self.systems.keep(uri.into(), num);
        Ok(num)
    }

    /// The number of a term: its system's number above, its own below, so that the
    /// terms of a system are a range.
    fn term(&mut self, tx: &Connection, system: Option<&str>, code: &str) -> Result<i64, Error> {
        let system = self.system(tx, system)?;
        self.key.clear();
        self.key.extend_from_slice(&system.to_le_bytes());
        self.key.extend_from_slice(code.as_bytes());
        if let Some(n) = self.terms.find(self.key.as_slice()) {
            return Ok(n);
        }
        let (low, high) = (system << 32, (system + 1) << 32);
        let found = terms(tx, Some(system), code)?.first().copied();
        let num = match found {
            Some(n) => n,
            None => {
                let next = match self.next_term.find(&system) {
                    Some(n) => n,
                    None => tx
                        .prepare_cached("SELECT max(num) FROM term WHERE num>=?1 AND num<?2")?
                        .query_row([low, high], |r| r.get::<_, Option<i64>>(0))?
                        .map_or(low, |n| n + 1),
                };
                self.next_term.keep(system, next + 1);
                put_term(tx, next, code)?;
                self.waiting.term_hash += 1;
                next
            }
        };
        self.terms.keep(self.key.as_slice().into(), num);
        Ok(num)
    }

    /// What stands in the patient column: 0 for none, a patient's number, or the
    /// negative number of a set of patients.
    fn patients(&mut self, tx: &Connection, rec: &Indexed) -> Result<(i64, Vec<i64>), Error> {
        let mut all = Vec::with_capacity(rec.patients.len());
        for p in &rec.patients {
            all.push(self.resource(tx, patient_type(), p.as_str())?.0);
        }
        all.sort_unstable();
        all.dedup();
        match all.as_slice() {
            [] => return Ok((0, all)),
            [one] => return Ok((*one, all)),
            [first, ..] => {
                // A set with the same members, if there is one.
                let mut s = tx.prepare_cached(
                    "SELECT p.num FROM pset p WHERE p.patient=?1 AND \
                     (SELECT count(*) FROM pset q WHERE q.num=p.num)=?2",
                )?;
                let sets: Vec<i64> = s
                    .query_map(params![first, i64::try_from(all.len()).unwrap_or(i64::MAX)], |r| {
                        r.get(0)
                    })?
                    .collect::<Result<_, _>>()?;
                for set in sets {
                    if members(tx, set)? == all {
                        return Ok((-set, all));
                    }
                }
            }
        }
        let set = self.next_set;
        self.next_set += 1;
        let mut s = tx.prepare_cached("INSERT INTO pset VALUES(?1, ?2)")?;
        for p in &all {
            s.execute([set, *p])?;
        }
        Ok((-set, all))
    }

    /// One value in the index's numbers; a reference's identifier is left to the caller.
    fn value<'t>(
        &mut self,
        tx: &Connection,
        term: &'t Term,
        patients: &[i64],
    ) -> Result<Option<Value<'t>>, Error> {
        Ok(Some(match term {
            Term::Token { system, code } => {
                let code = code.as_deref().unwrap_or("");
                Value::Post(Kind::Token, self.term(tx, system.as_deref(), code)?)
            }
            Term::Uri { uri } => Value::Post(Kind::Uri, self.term(tx, None, uri)?),
            Term::Str { text } => Value::Str(text),
            Term::Date { low, high } => Value::Date(*low, *high),
            Term::Number { value, .. } if value.is_finite() => Value::Num(value.to_bits(), None),
            Term::Quantity { value, system, code, unit, .. } if value.is_finite() => {
                if let (Some(UCUM), Some(code)) = (system.as_deref(), code.as_deref())
                    && same_unit(code)
                {
                    self.names.intern_unit(tx, code, &mut self.names_changed)?;
                }
                let unit = (system.as_deref(), code.as_deref(), unit.as_deref());
                Value::Num(value.to_bits(), Some(unit))
            }
            Term::Range { low, high, system, code, unit } => {
                let unit = (system.as_deref(), code.as_deref(), unit.as_deref());
                Value::Range(low.to_bits(), high.to_bits(), unit)
            }
            Term::Later { text } => Value::Later(text),
            // No JSON number is infinite.
            Term::Number { .. }
            | Term::Quantity { .. }
            | Term::Parts { .. }
            | Term::Inner { .. }
            | Term::Order { .. } => return Ok(None),
            Term::Held { target, id, low, high } => {
                let (num, _) = self.resource(tx, target.number(), id)?;
                Value::Held(num, *low, *high)
            }
            Term::Ref { target: Some(ty), id: Some(id), .. } => {
                let (num, _) = self.resource(tx, ty.number(), id)?;
                if patients == [num] { Value::Own } else { Value::Post(Kind::Ref, num) }
            }
            Term::Ref { url: Some(url), .. } => {
                Value::Post(Kind::RefUrl, self.term(tx, None, url)?)
            }
            Term::Ref { .. } => return Ok(None),
            Term::Said { text } => Value::Post(Kind::Said, self.term(tx, None, text)?),
            Term::Typed { system, code, value } => {
                Value::Post(Kind::Typed, self.term(tx, Some(system), &typed(code, value))?)
            }
        }))
    }

    /// One record's values, grouped: equal values of a class with all their parameters.
    fn values(
        &mut self,
        tx: &Connection,
        rec: &Indexed,
        patients: &[i64],
    ) -> Result<Gathered, Error> {
        let mut loose: Vec<(Value<'_>, DataClass, u16)> =
            Vec::with_capacity(rec.values.values.len());
        for (param, class, term) in &rec.values.values {
            let param = param.number();
            if let Some(v) = self.value(tx, term, patients)? {
                loose.push((v, *class, param));
            }
            if let Term::Ref { identifier: Some((system, code)), .. } = term {
                let term = self.term(tx, system.as_deref(), code)?;
                loose.push((Value::Post(Kind::RefIdent, term), *class, param));
            }
        }
        loose.sort_unstable();
        loose.dedup();
        let mut vals = Vec::with_capacity(loose.len());
        let mut key: Vec<u16> = Vec::new();
        for group in loose.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
            let Some((value, class, _)) = group.first() else { continue };
            let head = [u16::from(rec.ty.number()), value.kind() as u16, *class as u16];
            key.clear();
            key.extend_from_slice(&head);
            key.extend(group.iter().map(|g| g.2));
            if let Some(pcode) = self.names.intern_pcode(tx, &key, &mut self.names_changed)? {
                vals.push(val(value, pcode));
                continue;
            }
            for (_, _, param) in group {
                key.clear();
                key.extend_from_slice(&head);
                key.push(*param);
                if let Some(p) = self.names.intern_pcode(tx, &key, &mut self.names_changed)? {
                    vals.push(val(value, p));
                }
            }
        }
        // Before they are sorted: which pcode stands in the tag must not depend on one
        // file's numbers.
        let own = vals.iter().find_map(|v| match v {
            Val::Own { pcode } => Some(*pcode),
            _ => None,
        });
        vals.sort_by_key(Val::pcode);
        let facet = self.facet(tx, rec.ty.number(), &mut vals)?;
        self.parts(tx, rec, patients, &mut vals)?;
        self.order(tx, rec, &mut vals)?;
        self.inner(tx, rec, &mut vals)?;
        Ok(Gathered { vals, own, facet })
    }

    /// Puts the codes that many records share in front, and says which facet they are.
    fn facet(&mut self, tx: &Connection, ty: u8, vals: &mut [Val]) -> Result<u32, Error> {
        let names = &self.names;
        let is = |v: &Val, texts: bool| {
            matches!(v, Val::Post { .. })
                && names.pcode(v.pcode()).is_some_and(|p| faceted(p) || (texts && sayable(p)))
        };
        let codes = |texts: bool, vals: &[Val]| {
            let mut codes: Vec<(u32, i64)> = vals
                .iter()
                .filter(|v| is(v, texts))
                .filter_map(|v| match v {
                    Val::Post { pcode, term } => Some((*pcode, *term)),
                    _ => None,
                })
                .collect();
            codes.sort_unstable();
            codes
        };
        let with = codes(true, vals);
        let texts = with.len() <= FACET_CODES && names.takes_texts(ty, &with);
        let codes = if texts { with } else { codes(false, vals) };
        if codes.len() > FACET_CODES {
            return Ok(0);
        }
        let shared = |v: &Val| is(v, texts);
        vals.sort_by_key(|v| match v {
            Val::Post { pcode, term } if shared(v) => (false, *pcode, *term),
            _ => (true, v.pcode(), 0),
        });
        self.names.intern_facet(tx, ty, &codes, &mut self.names_changed)
    }

    /// Adds the composites: where their parts stand among the other values.
    fn parts(
        &mut self,
        tx: &Connection,
        rec: &Indexed,
        patients: &[i64],
        vals: &mut Vec<Val>,
    ) -> Result<(), Error> {
        let mut loose: Vec<(DataClass, Places, u16)> = Vec::new();
        for (param, class, term) in &rec.values.values {
            let Term::Parts { parts } = term else { continue };
            let mut places = Vec::with_capacity(parts.len());
            for (component, part) in param.components().iter().zip(parts) {
                let mut found = Vec::with_capacity(part.len());
                for (class, term) in part {
                    let Some(value) = self.value(tx, term, patients)? else { continue };
                    let wanted = |v: &Val| {
                        self.names.pcode(v.pcode()).is_some_and(|p| {
                            p.class == *class
                                && p.kind == value.kind()
                                && p.params.contains(&component.number())
                        }) && *v == val(&value, v.pcode())
                    };
                    let at = vals.iter().position(wanted).and_then(|at| u16::try_from(at).ok());
                    found.extend(at);
                }
                found.sort_unstable();
                found.dedup();
                places.push(found.into_boxed_slice());
            }
            loose.push((*class, places.into_boxed_slice(), param.number()));
        }
        loose.sort_unstable();
        loose.dedup();
        for group in loose.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
            let Some((class, places, _)) = group.first() else { continue };
            let all: Vec<u16> = group.iter().map(|g| g.2).collect();
            let sets = self.pcodes(tx, (rec.ty.number(), Kind::Parts, *class), &all)?;
            vals.extend(sets.into_iter().map(|pcode| Val::Parts { pcode, parts: places.clone() }));
        }
        Ok(())
    }

    /// Primary date column and span code.
    fn date(rec: &Indexed) -> (i64, u8) {
        let Some(primary) = primary_date(rec.ty.number()) else { return (NO_DATE, SPAN_OTHER) };
        let mut found: Option<(i64, i64)> = None;
        for (param, _, term) in &rec.values.values {
            if let Term::Date { low, high } = term
                && param.number() == primary
            {
                if found.is_some_and(|f| f != (*low, *high)) {
                    return (ODD_DATE, SPAN_OTHER);
                }
                found = Some((*low, *high));
            }
        }
        match found {
            None => (NO_DATE, SPAN_OTHER),
            Some((low, _)) if low <= ODD_DATE || !is_moment(low) => (ODD_DATE, SPAN_OTHER),
            Some((low, high)) => {
                let span = high.checked_sub(low).and_then(|s| SPANS.iter().position(|k| *k == s));
                (low, span.and_then(|s| u8::try_from(s).ok()).unwrap_or(SPAN_OTHER))
            }
        }
    }

    fn apply(&mut self, tx: &Connection, batch: &[&Indexed]) -> Result<Changes, Error> {
        let mut rows = Rows::default();
        let mut changes = Changes::default();
        let mut block = Vec::new();
        for rec in batch {
            self.take(tx, rec, &mut rows, &mut changes, &mut block)?;
        }
        let more = rows.insert(tx, &self.names)?;
        self.waiting.dat += more.dat;
        self.waiting.line += more.line;
        self.waiting.num += more.num;
        let (names, totals) = (&self.names, &mut changes.totals);
        young::settle(tx, &mut self.waiting, batch.len(), &mut |from, to| {
            totals.settle(tx, names, (from, to))
        })?;
        std::mem::take(&mut changes.totals).write(tx)?;
        changes.eras.write(tx)?;
        Ok(changes)
    }

    /// Settles some of what waits, while nothing is taken in.
    fn rest(&mut self, tx: &Connection) -> Result<(), Error> {
        let mut totals = tally::Changes::default();
        let names = &self.names;
        young::rest(tx, &mut self.waiting, &mut |from, to| totals.settle(tx, names, (from, to)))?;
        totals.write(tx)
    }

    fn take(
        &mut self,
        tx: &Connection,
        rec: &Indexed,
        rows: &mut Rows,
        changes: &mut Changes,
        block: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let ty = rec.ty.number();
        let seq = i64::try_from(rec.seq.0).map_err(|_| Error::Invalid("sequence"))?;
        if seq >= 1 << 40 {
            return Err(Error::Invalid("sequence"));
        }
        let (res, fresh) = self.resource(tx, ty, rec.id.as_str())?;
        let prev: i64 = if fresh {
            0
        } else {
            tx.prepare_cached("SELECT cur FROM res WHERE num=?1")?.query_row([res], |r| r.get(0))?
        };
        let (patient, patients) = self.patients(tx, rec)?;
        let supersede = |vid: i64| -> Result<(), Error> {
            tx.prepare_cached("INSERT OR IGNORE INTO gone VALUES(?1, ?2, ?3)")?
                .execute(params![vid, seq, rec.last_updated])?;
            Ok(())
        };
        if prev != 0 {
            supersede(db::vid(ty, prev))?;
            changes.gone.push((prev, seq));
            if let Some(v) = fetch_head(tx, db::vid(ty, prev))? {
                changes.totals.left(tx, &self.names, &v)?;
            }
            if relate::matters(rec.ty) {
                relate::touched_by_version(
                    tx,
                    &self.names,
                    db::vid(ty, prev),
                    &mut changes.touched,
                )?;
            }
        }
        tx.prepare_cached("UPDATE res SET cur=?2 WHERE num=?1")?.execute([res, seq])?;
        let (mut tag, mut date, mut vals) = (0, NO_DATE, Vec::new());
        if rec.deleted {
            // The marker is never found; it goes with the other superseded versions.
            supersede(db::vid(ty, seq))?;
            changes.gone.push((seq, seq));
        } else {
            let found = self.values(tx, rec, &patients)?;
            let (own, facet, span);
            (vals, own, facet) = (found.vals, found.own, found.facet);
            (date, span) = Self::date(rec);
            let shape =
                Shape { ty: rec.ty, labels: rec.labels, about_patient: !patients.is_empty() };
            let full = Tag { shape, span, own: own.unwrap_or(0), facet };
            tag = self.names.intern_tag(tx, full, &mut self.names_changed)?;
            changes.totals.came(tag);
            let facet = (facet, self.names.facet(tag).len());
            rows.add(&Head { ty, seq, tag, patient, date, facet }, &vals);
            if relate::matters(rec.ty) {
                relate::touched_by_values(&self.names, &vals, &mut changes.touched);
            }
        }
        let version = Version {
            ty,
            seq,
            res,
            ver: rec.version.0,
            tag,
            patient,
            date,
            updated: rec.last_updated,
            prev,
            row: rec.row.0,
            vals,
        };
        changes.eras.add(seq, rec.last_updated);
        write_body(&version, &self.names, block);
        tx.prepare_cached("INSERT INTO version VALUES(?1, ?2)")?
            .execute(params![db::vid(ty, seq), block.as_slice()])?;
        Ok(())
    }
}

fn val(value: &Value<'_>, pcode: u32) -> Val {
    let unit = |(system, code, unit): Parts<'_>| {
        Box::new(Unit {
            system: system.map(Into::into),
            code: code.map(Into::into),
            unit: unit.map(Into::into),
        })
    };
    match *value {
        Value::Later(text) => Val::Str { pcode, text: text.into() },
        Value::Range(low, high, of) => Val::Range {
            pcode,
            low: f64::from_bits(low),
            high: f64::from_bits(high),
            unit: Some(unit(of)),
        },
        Value::Post(_, term) => Val::Post { pcode, term },
        Value::Own => Val::Own { pcode },
        Value::Str(text) => Val::Str { pcode, text: text.into() },
        Value::Date(low, high) => Val::Date { pcode, low, high },
        Value::Held(who, low, high) => Val::Held { pcode, who, low, high },
        Value::Num(bits, of) => Val::Num { pcode, value: f64::from_bits(bits), unit: of.map(unit) },
    }
}

/// The term of an identifier's type and value. No code has the separator.
pub(super) fn typed(code: &str, value: &str) -> String {
    format!("{code}\u{1f}{value}")
}

/// The patients of a set, sorted.
pub(super) fn members(conn: &Connection, set: i64) -> Result<Vec<i64>, Error> {
    let mut s = conn.prepare_cached("SELECT patient FROM pset WHERE num=?1 ORDER BY patient")?;
    let rows = s.query_map([set], |r| r.get(0))?;
    rows.collect::<Result<_, _>>().map_err(Error::from)
}

impl Index {
    /// Takes in versions, in the order of the log. What was applied before is passed
    /// over, so that a batch may be repeated. On an error nothing of the batch is in.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the versions are not in the order of the log;
    /// [`Error::Unusable`] when the file is damaged.
    pub fn apply(&self, batch: &[Indexed]) -> Result<(), Error> {
        let Some(last) = batch.last() else { return Ok(()) };
        self.take(batch, last.seq)
    }

    /// Says that the log up to `to` has nothing more for this index: rows whose keys
    /// are destroyed are passed over by the caller.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn advance(&self, to: Seq) -> Result<(), Error> {
        self.take(&[], to)
    }

    /// Puts some of the rows that wait into their places: for when nothing is taken in.
    /// Says whether there are more of them than are worth waiting. Searches find the same
    /// before and after, and sooner.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn rest(&self) -> Result<bool, Error> {
        let mut writer = lock(&self.writer);
        let (conn, state) = writer.parts()?;
        if !state.waiting.is_restless() {
            return Ok(false);
        }
        let done = (|| {
            let tx: Transaction<'_> =
                conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            state.rest(&tx)?;
            durable::commit(Step::IndexApply, tx)
        })();
        if let Err(e) = done {
            // The commit may have been saved though it failed: the file says.
            state.reset(conn).map_err(unusable)?;
            return Err(unusable(e));
        }
        Ok(state.waiting.is_restless())
    }

    fn take(&self, batch: &[Indexed], to: Seq) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        let applied = self.applied();
        if to <= applied {
            return Ok(());
        }
        if !batch.is_sorted_by(|a, b| a.seq < b.seq) {
            return Err(Error::Invalid("versions out of the log's order"));
        }
        let batch: Vec<&Indexed> = batch.iter().filter(|r| r.seq > applied).collect();
        let to_number = i64::try_from(to.0).map_err(|_| Error::Invalid("sequence"))?;
        let (conn, state) = writer.parts()?;
        let done = (|| {
            let tx: Transaction<'_> =
                conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changes = state.apply(&tx, &batch)?;
            db::put_applied(&tx, to_number)?;
            durable::commit(Step::IndexApply, tx)?;
            Ok(changes)
        })();
        let changes = match done {
            Ok(changes) => changes,
            Err(e) => {
                // The commit may have been saved though it failed: the file says.
                state.reset(conn).map_err(unusable)?;
                let now = db::applied(conn)?;
                let gone = db::load_gone(conn).map_err(unusable)?;
                *self.names.write().unwrap_or_else(PoisonError::into_inner) =
                    Arc::new(state.names.clone());
                *self.gone.write().unwrap_or_else(PoisonError::into_inner) = gone;
                lock(&self.viewers).invalidate(None);
                self.applied.store(now, Ordering::Release);
                return Err(unusable(e));
            }
        };
        // Dictionary, then history, then relationships: whoever sees the new position
        // sees them all.
        if std::mem::take(&mut state.names_changed) {
            let names = Arc::new(state.names.clone());
            *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        }
        if !changes.gone.is_empty() {
            let mut gone = self.gone.write().unwrap_or_else(PoisonError::into_inner);
            for (seq, until) in changes.gone {
                gone.entry(seq).or_insert(until);
            }
        }
        if !changes.touched.is_empty() {
            lock(&self.viewers).invalidate(Some(&changes.touched));
        }
        self.applied.store(to.0, Ordering::Release);
        // Smaller caches are slower, and nothing worse.
        if let Ok(file) = std::fs::metadata(&self.path) {
            self.readers.fit(file.len());
            let _ = writer.fit(file.len());
        }
        Ok(())
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.readers.close();
        let mut writer = lock(&self.writer);
        if let Some(conn) = writer.conn.take() {
            // Failing leaves the file marked as open: the next boot rebuilds it.
            drop(db::close_clean(&conn));
        }
    }
}
