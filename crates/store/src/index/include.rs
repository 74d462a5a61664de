//! What goes with the hits of a search: the records that they refer to, and the records
//! that refer to them. A reference counts only when the viewer sees its class in the
//! record that has it, and a record only when the viewer sees that; else neither is there.

use std::collections::{BTreeMap, HashSet};

use phial_base::{RowId, Seq, Version as RecordVersion};
use phial_fhir::ResourceType;
use phial_fhir::search::Include;

use super::dict::{Kind, Names};
use super::list::{self, Entry, List, Which};
use super::order::{Rank, SortKeyValue};
use super::predicate::Version;
use super::search::Run;
use super::stored::{fetch, fetch_head};
use super::values::Val;
use super::{Access, Hit, Index, Viewer, db, unusable};
use crate::error::Error;

fn hit(v: &Version, ty: ResourceType) -> Hit {
    Hit {
        row: RowId(v.row),
        version: RecordVersion(v.ver),
        ty,
        seq: Seq(v.seq.cast_unsigned()),
        key: SortKeyValue(Rank::new(Vec::new(), v.seq, false)),
    }
}

/// The types that refer by an include, each with the pcodes of its references.
fn by_source(names: &Names, include: &Include) -> BTreeMap<ResourceType, Vec<u32>> {
    let mut out: BTreeMap<ResourceType, Vec<u32>> = BTreeMap::new();
    for (num, p) in names.all() {
        if p.kind == Kind::Ref
            && let Some(ty) = ResourceType::from_number(p.ty)
            && include.source.is_none_or(|s| s == ty)
            && include.param.is_none_or(|by| p.params.contains(&by.number()))
        {
            out.entry(ty).or_default().push(num);
        }
    }
    out
}

impl Index {
    /// The records that the hits refer to by the given parameters, as far as the viewer
    /// sees both the reference and the record; each once, none that is a hit.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn includes(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
    ) -> Result<Vec<Hit>, Error> {
        self.includes_inner(include, hits, viewer, access, at).map_err(unusable)
    }

    fn includes_inner(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
    ) -> Result<Vec<Hit>, Error> {
        if include.is_empty() || hits.is_empty() {
            return Ok(Vec::new());
        }
        let at = i64::try_from(at.0).map_err(|_| Error::Invalid("sequence"))?;
        let related = self.related(viewer)?;
        let conn = self.readers.reader()?;
        let run = Run::new(self, &conn, related, access, at);
        let mut seen: HashSet<RowId> = hits.iter().map(|h| h.row).collect();
        let mut out = Vec::new();
        for hit in hits {
            let asked: Vec<&Include> =
                include.iter().filter(|i| i.source.is_none_or(|s| s == hit.ty)).collect();
            if asked.is_empty() {
                continue;
            }
            let seq = hit.seq.0.cast_signed();
            let Some(v) = fetch(&conn, &run.names, db::vid(hit.ty.number(), seq))? else {
                continue;
            };
            let mask = run.mask(v.tag, v.patient)?;
            if !Run::sees(mask) {
                continue;
            }
            for val in &v.vals {
                let Some(p) = run.names.pcode(val.pcode()) else { continue };
                let target = match val {
                    Val::Post { term, .. } if p.kind == Kind::Ref => *term,
                    Val::Own { .. } => v.patient,
                    _ => continue,
                };
                if !mask.has(p.class) {
                    continue;
                }
                let (key, cur): (Vec<u8>, i64) = conn
                    .prepare_cached("SELECT key, cur FROM res WHERE num=?1")?
                    .query_row([target], |r| Ok((r.get(0)?, r.get(1)?)))?;
                let Some(ty) = key.first().and_then(|t| ResourceType::from_number(*t)) else {
                    continue;
                };
                let wanted = asked.iter().any(|i| {
                    i.param.is_none_or(|by| p.params.contains(&by.number()))
                        && i.target.is_none_or(|t| t == ty)
                });
                if !wanted {
                    continue;
                }
                let Some(t) = run.current(ty.number(), cur)? else { continue };
                if Run::sees(run.mask(t.tag, t.patient)?) && seen.insert(RowId(t.row)) {
                    out.push(self::hit(&t, ty));
                }
            }
        }
        Ok(out)
    }

    /// The records that refer to the hits by the given parameters, as far as the viewer
    /// sees both the reference and the record; each once, none that is a hit, in the order
    /// of the log. `None`: they are more than `most`.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the file is damaged.
    pub fn referring(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
        most: usize,
    ) -> Result<Option<Vec<Hit>>, Error> {
        self.referring_inner(include, hits, viewer, access, at, most).map_err(unusable)
    }

    fn referring_inner(
        &self,
        include: &[Include],
        hits: &[Hit],
        viewer: &Viewer,
        access: Access<'_>,
        at: Seq,
        most: usize,
    ) -> Result<Option<Vec<Hit>>, Error> {
        if include.is_empty() || hits.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let at = i64::try_from(at.0).map_err(|_| Error::Invalid("sequence"))?;
        let related = self.related(viewer)?;
        let conn = self.readers.reader()?;
        let run = Run::new(self, &conn, related, access, at);
        let mut seen: HashSet<i64> = hits.iter().map(|h| h.seq.0.cast_signed()).collect();
        let mut found: Vec<(i64, ResourceType)> = Vec::new();
        for hit in hits {
            let seq = hit.seq.0.cast_signed();
            let Some(target) = fetch_head(&conn, db::vid(hit.ty.number(), seq))? else {
                continue;
            };
            for i in include.iter().filter(|i| i.target.is_none_or(|t| t == hit.ty)) {
                for (source, pcodes) in by_source(&run.names, i) {
                    let ty = source.number();
                    let mut take = |pcode: u32, list: &List, e: Entry| -> Result<bool, Error> {
                        let class = run.names.pcode(pcode).map(|p| p.class);
                        let mask = run.mask(e.tag, list.patient)?;
                        if Run::sees(mask)
                            && class.is_some_and(|c| mask.has(c))
                            && self.live(e.seq, at)
                            && seen.insert(e.seq)
                        {
                            found.push((e.seq, source));
                        }
                        Ok(found.len() <= most)
                    };
                    for pcode in &pcodes {
                        let (low, high) = (target.res, target.res);
                        let which = Which::Terms { pcode: *pcode, low, high };
                        list::scan(&conn, which, &mut |list, e| take(*pcode, list, e))?;
                    }
                    // References to a record's only patient have no entries. The tag tells
                    // of one; where it does not tell enough, the version does.
                    let own = Which::One(List::about(target.res, ty));
                    list::scan(&conn, own, &mut |list, e| {
                        let told = run.names.tag(e.tag).map_or(0, |t| t.own);
                        if told == 0 {
                            return Ok(true);
                        }
                        let mask = run.mask(e.tag, list.patient)?;
                        let shown = |pcode: u32| {
                            pcodes.contains(&pcode)
                                && run.names.pcode(pcode).is_some_and(|p| mask.has(p.class))
                        };
                        if shown(told) {
                            return take(told, list, e);
                        }
                        if !Run::sees(mask) || !self.live(e.seq, at) {
                            return Ok(true);
                        }
                        let v =
                            fetch(&conn, &run.names, db::vid(ty, e.seq))?.ok_or(Error::Unusable)?;
                        let other = v.vals.iter().find_map(|v| match v {
                            Val::Own { pcode } if shown(*pcode) => Some(*pcode),
                            _ => None,
                        });
                        other.map_or(Ok(true), |pcode| take(pcode, list, e))
                    })?;
                    if found.len() > most {
                        return Ok(None);
                    }
                }
            }
        }
        found.sort_unstable_by_key(|(seq, _)| *seq);
        let mut out = Vec::with_capacity(found.len());
        for (seq, ty) in found {
            let v = fetch_head(&conn, db::vid(ty.number(), seq))?.ok_or(Error::Unusable)?;
            out.push(hit(&v, ty));
        }
        Ok(Some(out))
    }
}
