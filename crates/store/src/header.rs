//! The header of a record version: what must be known before a policy decides,
//! sealed under the record's own key and opened before any segment.
//!
//! Form, version 2, final. What does not compress stands apart (the dense bytes), the
//! plan is the text. Dense bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version 2 in the low 4 bits; above them: 1 deleted, 2 the id is a UUID, 4 there is one patient, whose id is a UUID |
//! | 1 | number of the type |
//! | varint | labels |
//! | 2 | classes |
//! | varint | class-map version |
//! | varint | last update: `zigzag << 1`, milliseconds since 2020, or with bit 0 microseconds |
//! | 16 or id | logical id |
//! | 16, or varint and ids | patients |
//!
//! Version 3 is the header of a version whose attachment is a blob, or that is to be
//! treated as another record: the same with 3 in the low 4 bits, and behind it
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bits: 1 there is a blob, 2 there is a context; one of them at least |
//! | 16, varint, 20 | name of the blob, length of its text, SHA-1 of its text |
//! | 1, id | number of the context's type, its logical id |
//!
//! Integers are little-endian; varints are LEB128 in their shortest form. A UUID is one
//! written in lower case, its 16 bytes. An id is a byte 0 and a UUID, or else its length
//! (1 to 64) and its ASCII bytes. Which intent announced the version is not said here:
//! the intent names row, version and hash of the blob.
//!
//! Refuses whatever it would not have written itself: one header has one encoding.

use phial_base::{ClassSet, DataClass, LabelSet, LogicalId, RowId};
use phial_crypto::PartId;
use phial_fhir::definitions::ResourceType;

use crate::blobs::BlobRef;
use crate::error::Error;

/// The part that holds the segment of a data class: 16 + its number.
#[must_use]
pub const fn part_of(class: DataClass) -> PartId {
    16 + class as u8
}

const FORMAT: u8 = 2;
const FORMAT_WITH_MORE: u8 = 3;
const BLOB: u8 = 1;
const CONTEXT: u8 = 2;
const FORMAT_BITS: u8 = 0x0f;
const DELETED: u8 = 0x10;
const UUID_ID: u8 = 0x20;
const UUID_PATIENT: u8 = 0x40;
/// 2020-01-01T00:00:00Z in microseconds since the epoch.
const UPDATES_FROM: i64 = 1_577_836_800_000_000;

/// What is known of a record version before its segments are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Resource type.
    pub ty: ResourceType,
    /// Logical id.
    pub id: LogicalId,
    /// The patients it is about, sorted, each once.
    pub patients: Vec<LogicalId>,
    /// Its sensitivity labels.
    pub labels: LabelSet,
    /// The data classes that occur in it.
    pub classes: ClassSet,
    /// Whether this version is the record's deletion.
    pub deleted: bool,
    /// When it was written, microseconds since the epoch.
    pub last_updated: i64,
    /// Version of the class map that it was split under.
    pub class_map: u16,
    /// How its segments are spliced together.
    pub plan: Vec<u8>,
    /// The blob that holds its attachment. The segment of attachments holds nothing of it.
    pub blob: Option<BlobRef>,
    /// The record that this is to be treated as (`Binary.securityContext`).
    pub context: Option<(ResourceType, LogicalId)>,
}

impl Header {
    /// The header's dense bytes; its text is the plan.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 17 * (self.patients.len() + 1));
        let id = packed_uuid(self.id.as_str());
        let patient = match self.patients.as_slice() {
            [one] => packed_uuid(one.as_str()),
            _ => None,
        };
        let flag = |there: bool, bit: u8| if there { bit } else { 0 };
        let more = flag(self.blob.is_some(), BLOB) | flag(self.context.is_some(), CONTEXT);
        out.push(
            if more == 0 { FORMAT } else { FORMAT_WITH_MORE }
                | flag(self.deleted, DELETED)
                | flag(id.is_some(), UUID_ID)
                | flag(patient.is_some(), UUID_PATIENT),
        );
        out.push(self.ty.number());
        put_varint(&mut out, u64::from(self.labels.bits()));
        out.extend_from_slice(&self.classes.bits().to_le_bytes());
        put_varint(&mut out, u64::from(self.class_map));
        put_time(&mut out, self.last_updated);
        match id {
            Some(uuid) => out.extend_from_slice(&uuid),
            None => put_id(&mut out, &self.id),
        }
        match patient {
            Some(uuid) => out.extend_from_slice(&uuid),
            None => {
                put_varint(&mut out, self.patients.len() as u64);
                for p in &self.patients {
                    put_id(&mut out, p);
                }
            }
        }
        if more != 0 {
            out.push(more);
        }
        if let Some(blob) = &self.blob {
            out.extend_from_slice(&blob.name.0);
            put_varint(&mut out, blob.len);
            out.extend_from_slice(&blob.sha1);
        }
        if let Some((ty, id)) = &self.context {
            out.push(ty.number());
            put_id(&mut out, id);
        }
        out
    }

    /// Reads what [`Header::encode`] wrote, and the plan.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for any other bytes.
    pub fn decode(dense: &[u8], plan: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(dense);
        read(&mut r, plan)
            .filter(|_| r.0.is_empty())
            .ok_or(Error::Corrupt("a record's header does not decode"))
    }
}

fn read(r: &mut Reader<'_>, plan: &[u8]) -> Option<Header> {
    let first = r.byte()?;
    let format = first & FORMAT_BITS;
    if !matches!(format, FORMAT | FORMAT_WITH_MORE)
        || first & !(FORMAT_BITS | DELETED | UUID_ID | UUID_PATIENT) != 0
    {
        return None;
    }
    let ty = ResourceType::from_number(r.byte()?)?;
    let labels = LabelSet::from_bits(u32::try_from(r.varint()?).ok()?);
    let bits = u16::from_le_bytes(r.array()?);
    let classes = ClassSet::from_bits(bits);
    if classes.bits() != bits {
        // A class that this program does not know can't be withheld by it either.
        return None;
    }
    let class_map = u16::try_from(r.varint()?).ok()?;
    let last_updated = r.time()?;
    let id = if first & UUID_ID != 0 {
        r.uuid()?
    } else {
        let id = r.id()?;
        // There is a shorter way to say it.
        if packed_uuid(id.as_str()).is_some() {
            return None;
        }
        id
    };
    let patients = if first & UUID_PATIENT != 0 {
        vec![r.uuid()?]
    } else {
        let count = usize::try_from(r.varint()?).ok()?;
        let mut patients = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let p = r.id()?;
            if patients.last().is_some_and(|last| *last >= p) {
                return None;
            }
            patients.push(p);
        }
        if let [one] = patients.as_slice()
            && packed_uuid(one.as_str()).is_some()
        {
            return None;
        }
        patients
    };
    let more = if format == FORMAT_WITH_MORE { r.byte()? } else { 0 };
    if more & !(BLOB | CONTEXT) != 0 || (format == FORMAT_WITH_MORE && more == 0) {
        return None;
    }
    let blob = if more & BLOB != 0 {
        Some(BlobRef { name: RowId(r.array()?), len: r.varint()?, sha1: r.array()? })
    } else {
        None
    };
    let context = if more & CONTEXT != 0 {
        Some((ResourceType::from_number(r.byte()?)?, r.id()?))
    } else {
        None
    };
    let deleted = first & DELETED != 0;
    let plan = plan.to_vec();
    Some(Header {
        ty,
        id,
        patients,
        labels,
        classes,
        deleted,
        last_updated,
        class_map,
        plan,
        blob,
        context,
    })
}

fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

fn put_time(out: &mut Vec<u8>, t: i64) {
    // Wrapping, so that every time has a form.
    let since = t.wrapping_sub(UPDATES_FROM);
    if since % 1000 == 0 {
        put_varint(out, zigzag(since / 1000) << 1);
        return;
    }
    // 65 bits: the lowest 6 and the flag first.
    let n = zigzag(since);
    let more = n >> 6;
    let low = (n & 0x3f) as u8;
    out.push(0x80 | low << 1 | 1);
    put_varint(out, more);
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_id(out: &mut Vec<u8>, id: &LogicalId) {
    match packed_uuid(id.as_str()) {
        Some(packed) => {
            out.push(0);
            out.extend_from_slice(&packed);
        }
        None => {
            // A LogicalId has 1 to 64 bytes.
            out.push(u8::try_from(id.as_str().len()).unwrap_or(u8::MAX));
            out.extend_from_slice(id.as_str().as_bytes());
        }
    }
}

const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The 16 bytes of a UUID in its lower-case hyphenated form; `None` for any other text.
fn packed_uuid(s: &str) -> Option<[u8; 16]> {
    if s.len() != 36 {
        return None;
    }
    let mut digits = [0u8; 32];
    let mut slots = digits.iter_mut();
    for (i, b) in s.bytes().enumerate() {
        match (DASHES.contains(&i), b) {
            (true, b'-') => {}
            (false, b'0'..=b'9' | b'a'..=b'f') => *slots.next()? = b,
            _ => return None,
        }
    }
    let mut packed = [0u8; 16];
    hex::decode_to_slice(digits, &mut packed).ok()?;
    Some(packed)
}

fn unpacked_uuid(bytes: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (i, c) in hex::encode(bytes).chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(c);
    }
    out
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..63).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                // A trailing zero group would be a second way to write the number.
                return if b == 0 && shift > 0 { None } else { Some(n) };
            }
        }
        None
    }

    fn time(&mut self) -> Option<i64> {
        let first = *self.0.first()?;
        let since = if first & 1 == 0 {
            unzigzag(self.varint()? >> 1).checked_mul(1000)?
        } else {
            self.byte()?;
            if first & 0x80 == 0 {
                return None;
            }
            let more = self.varint()?;
            if more >> 58 != 0 {
                return None;
            }
            let since = unzigzag(more << 6 | u64::from(first >> 1 & 0x3f));
            if since % 1000 == 0 {
                return None;
            }
            since
        };
        Some(since.wrapping_add(UPDATES_FROM))
    }

    fn uuid(&mut self) -> Option<LogicalId> {
        LogicalId::new(&unpacked_uuid(self.array()?)).ok()
    }

    fn id(&mut self) -> Option<LogicalId> {
        match self.byte()? {
            0 => self.uuid(),
            n => {
                let text = std::str::from_utf8(self.take(usize::from(n))?).ok()?;
                if packed_uuid(text).is_some() { None } else { LogicalId::new(text).ok() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(s: &str) -> LogicalId {
        LogicalId::new(s).unwrap()
    }

    fn sample() -> Header {
        Header {
            ty: ResourceType::from_name("Observation").unwrap(),
            id: id("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
            patients: vec![id("00112233-4455-6677-8899-aabbccddeeff"), id("p-1")],
            labels: LabelSet::from_bits(0x102),
            classes: ClassSet::of(DataClass::Administrative).with(DataClass::Laboratory),
            deleted: false,
            last_updated: 1_700_000_000_000_000,
            class_map: 1,
            plan: vec![9, 8, 7],
            blob: None,
            context: None,
        }
    }

    fn decoded(h: &Header) -> Header {
        Header::decode(&h.encode(), &h.plan).unwrap()
    }

    const FROZEN: &str = "225f82020102018080e8af9c0e0f1e2d3c4b5a69788796a5b4c3d2e1f0\
                          020000112233445566778899aabbccddeeff03702d31";

    #[test]
    fn version_2_is_frozen() {
        let frozen: String = FROZEN.split_whitespace().collect();
        assert_eq!(hex::encode(sample().encode()), frozen);
        assert_eq!(Header::decode(&hex::decode(frozen).unwrap(), &[9, 8, 7]).unwrap(), sample());
        let deleted = Header {
            ty: ResourceType::from_name("Patient").unwrap(),
            id: id("P"),
            patients: vec![],
            labels: LabelSet::NONE,
            classes: ClassSet::NONE,
            deleted: true,
            last_updated: -1,
            class_map: 0x0201,
            plan: vec![],
            blob: None,
            context: None,
        };
        assert_eq!(hex::encode(deleted.encode()), "126600000081048380a4bfb0849b0b015000");
        assert_eq!(decoded(&deleted), deleted);
        let one = Header { patients: vec![sample().patients[0].clone()], ..sample() };
        assert_eq!(
            hex::encode(one.encode()),
            "625f82020102018080e8af9c0e0f1e2d3c4b5a69788796a5b4c3d2e1f0\
             00112233445566778899aabbccddeeff"
        );
        assert_eq!(decoded(&one), one);
    }

    fn with_more() -> Header {
        let blob = BlobRef { name: RowId([0xb1; 16]), len: 70_000, sha1: [0x5a; 20] };
        let context = Some((ResourceType::from_name("DocumentReference").unwrap(), id("d-1")));
        Header { blob: Some(blob), context, ..sample() }
    }

    #[test]
    fn version_3_is_frozen() {
        let old: String = FROZEN.split_whitespace().collect();
        let form = |more: &str| format!("23{}{more}", old.get(2..).unwrap());
        let blob = format!("{}f0a204{}", "b1".repeat(16), "5a".repeat(20));
        let context = "2903642d31";
        let both = with_more();
        for (h, more) in [
            (both.clone(), format!("03{blob}{context}")),
            (Header { context: None, ..both.clone() }, format!("01{blob}")),
            (Header { blob: None, ..both }, format!("02{context}")),
        ] {
            assert_eq!(hex::encode(h.encode()), form(&more));
            assert_eq!(decoded(&h), h);
        }
        // One header has one encoding.
        for bad in [form("00"), form("04"), form(""), form("01"), format!("{}00", form(&blob))] {
            assert!(Header::decode(&hex::decode(bad).unwrap(), &[9, 8, 7]).is_err());
        }
    }

    #[test]
    fn every_prefix_and_every_addition_is_refused() {
        for bytes in [sample().encode(), with_more().encode()] {
            for n in 0..bytes.len() {
                assert!(Header::decode(&bytes[..n], &[]).is_err(), "{n}");
            }
            assert!(Header::decode(&[&bytes[..], &[0]].concat(), &[]).is_err());
        }
    }

    #[test]
    fn unknown_versions_flags_types_and_classes_are_refused() {
        let good = sample().encode();
        assert!(Header::decode(&good, &[]).is_ok());
        for (at, value) in [(0usize, 0x21u8), (0, 0x23), (0, 0xa2), (1, 255), (5, 0xf2)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Header::decode(&bad, &[]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_longer_way_to_say_the_same_is_refused() {
        let h = Header { patients: vec![id("00112233-4455-6677-8899-aabbccddeeff")], ..sample() };
        let good = h.encode();
        let n = good.len();
        // The id behind a byte 0, as in a list of patients.
        let mut bad = good.clone();
        bad[0] &= !UUID_ID;
        bad.insert(n - 32, 0);
        assert!(Header::decode(&bad, &[]).is_err());
        // The one patient as a list of one.
        let mut bad = good;
        bad[0] &= !UUID_PATIENT;
        bad.splice(n - 16..n - 16, [1, 0]);
        assert!(Header::decode(&bad, &[]).is_err());
        // Whole milliseconds in microseconds.
        assert!(Reader(&[0x81, 0]).time().is_none());
        assert!(Reader(&[0x01, 0]).time().is_none());
    }

    #[test]
    fn every_time_has_one_form() {
        for t in [0, 1, -1, 999, 1000, i64::MIN, i64::MAX, UPDATES_FROM, UPDATES_FROM + 1] {
            let mut out = Vec::new();
            put_time(&mut out, t);
            let mut r = Reader(&out);
            assert_eq!(r.time(), Some(t), "{t}");
            assert!(r.0.is_empty());
        }
    }

    #[test]
    fn a_uuid_in_capitals_stays_in_capitals() {
        let mut h = sample();
        h.id = id("0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0");
        assert_eq!(decoded(&h), h);
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            flips in proptest::collection::vec((0usize..90, any::<u8>()), 0..4)
        ) {
            let mut bytes = sample().encode();
            for (at, value) in flips {
                if let Some(b) = bytes.get_mut(at) { *b = value; }
            }
            if let Ok(h) = Header::decode(&bytes, &[9, 8, 7])
                // Unknown label bits fold into "unknown", the one thing that is not kept.
                && h.labels == sample().labels
            {
                prop_assert_eq!(h.encode(), bytes);
            }
        }

        #[test]
        fn headers_round_trip(
            ids in proptest::collection::btree_set("[A-Za-z0-9.-]{1,64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", 1..5),
            at in any::<i64>(),
            plan in proptest::collection::vec(any::<u8>(), 0..300),
            deleted in any::<bool>(),
        ) {
            let mut h = sample();
            let ids: Vec<LogicalId> = ids.iter().map(|s| id(s)).collect();
            h.id = ids[0].clone();
            h.patients = ids;
            h.last_updated = at;
            h.plan = plan;
            h.deleted = deleted;
            prop_assert_eq!(decoded(&h), h);
        }
    }
}
