//! The current content in a form that does not depend on the numbers that one file
//! happens to use, so that an index can be compared with its rebuild. Digests only:
//! values stay inside.

use phial_fhir::ResourceType;
use rusqlite::Connection;

use super::dict::{Kind, Names};
use super::list::{self, ABOUT, Which, facet_term};
use super::stored::{read_body, res_text, term_text};
use super::values::Val;
use super::write::members;
use super::{Index, amount, db, inner, span, tally, text, timeline, unusable};
use crate::error::Error;

struct Dumper<'a> {
    index: &'a Index,
    conn: &'a Connection,
    names: &'a Names,
    at: i64,
}

impl Dumper<'_> {
    fn res(&self, num: i64) -> Result<String, Error> {
        let (ty, id) = res_text(self.conn, num)?;
        Ok(format!("{}/{id}", ResourceType::from_number(ty).map_or("", ResourceType::name)))
    }

    fn patient(&self, column: i64) -> Result<String, Error> {
        Ok(match column {
            0 => String::new(),
            n if n > 0 => self.res(n)?,
            n => {
                let mut all = Vec::new();
                for p in members(self.conn, -n)? {
                    all.push(self.res(p)?);
                }
                all.sort();
                all.join("+")
            }
        })
    }

    fn pcode(&self, pcode: u32) -> Result<String, Error> {
        let p = self.names.pcode(pcode).ok_or(Error::Unusable)?;
        Ok(format!("{}.{:?}.{}{:?}", p.ty, p.kind, p.class as u8, p.params))
    }

    fn tag(&self, tag: u32) -> Result<String, Error> {
        let t = self.names.tag(tag).ok_or(Error::Unusable)?;
        let own = if t.own == 0 { String::new() } else { self.pcode(t.own)? };
        Ok(format!("{:?} {} {own}", t.shape, t.span))
    }

    fn term(&self, kind: Kind, term: i64) -> Result<String, Error> {
        if kind == Kind::Ref {
            return self.res(term);
        }
        if kind == Kind::Inner {
            // The number of a type.
            return Ok(term.to_string());
        }
        let code = term_text(self.conn, term)?;
        let system: String = match term >> 32 {
            0 => String::new(),
            s => self
                .conn
                .prepare_cached("SELECT uri FROM system WHERE num=?1")?
                .query_row([s], |r| r.get(0))?,
        };
        Ok(format!("{system}|{code}"))
    }

    fn val(&self, val: &Val) -> Result<String, Error> {
        Ok(match val {
            Val::Post { pcode, term } => {
                let kind = self.names.pcode(*pcode).ok_or(Error::Unusable)?.kind;
                format!("{}={}", self.pcode(*pcode)?, self.term(kind, *term)?)
            }
            other => {
                let text = format!("{other:?}");
                let value = text.split_once(',').map_or("", |(_, rest)| rest);
                format!("{}={value}", self.pcode(other.pcode())?)
            }
        })
    }

    fn versions(&self) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        let mut s = self.conn.prepare("SELECT vid, body FROM version")?;
        let mut rows = s.query([])?;
        while let Some(r) = rows.next()? {
            let vid: i64 = r.get(0)?;
            let seq = db::seq_of(vid);
            if !self.index.live(seq, self.at) {
                continue;
            }
            let body = r.get_ref(1)?.as_blob().map_err(|_| Error::Unusable)?;
            let v = read_body(vid, body, self.names)?;
            let cur: i64 = self
                .conn
                .prepare_cached("SELECT cur FROM res WHERE num=?1")?
                .query_row([v.res], |r| r.get(0))?;
            let mut vals = Vec::new();
            for val in &v.vals {
                vals.push(match val {
                    Val::Parts { pcode, parts } => {
                        // Where the parts stand is this file's own: say what they are.
                        let mut told = Vec::new();
                        for part in parts {
                            let mut some = Vec::new();
                            for at in part {
                                let val = v.vals.get(usize::from(*at)).ok_or(Error::Unusable)?;
                                some.push(self.val(val)?);
                            }
                            some.sort();
                            told.push(some.join(" or "));
                        }
                        format!("{}={told:?}", self.pcode(*pcode)?)
                    }
                    Val::Held { pcode, who, low, high } => {
                        format!("{}={} {low} {high}", self.pcode(*pcode)?, self.res(*who)?)
                    }
                    Val::Inner { pcode, ty, values } => {
                        // A term shows its kind only; its bytes say all of it.
                        let mut bytes = Vec::new();
                        inner::put(values, &mut bytes);
                        let digest = hex::encode(phial_crypto::sha256(&bytes));
                        format!("{}={ty} {digest}", self.pcode(*pcode)?)
                    }
                    Val::Order { pcode, at } => {
                        let mut told = Vec::with_capacity(at.len());
                        for at in at {
                            told.push(match usize::from(*at).checked_sub(1) {
                                None => "/",
                                Some(at) => match v.vals.get(at) {
                                    Some(Val::Str { text, .. }) => &**text,
                                    _ => return Err(Error::Unusable),
                                },
                            });
                        }
                        format!("{}={}", self.pcode(*pcode)?, told.join(" "))
                    }
                    other => self.val(other)?,
                });
            }
            vals.sort();
            out.push(format!(
                "{seq} {} v{} {} [{}] {} {} {} current={} {vals:?}",
                self.res(v.res)?,
                v.ver,
                self.tag(v.tag)?,
                self.patient(v.patient)?,
                v.date,
                v.updated,
                hex::encode(v.row),
                cur == seq,
            ));
        }
        Ok(out)
    }

    /// Everything about patients; then who has which term, be it told by a facet.
    fn lists(&self) -> Result<(Vec<String>, Vec<String>), Error> {
        let (mut about, mut posts) = (Vec::new(), Vec::new());
        list::scan(self.conn, Which::All, &mut |list, e| {
            if !self.index.live(e.seq, self.at) {
                return Ok(true);
            }
            let end = format!("{} {} {}", self.patient(list.patient)?, e.date, self.tag(e.tag)?);
            if list.facet().is_some() {
                let tag = self.names.tag(e.tag).ok_or(Error::Unusable)?;
                if list.term != facet_term(tag.shape.ty.number(), tag.facet) {
                    return Err(Error::Unusable);
                }
                for (pcode, term) in self.names.facet(e.tag) {
                    let (pcode, term) = (self.pcode(*pcode)?, self.term(Kind::Token, *term)?);
                    posts.push(format!("{} {pcode} {term} {end}", e.seq));
                }
            } else if list.pcode == ABOUT {
                about.push(format!("{} {} {end}", e.seq, list.term));
            } else {
                let kind = self.names.pcode(list.pcode).ok_or(Error::Unusable)?.kind;
                let (pcode, term) = (self.pcode(list.pcode)?, self.term(kind, list.term)?);
                posts.push(format!("{} {pcode} {term} {end}", e.seq));
            }
            Ok(true)
        })?;
        Ok((about, posts))
    }

    /// Who has which facet when; told by the tag, so that the facet's number is left out.
    fn timelines(&self) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        timeline::all(self.conn, &mut |m| {
            if self.index.live(m.seq, self.at) {
                if self.names.tag(m.tag).is_none_or(|t| t.facet != m.facet) {
                    return Err(Error::Unusable);
                }
                let patient = self.patient(m.patient)?;
                out.push(format!("{} {} {patient} {}", m.seq, m.date, self.tag(m.tag)?));
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn dates(&self) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        span::all(self.conn, &mut |r| {
            if self.index.live(r.seq, self.at) {
                out.push(format!(
                    "{} {} {} {} {} {}",
                    r.seq,
                    self.pcode(r.pcode)?,
                    r.low,
                    r.high,
                    self.patient(r.patient)?,
                    self.tag(r.tag)?
                ));
            }
            Ok(())
        })?;
        Ok(out)
    }
}

impl Index {
    /// The current content, a line for each table: its name, the number of live rows and
    /// the SHA-256 of their sorted, number-free text. Equal for two indexes that applied
    /// the same log, whatever was expired in either.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged, or its tables contradict one another.
    pub fn dump(&self) -> Result<Vec<String>, Error> {
        self.dump_inner().map_err(unusable)
    }

    fn dump_inner(&self) -> Result<Vec<String>, Error> {
        let at = i64::try_from(self.applied().0).map_err(|_| Error::Invalid("sequence"))?;
        let conn = self.readers.reader()?;
        let names = self.names();
        let d = Dumper { index: self, conn: &conn, names: &names, at };
        if !tally::is_right(&conn, &names)? {
            return Err(Error::Unusable);
        }
        let mut tables = Vec::new();
        let mut put = |table: &'static str, mut lines: Vec<String>| {
            lines.sort();
            let digest = phial_crypto::sha256(lines.join("\n").as_bytes());
            tables.push(format!("{table} {} {}", lines.len(), hex::encode(digest)));
        };
        put("version", d.versions()?);
        let (about, posts) = d.lists()?;
        put("about", about);
        put("post", posts);
        let mut texts = Vec::new();
        text::all(&conn, &mut |seq, pcode, text| {
            if self.live(seq, at) {
                texts.push(format!("{seq} {} {text}", d.pcode(pcode)?));
            }
            Ok(())
        })?;
        put("str", texts);
        put("dat", d.dates()?);
        put("line", d.timelines()?);
        let mut numbers = Vec::new();
        amount::all(&conn, &mut |a| {
            if self.live(a.seq, at) {
                numbers.push(format!("{} {} {}", a.seq, d.pcode(a.pcode)?, a.value.to_bits()));
            }
            Ok(())
        })?;
        put("num", numbers);
        Ok(tables)
    }
}
