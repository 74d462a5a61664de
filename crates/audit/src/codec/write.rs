//! Writing an entry's core and parts.

use std::convert::Infallible;
use std::net::IpAddr;

use minicbor::Encoder;
use phial_base::{ClassSet, LogicalId};
use zeroize::Zeroizing;

use super::{leb128, purpose_number, surface_number, uuid_bytes};
use crate::Error;
use crate::entry::{Entry, EventKind, Target};
use crate::types;

type Writer<'a> = Encoder<&'a mut Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<Infallible>>;

/// What consecutive targets share.
#[derive(Clone, PartialEq, Eq)]
struct Shape<'a> {
    resource_type: &'a str,
    given: ClassSet,
    withheld: ClassSet,
    elements: &'a [String],
    patients: &'a [u32],
    action: Option<EventKind>,
}

impl<'a> Shape<'a> {
    fn of(t: &'a Target) -> Self {
        Shape {
            resource_type: &t.resource_type,
            given: t.given,
            withheld: t.withheld,
            elements: &t.elements,
            patients: &t.patients,
            action: t.action,
        }
    }
}

/// Whether the query is sealed with the one patient rather than in the core.
fn query_in_part(entry: &Entry) -> bool {
    entry.patients.len() == 1
}

/// Whether the targets are the writes, in the same order.
fn parallel(entry: &Entry) -> bool {
    !entry.what.is_empty()
        && entry.what.len() == entry.writes.len()
        && entry
            .what
            .iter()
            .zip(&entry.writes)
            .all(|(t, w)| t.row == w.row && t.version == Some(w.version))
}

/// The core's bytes.
pub(crate) fn encode_core(entry: &Entry) -> Result<Zeroizing<Vec<u8>>, Error> {
    for target in &entry.what {
        for index in &target.patients {
            if *index as usize >= entry.patients.len() {
                let (index, count) = (*index, entry.patients.len());
                return Err(Error::PatientIndex { index, count });
            }
        }
    }
    let mut out = Zeroizing::new(Vec::with_capacity(256 + 52 * entry.writes.len()));
    write_core(&mut Encoder::new(&mut *out), entry).map_err(|_| Error::Encode)?;
    Ok(out)
}

fn write_core(e: &mut Writer<'_>, entry: &Entry) -> Written {
    e.begin_map()?;
    e.u8(0)?.u16(entry.kind.number())?;
    e.u8(1)?.i64(entry.at.as_microsecond())?;
    if let Some(r) = &entry.request {
        e.u8(2)?.bytes(&r.0)?;
    }
    if let Some(s) = entry.surface {
        e.u8(3)?.u8(surface_number(s))?;
    }
    let who = &entry.who;
    text(e, 4, who.user.as_deref())?;
    if !who.roles.is_empty() {
        e.u8(5)?;
        texts(e, &who.roles)?;
    }
    text(e, 6, who.unit.as_deref())?;
    text(e, 7, who.session.as_deref())?;
    if who.mfa != 0 {
        e.u8(8)?.u8(who.mfa)?;
    }
    text(e, 9, who.client.as_deref())?;
    text(e, 10, who.device.as_deref())?;
    match who.ip {
        Some(IpAddr::V4(ip)) => drop(e.u8(11)?.bytes(&ip.octets())?),
        Some(IpAddr::V6(ip)) => drop(e.u8(11)?.bytes(&ip.octets())?),
        None => {}
    }
    if let Some(p) = entry.purpose {
        e.u8(12)?.u8(purpose_number(p))?;
    }
    text(e, 13, entry.grant.as_deref())?;
    if let Some(a) = entry.action {
        e.u8(14)?.u16(a.number())?;
    }
    e.u8(15)?.u16(entry.outcome.number())?;
    write_targets(e, entry)?;
    if !entry.patients.is_empty() {
        e.u8(20)?.u64(entry.patients.len() as u64)?;
    }
    if !query_in_part(entry) {
        text(e, 21, entry.query.as_ref().map(|q| q.reveal().as_str()))?;
    }
    if let Some(i) = &entry.intent {
        e.u8(22)?.bytes(i)?;
    }
    if !entry.writes.is_empty() {
        let mut blob = Vec::with_capacity(52 * entry.writes.len());
        for w in &entry.writes {
            blob.extend_from_slice(&w.row.0);
            blob.extend_from_slice(&w.hash);
            leb128(&mut blob, w.version.0);
        }
        e.u8(23)?.bytes(&blob)?;
    }
    if let Some(c) = entry.committed {
        e.u8(24)?.bool(c)?;
    }
    if let Some(s) = entry.seqs {
        e.u8(25)?.array(2)?.u64(s.first.0)?.u32(s.count)?;
    }
    if !entry.detail.is_empty() {
        e.u8(26)?.map(entry.detail.len() as u64)?;
        for (k, v) in &entry.detail {
            e.u16(k.number())?.str(v)?;
        }
    }
    if let Some((part, of)) = entry.part {
        e.u8(27)?.array(2)?.u16(part)?.u16(of)?;
    }
    e.end()?;
    Ok(())
}

fn write_targets(e: &mut Writer<'_>, entry: &Entry) -> Written {
    if entry.what.is_empty() {
        return Ok(());
    }
    let mut shapes: Vec<Shape<'_>> = Vec::new();
    let mut index = Vec::with_capacity(entry.what.len());
    for t in &entry.what {
        let shape = Shape::of(t);
        let at = shapes.iter().rposition(|s| *s == shape).unwrap_or_else(|| {
            shapes.push(shape);
            shapes.len() - 1
        });
        index.push(at as u64);
    }
    e.u8(16)?.array(shapes.len() as u64)?;
    for s in &shapes {
        write_shape(e, s)?;
    }
    if shapes.len() > 1 {
        e.u8(17)?.array(index.len() as u64)?;
        for at in index {
            e.u64(at)?;
        }
    }
    if !parallel(entry) {
        let mut rows = Vec::with_capacity(18 * entry.what.len());
        for t in &entry.what {
            rows.extend_from_slice(&t.row.0);
            leb128(&mut rows, t.version.map_or(0, |v| v.0));
        }
        e.u8(18)?.bytes(&rows)?;
    }
    let named = entry.what.iter().enumerate().filter(|(_, t)| t.patients.is_empty());
    let named: Vec<(usize, &LogicalId)> =
        named.filter_map(|(i, t)| t.id.as_ref().map(|id| (i, id))).collect();
    if !named.is_empty() {
        e.u8(19)?.array(2 * named.len() as u64)?;
        for (i, id) in named {
            e.u64(i as u64)?;
            write_id(e, id)?;
        }
    }
    Ok(())
}

fn write_shape(e: &mut Writer<'_>, s: &Shape<'_>) -> Written {
    e.begin_map()?;
    match types::number(s.resource_type) {
        Some(n) => e.u8(0)?.u16(n)?,
        None => e.u8(0)?.str(s.resource_type)?,
    };
    if !s.given.is_empty() {
        e.u8(1)?.u16(s.given.bits())?;
    }
    if !s.withheld.is_empty() {
        e.u8(2)?.u16(s.withheld.bits())?;
    }
    if !s.elements.is_empty() {
        e.u8(3)?;
        texts(e, s.elements)?;
    }
    if !s.patients.is_empty() {
        e.u8(4)?.array(s.patients.len() as u64)?;
        for p in s.patients {
            e.u32(*p)?;
        }
    }
    if let Some(a) = s.action {
        e.u8(5)?.u16(a.number())?;
    }
    e.end()?;
    Ok(())
}

/// The bytes of the part of patient number `index`, whose id is `patient`. `targets`
/// are the positions in [`Entry::what`] that name the patient.
pub(crate) fn encode_part(
    entry: &Entry,
    patient: &LogicalId,
    targets: &[usize],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut out = Zeroizing::new(Vec::with_capacity(64));
    write_part(&mut Encoder::new(&mut *out), entry, patient, targets).map_err(|_| Error::Encode)?;
    Ok(out)
}

fn write_part(
    e: &mut Writer<'_>,
    entry: &Entry,
    patient: &LogicalId,
    targets: &[usize],
) -> Written {
    e.begin_map()?;
    e.u8(0)?;
    write_id(e, patient)?;
    let named = || {
        targets
            .iter()
            .filter_map(|at| entry.what.get(*at).and_then(|t| t.id.as_ref().map(|id| (*at, t, id))))
    };
    let count = named().count();
    if count > 0 {
        e.u8(1)?.array(2 * count as u64)?;
        for (at, target, id) in named() {
            e.u64(at as u64)?;
            if target.resource_type == "Patient" && id == patient {
                e.null()?;
            } else {
                write_id(e, id)?;
            }
        }
    }
    if query_in_part(entry) {
        text(e, 2, entry.query.as_ref().map(|q| q.reveal().as_str()))?;
    }
    e.end()?;
    Ok(())
}

fn text(e: &mut Writer<'_>, field: u8, value: Option<&str>) -> Written {
    if let Some(v) = value {
        e.u8(field)?.str(v)?;
    }
    Ok(())
}

fn texts(e: &mut Writer<'_>, values: &[String]) -> Written {
    e.array(values.len() as u64)?;
    for v in values {
        e.str(v)?;
    }
    Ok(())
}
fn write_id(e: &mut Writer<'_>, id: &LogicalId) -> Written {
    match uuid_bytes(id.as_str()) {
        Some(b) => e.bytes(&b)?,
        None => e.str(id.as_str())?,
    };
    Ok(())
}
