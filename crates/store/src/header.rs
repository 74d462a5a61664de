//! The header of a record version: what must be known before a policy decides,
//! sealed under the record's own key and opened before any segment.
//!
//! Form, version 1, final: version `01`; flags (bit 0: deleted; others zero);
//! type name (length byte, ASCII); logical id; number of patients (varint) and
//! their ids; labels (varint); classes (u16); last update (i64, microseconds since
//! the epoch); class-map version (u16); intent (16 bytes); the plan (the rest).
//! Integers are little-endian; varints are LEB128. An id is a byte 0 and the 16
//! bytes of a UUID when it is written as one in lower case, or else its length
//! (1 to 64) and its ASCII bytes.
//!
//! Refuses whatever it would not have written itself: one header has one encoding.

use phial_base::{ClassSet, DataClass, LabelSet, LogicalId};
use phial_crypto::PartId;
use phial_fhir::definitions::ResourceType;

use crate::error::Error;

/// The part that holds the extracted search values.
pub const PART_SEARCH: PartId = 1;

/// The part that holds the segment of a data class: 16 + its number.
#[must_use]
pub const fn part_of(class: DataClass) -> PartId {
    16 + class as u8
}

const FORMAT: u8 = 1;
const DELETED: u8 = 1;

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
    /// The audit intent that announced it.
    pub intent: [u8; 16],
    /// How its segments are spliced together.
    pub plan: Vec<u8>,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80 + 17 * self.patients.len() + self.plan.len());
        out.push(FORMAT);
        out.push(if self.deleted { DELETED } else { 0 });
        let name = self.ty.name().as_bytes();
        // The longest R4 type name has 33 letters.
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        put_id(&mut out, &self.id);
        put_varint(&mut out, self.patients.len() as u64);
        for p in &self.patients {
            put_id(&mut out, p);
        }
        put_varint(&mut out, u64::from(self.labels.bits()));
        out.extend_from_slice(&self.classes.bits().to_le_bytes());
        out.extend_from_slice(&self.last_updated.to_le_bytes());
        out.extend_from_slice(&self.class_map.to_le_bytes());
        out.extend_from_slice(&self.intent);
        out.extend_from_slice(&self.plan);
        out
    }

    /// Reads what [`Header::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(bytes);
        read(&mut r).ok_or(Error::Corrupt("a record's header does not decode"))
    }
}

fn read(r: &mut Reader<'_>) -> Option<Header> {
    if r.byte()? != FORMAT {
        return None;
    }
    let flags = r.byte()?;
    if flags & !DELETED != 0 {
        return None;
    }
    let n = usize::from(r.byte()?);
    let ty = ResourceType::from_name(std::str::from_utf8(r.take(n)?).ok()?)?;
    let id = r.id()?;
    let count = usize::try_from(r.varint()?).ok()?;
    let mut patients = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let p = r.id()?;
        if patients.last().is_some_and(|last| *last >= p) {
            return None;
        }
        patients.push(p);
    }
    let labels = LabelSet::from_bits(u32::try_from(r.varint()?).ok()?);
    let bits = u16::from_le_bytes(r.array()?);
    let classes = ClassSet::from_bits(bits);
    if classes.bits() != bits {
        // A class that this program does not know can't be withheld by it either.
        return None;
    }
    Some(Header {
        ty,
        id,
        patients,
        labels,
        classes,
        deleted: flags & DELETED != 0,
        last_updated: i64::from_le_bytes(r.array()?),
        class_map: u16::from_le_bytes(r.array()?),
        intent: r.array()?,
        plan: r.0.to_vec(),
    })
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

    fn id(&mut self) -> Option<LogicalId> {
        match self.byte()? {
            0 => LogicalId::new(&unpacked_uuid(self.array()?)).ok(),
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
            intent: [0xab; 16],
            plan: vec![9, 8, 7],
        }
    }

    const FROZEN: &str = "01000b4f62736572766174696f6e000f1e2d3c4b5a69788796a5b4c3d2e1f002\
                          0000112233445566778899aabbccddeeff03702d318202010200401e18240a06\
                          000100abababababababababababababababab090807";

    #[test]
    fn version_1_is_frozen() {
        let frozen: String = FROZEN.split_whitespace().collect();
        assert_eq!(hex::encode(sample().encode()), frozen);
        assert_eq!(Header::decode(&hex::decode(frozen).unwrap()).unwrap(), sample());
        let deleted = Header {
            ty: ResourceType::from_name("Patient").unwrap(),
            id: id("P"),
            patients: vec![],
            labels: LabelSet::NONE,
            classes: ClassSet::NONE,
            deleted: true,
            last_updated: -1,
            class_map: 0x0201,
            intent: [0; 16],
            plan: vec![],
        };
        let bytes =
            "01010750617469656e74015000000000ffffffffffffffff010200000000000000000000000000000000";
        assert_eq!(hex::encode(deleted.encode()), bytes);
        assert_eq!(Header::decode(&deleted.encode()).unwrap(), deleted);
    }

    #[test]
    fn every_prefix_that_cuts_a_field_is_refused() {
        let mut header = sample();
        header.plan.clear();
        let bytes = header.encode();
        for n in 0..bytes.len() {
            assert!(Header::decode(&bytes[..n]).is_err(), "{n}");
        }
    }

    #[test]
    fn unknown_versions_flags_types_and_classes_are_refused() {
        let good = sample().encode();
        for (at, value) in [(0usize, 2u8), (1, 2), (3, b'X')] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Header::decode(&bad).is_err(), "{at}");
        }
        let classes = good.len() - 3 - 16 - 2 - 8 - 1;
        let mut bad = good;
        bad[classes] = 0xf2;
        assert!(Header::decode(&bad).is_err());
    }

    #[test]
    fn a_uuid_in_capitals_stays_in_capitals() {
        let mut h = sample();
        h.id = id("0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0");
        assert_eq!(Header::decode(&h.encode()).unwrap(), h);
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
            if let Ok(h) = Header::decode(&bytes)
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
            prop_assert_eq!(Header::decode(&h.encode()).unwrap(), h);
        }
    }
}
