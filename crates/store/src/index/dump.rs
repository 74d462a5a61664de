//! The current content in a form that does not depend on the numbers that one file
//! happens to use, so that an index can be compared with its rebuild. Digests only:
//! values stay inside.

use phial_fhir::ResourceType;
use rusqlite::Connection;

use super::dict::{Kind, Names};
use super::stored::{fetch, res_text};
use super::write::members;
use super::{Index, db, unusable};
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
        let code: String = self
            .conn
            .prepare_cached("SELECT code FROM term WHERE num=?1")?
            .query_row([term], |r| r.get(0))?;
        let system: String = match term >> 32 {
            0 => String::new(),
            s => self
                .conn
                .prepare_cached("SELECT uri FROM system WHERE num=?1")?
                .query_row([s], |r| r.get(0))?,
        };
        Ok(format!("{system}|{code}"))
    }

    fn versions(&self) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        let mut s =
            self.conn.prepare("SELECT vid, cur FROM version v JOIN res r ON r.num=v.res")?;
        let mut rows = s.query([])?;
        while let Some(r) = rows.next()? {
            let vid: i64 = r.get(0)?;
            let seq = db::seq_of(vid);
            if !self.index.live(seq, self.at) {
                continue;
            }
            let v = fetch(self.conn, vid)?.ok_or(Error::Unusable)?;
            let mut vals = Vec::new();
            for val in &v.vals {
                vals.push(match val {
                    super::values::Val::Post { pcode, term } => {
                        let kind = self.names.pcode(*pcode).ok_or(Error::Unusable)?.kind;
                        format!("{}={}", self.pcode(*pcode)?, self.term(kind, *term)?)
                    }
                    other => {
                        let text = format!("{other:?}");
                        let value = text.split_once(',').map_or("", |(_, rest)| rest);
                        format!("{}={value}", self.pcode(other.pcode())?)
                    }
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
                r.get::<_, i64>(1)? == seq,
            ));
        }
        Ok(out)
    }

    fn rows(
        &self,
        sql: &str,
        line: &dyn Fn(&rusqlite::Row<'_>) -> Result<String, Error>,
    ) -> Result<Vec<String>, Error> {
        let mut out = Vec::new();
        let mut s = self.conn.prepare(sql)?;
        let mut rows = s.query([])?;
        while let Some(r) = rows.next()? {
            if self.index.live(r.get(0)?, self.at) {
                out.push(line(r)?);
            }
        }
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
        let mut tables = Vec::new();
        let mut put = |table: &'static str, mut lines: Vec<String>| {
            lines.sort();
            let digest = phial_crypto::sha256(lines.join("\n").as_bytes());
            tables.push(format!("{table} {} {}", lines.len(), hex::encode(digest)));
        };
        put("version", d.versions()?);
        put(
            "member",
            d.rows("SELECT seq, patient, ty, date, tag FROM member", &|r| {
                Ok(format!(
                    "{} {} {} {} {}",
                    r.get::<_, i64>(0)?,
                    d.patient(r.get(1)?)?,
                    r.get::<_, u8>(2)?,
                    r.get::<_, i64>(3)?,
                    d.tag(r.get(4)?)?
                ))
            })?,
        );
        put(
            "post",
            d.rows("SELECT seq, pcode, term, patient, date, tag FROM post", &|r| {
                let pcode = r.get(1)?;
                let kind = names.pcode(pcode).ok_or(Error::Unusable)?.kind;
                Ok(format!(
                    "{} {} {} {} {} {}",
                    r.get::<_, i64>(0)?,
                    d.pcode(pcode)?,
                    d.term(kind, r.get(2)?)?,
                    d.patient(r.get(3)?)?,
                    r.get::<_, i64>(4)?,
                    d.tag(r.get(5)?)?
                ))
            })?,
        );
        put(
            "str",
            d.rows("SELECT seq, pcode, text FROM str", &|r| {
                let text: String = r.get(2)?;
                Ok(format!("{} {} {text}", r.get::<_, i64>(0)?, d.pcode(r.get(1)?)?))
            })?,
        );
        put(
            "dat",
            d.rows("SELECT seq, pcode, low, high, patient, tag FROM dat", &|r| {
                Ok(format!(
                    "{} {} {} {} {} {}",
                    r.get::<_, i64>(0)?,
                    d.pcode(r.get(1)?)?,
                    r.get::<_, i64>(2)?,
                    r.get::<_, i64>(3)?,
                    d.patient(r.get(4)?)?,
                    d.tag(r.get(5)?)?
                ))
            })?,
        );
        put(
            "num",
            d.rows("SELECT seq, pcode, value FROM num", &|r| {
                Ok(format!(
                    "{} {} {}",
                    r.get::<_, i64>(0)?,
                    d.pcode(r.get(1)?)?,
                    r.get::<_, f64>(2)?.to_bits()
                ))
            })?,
        );
        Ok(tables)
    }
}
