//! Reading an opened core and opened parts. Numbers of a later version are skipped.

use std::net::IpAddr;

use jiff::Timestamp;
use minicbor::Decoder;
use minicbor::data::Type;
use phial_base::{ClassSet, KeyHandle, LogicalId, RequestId, RowId, Sensitive, Seq, Version};

use super::{purpose_of, read_leb128, surface_of, uuid_text};
use crate::Error;
use crate::entry::{DetailKey, Entry, EventKind, OutcomeCode, PatientPart, Seqs, Target, Write};
use crate::types;

const CORE: &str = "audit entry";
const PART: &str = "patient part of an audit entry";

type Read<T> = Result<T, minicbor::decode::Error>;

fn bad(what: &'static str) -> minicbor::decode::Error {
    minicbor::decode::Error::message(what)
}

/// Calls `field` with each number of a map; `field` must consume the value.
fn fields<'b>(
    d: &mut Decoder<'b>,
    mut field: impl FnMut(&mut Decoder<'b>, u64) -> Read<()>,
) -> Read<()> {
    let mut left = d.map()?;
    loop {
        match &mut left {
            Some(0) => return Ok(()),
            Some(n) => *n -= 1,
            None if d.datatype()? == Type::Break => return d.skip(),
            None => {}
        }
        let number = d.u64()?;
        field(d, number)?;
    }
}

/// Calls `item` for each element of an array; `item` must consume it.
fn items<'b>(d: &mut Decoder<'b>, mut item: impl FnMut(&mut Decoder<'b>) -> Read<()>) -> Read<()> {
    let mut left = d.array()?;
    loop {
        match &mut left {
            Some(0) => return Ok(()),
            Some(n) => *n -= 1,
            None if d.datatype()? == Type::Break => return d.skip(),
            None => {}
        }
        item(d)?;
    }
}

fn string(d: &mut Decoder<'_>) -> Read<String> {
    d.str().map(str::to_owned)
}

fn strings(d: &mut Decoder<'_>) -> Read<Vec<String>> {
    let mut all = Vec::new();
    items(d, |d| {
        all.push(string(d)?);
        Ok(())
    })?;
    Ok(all)
}

fn bytes16(d: &mut Decoder<'_>) -> Read<[u8; 16]> {
    d.bytes()?.try_into().map_err(|_| bad("id"))
}

fn logical_id(d: &mut Decoder<'_>) -> Read<LogicalId> {
    let text = match d.datatype()? {
        Type::Bytes => uuid_text(bytes16(d)?),
        _ => string(d)?,
    };
    LogicalId::new(&text).map_err(|_| bad("logical id"))
}

/// `[target, id, ...]`.
fn named(d: &mut Decoder<'_>) -> Read<Vec<(usize, Option<LogicalId>)>> {
    let mut all = Vec::new();
    let mut at: Option<usize> = None;
    items(d, |d| {
        match at.take() {
            None => at = Some(usize::try_from(d.u64()?).map_err(|_| bad("target"))?),
            Some(i) if d.datatype()? == Type::Null => {
                d.null()?;
                all.push((i, None));
            }
            Some(i) => all.push((i, Some(logical_id(d)?))),
        }
        Ok(())
    })?;
    if at.is_some() { Err(bad("names")) } else { Ok(all) }
}

fn shape(d: &mut Decoder<'_>) -> Read<Target> {
    let mut t = Target::new(RowId([0; 16]), None, "");
    fields(d, |d, n| {
        match n {
            0 if d.datatype()? == Type::String => t.resource_type = string(d)?,
            0 => t.resource_type = types::name(d.u16()?),
            1 => t.given = ClassSet::from_bits(d.u16()?),
            2 => t.withheld = ClassSet::from_bits(d.u16()?),
            3 => t.elements = strings(d)?,
            4 => items(d, |d| {
                t.patients.push(d.u32()?);
                Ok(())
            })?,
            5 => t.action = Some(EventKind::from_number(d.u16()?)),
            _ => d.skip()?,
        }
        Ok(())
    })?;
    Ok(t)
}

fn rows(mut blob: &[u8]) -> Option<Vec<(RowId, Option<Version>)>> {
    let mut all = Vec::with_capacity(blob.len() / 17);
    while !blob.is_empty() {
        let (row, rest) = blob.split_first_chunk::<16>()?;
        blob = rest;
        let version = read_leb128(&mut blob)?;
        all.push((RowId(*row), (version > 0).then_some(Version(version))));
    }
    Some(all)
}

fn writes(mut blob: &[u8]) -> Option<Vec<Write>> {
    let mut all = Vec::with_capacity(blob.len() / 49);
    while !blob.is_empty() {
        let (row, rest) = blob.split_first_chunk::<16>()?;
        let (hash, rest) = rest.split_first_chunk::<32>()?;
        blob = rest;
        let version = Version(read_leb128(&mut blob)?);
        all.push(Write { row: RowId(*row), version, hash: *hash });
    }
    Some(all)
}

/// An opened core. The patients are still without ids.
pub(crate) fn decode_core(bytes: &[u8]) -> Result<Entry, Error> {
    read_core(bytes).map_err(|_| Error::malformed(CORE))
}

#[derive(Default)]
struct Targets {
    shapes: Vec<Target>,
    index: Vec<u64>,
    rows: Option<Vec<(RowId, Option<Version>)>>,
    names: Vec<(usize, Option<LogicalId>)>,
}

impl Targets {
    fn assemble(self, writes: &[Write], patients: usize) -> Read<Vec<Target>> {
        if self.shapes.is_empty() {
            return Ok(Vec::new());
        }
        let rows =
            self.rows.unwrap_or_else(|| writes.iter().map(|w| (w.row, Some(w.version))).collect());
        if !self.index.is_empty() && self.index.len() != rows.len() {
            return Err(bad("shapes"));
        }
        let in_range = |t: &Target| t.patients.iter().all(|p| (*p as usize) < patients);
        if !self.shapes.iter().all(in_range) {
            return Err(bad("patients"));
        }
        let mut what = Vec::with_capacity(rows.len());
        for (at, (row, version)) in rows.into_iter().enumerate() {
            let shape = self.index.get(at).copied().unwrap_or(0);
            let shape = usize::try_from(shape).ok().and_then(|s| self.shapes.get(s));
            let mut target = shape.ok_or_else(|| bad("shape"))?.clone();
            target.row = row;
            target.version = version;
            what.push(target);
        }
        for (at, id) in self.names {
            what.get_mut(at).ok_or_else(|| bad("target"))?.id = id;
        }
        Ok(what)
    }
}

fn read_core(bytes: &[u8]) -> Read<Entry> {
    let mut d = Decoder::new(bytes);
    let mut entry = Entry::system(EventKind::Other(0), Timestamp::UNIX_EPOCH);
    let mut targets = Targets::default();
    let mut patients = 0usize;
    let mut seen = 0u8;
    fields(&mut d, |d, n| {
        let e = &mut entry;
        match n {
            0 => {
                e.kind = EventKind::from_number(d.u16()?);
                seen |= 1;
            }
            1 => {
                e.at = Timestamp::from_microsecond(d.i64()?).map_err(|_| bad("time"))?;
                seen |= 2;
            }
            2 => e.request = Some(RequestId(bytes16(d)?)),
            3 => e.surface = surface_of(d.u8()?),
            4 => e.who.user = Some(string(d)?),
            5 => e.who.roles = strings(d)?,
            6 => e.who.unit = Some(string(d)?),
            7 => e.who.session = Some(string(d)?),
            8 => e.who.mfa = d.u8()?,
            9 => e.who.client = Some(string(d)?),
            10 => e.who.device = Some(string(d)?),
            11 => e.who.ip = Some(address(d.bytes()?).ok_or_else(|| bad("address"))?),
            12 => e.purpose = purpose_of(d.u8()?),
            13 => e.grant = Some(string(d)?),
            14 => e.action = Some(EventKind::from_number(d.u16()?)),
            15 => e.outcome = OutcomeCode::from_number(d.u16()?),
            16 => items(d, |d| {
                targets.shapes.push(shape(d)?);
                Ok(())
            })?,
            17 => items(d, |d| {
                targets.index.push(d.u64()?);
                Ok(())
            })?,
            18 => targets.rows = Some(rows(d.bytes()?).ok_or_else(|| bad("rows"))?),
            19 => targets.names = named(d)?,
            20 => patients = usize::from(d.u16()?), // a leaf has no room for more
            21 => e.query = Some(Sensitive::new(string(d)?)),
            22 => e.intent = Some(bytes16(d)?),
            23 => e.writes = writes(d.bytes()?).ok_or_else(|| bad("writes"))?,
            24 => e.committed = Some(d.bool()?),
            25 => {
                let [first, count] = pair(d)?;
                let count = u32::try_from(count).map_err(|_| bad("count"))?;
                e.seqs = Some(Seqs { first: Seq(first), count });
            }
            26 => fields(d, |d, key| {
                let key = u16::try_from(key).map_err(|_| bad("detail"))?;
                e.detail.insert(DetailKey::from_number(key), string(d)?);
                Ok(())
            })?,
            27 => {
                let [part, of] = pair(d)?.map(u16::try_from);
                e.part = Some((part.map_err(|_| bad("part"))?, of.map_err(|_| bad("part"))?));
            }
            _ => d.skip()?,
        }
        Ok(())
    })?;
    if seen != 3 || d.position() != bytes.len() {
        return Err(bad("entry"));
    }
    entry.patients = vec![PatientPart { id: None, handle: None }; patients];
    entry.what = targets.assemble(&entry.writes, patients)?;
    Ok(entry)
}

fn pair(d: &mut Decoder<'_>) -> Read<[u64; 2]> {
    let mut all = Vec::with_capacity(2);
    items(d, |d| {
        all.push(d.u64()?);
        Ok(())
    })?;
    all.try_into().map_err(|_| bad("pair"))
}

fn address(b: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(b)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(b).map(IpAddr::from))
        .ok()
}

/// Puts what the opened part of patient number `index` says into `entry`.
pub(crate) fn decode_part(
    bytes: &[u8],
    index: usize,
    handle: KeyHandle,
    entry: &mut Entry,
) -> Result<(), Error> {
    read_part(bytes, index, handle, entry).map_err(|_| Error::malformed(PART))
}

fn read_part(bytes: &[u8], index: usize, handle: KeyHandle, entry: &mut Entry) -> Read<()> {
    let mut d = Decoder::new(bytes);
    let (mut patient, mut names, mut query) = (None, Vec::new(), None);
    fields(&mut d, |d, n| {
        match n {
            0 => patient = Some(logical_id(d)?),
            1 => names = named(d)?,
            2 => query = Some(Sensitive::new(string(d)?)),
            _ => d.skip()?,
        }
        Ok(())
    })?;
    if d.position() != bytes.len() {
        return Err(bad("part"));
    }
    let patient = patient.ok_or_else(|| bad("patient"))?;
    for (at, id) in names {
        let target = entry.what.get_mut(at).ok_or_else(|| bad("target"))?;
        target.id = Some(id.unwrap_or_else(|| patient.clone()));
    }
    if query.is_some() {
        entry.query = query;
    }
    let slot = entry.patients.get_mut(index).ok_or_else(|| bad("patient"))?;
    *slot = PatientPart { id: Some(patient), handle: Some(handle) };
    Ok(())
}
