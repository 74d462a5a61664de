//! Searchable values of a resource, and the block of bytes that carries them inside a
//! sealed record, so that another node can index the record without its JSON.
//!
//! Block, versions 1 and 2 (both final). Numbers are LEB128 varints unless said
//! otherwise; `signed` is zigzag. Common texts are numbers into `coding.rs`'s append-only
//! list. Version 2 adds kind 8 and is written only where such a value is.
//!
//! `version u8 | primary date | count | value…`, a value being
//! `signed difference of the parameter's number to the one before | class << 4 | kind | body`.
//!
//! | kind | body |
//! |---|---|
//! | 0 token | system text, code text |
//! | 1 string | text |
//! | 2 date | span flags `u8`, low time, width |
//! | 3 number | number |
//! | 4 quantity | number, system text, code text, unit text |
//! | 5 reference | flags `u8`: 1 target, 2 id, 4 url, 8 identifier; each present one in this order |
//! | 6 uri | text |
//! | 7 | the same term as so many values before |
//! | 8 composite (version 2) | number of components; of each the number of its values, and each value as class << 4 and kind and body, or as 0xf8 and how many values before it stands |
//!
//! A text is a varint: 0 none; 2 a lower-case UUID in 16 bytes; odd `2n+1` the common
//! text n; even `2(n+2)` n bytes. A time is `zigzag << 2 | unit` with unit 0 day,
//! 1 second, 2 millisecond, 3 microsecond. A number is a scale `u8` and the signed digits
//! where these give the same span, or 255 and three little-endian `f64`.

use phial_base::DataClass;

use super::coding::{Reader, Writer};
use super::date::{DAY, MINUTE, SECOND};
use super::{ParamId, query_value};
use crate::Error;
use crate::definitions::ResourceType;

/// One searchable value. `Debug` shows its kind only.
#[derive(Clone, PartialEq)]
pub enum Term {
    /// Coding, CodeableConcept's codings, code, Identifier (value as code), boolean,
    /// ContactPoint (value as code).
    Token {
        /// The code system; none is not the same as any.
        system: Option<Box<str>>,
        /// The code.
        code: Option<Box<str>>,
    },
    /// Text as sent; see [`super::fold`].
    Str {
        /// The text.
        text: Box<str>,
    },
    /// A span of time in microseconds since the epoch, UTC; see [`super::Span`].
    Date {
        /// First microsecond; `i64::MIN` when open.
        low: i64,
        /// Microsecond after the last; `i64::MAX` when open.
        high: i64,
    },
    /// A number with the range that its precision implies.
    Number {
        /// Lower bound, inclusive.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
        /// The number itself.
        value: f64,
    },
    /// A quantity with the range that its precision implies. A Range has its own ends
    /// as bounds, infinite where open, and the middle or the known end as value. Of
    /// Money the code is the currency.
    Quantity {
        /// The number itself.
        value: f64,
        /// Lower bound, inclusive.
        low: f64,
        /// Upper bound, exclusive.
        high: f64,
        /// The code system of the unit.
        system: Option<Box<str>>,
        /// The unit's code.
        code: Option<Box<str>>,
        /// The unit's text, when it is not the code's.
        unit: Option<Box<str>>,
    },
    /// A reference. `Type/id` gives target and id (a version is left off); other URLs,
    /// and canonicals, give url.
    Ref {
        /// The target's type, when known.
        target: Option<ResourceType>,
        /// The target's logical id.
        id: Option<Box<str>>,
        /// The URL, when the reference is not relative.
        url: Option<Box<str>>,
        /// System and value of `Reference.identifier`.
        identifier: Option<(Option<Box<str>>, Box<str>)>,
    },
    /// A uri, compared as it is.
    Uri {
        /// The uri.
        uri: Box<str>,
    },
    /// Of a composite: what one element holds of each component, in the order of the
    /// components; none is empty and none is itself a composite. A value that is found
    /// by it must be visible in all its components.
    Parts {
        /// The values of each component, with the class of the element of each.
        parts: Box<[PartValues]>,
    },
}

/// What an element holds of one component of a composite.
pub type PartValues = Box<[(DataClass, Term)]>;

impl Term {
    /// The term as in a block; equal for equal terms.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.byte(kind(self));
        write(&mut out, self, &[]);
        out.bytes
    }
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Term::Token { .. } => "Token(..)",
            Term::Str { .. } => "Str(..)",
            Term::Date { .. } => "Date(..)",
            Term::Number { .. } => "Number(..)",
            Term::Quantity { .. } => "Quantity(..)",
            Term::Ref { .. } => "Ref(..)",
            Term::Uri { .. } => "Uri(..)",
            Term::Parts { .. } => "Parts(..)",
        })
    }
}

/// All searchable values of a resource.
#[derive(Clone, PartialEq, Default)]
pub struct Extracted {
    /// Parameter, class of the element that the value came from, value. In the order of
    /// the parameters, composites last; no value twice.
    pub values: Vec<(ParamId, DataClass, Term)>,
    /// When what the resource records took place, in microseconds since the epoch: the
    /// start of the first value of [`super::primary_date_param`].
    pub primary_date: Option<i64>,
}

impl std::fmt::Debug for Extracted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Extracted({} values)", self.values.len())
    }
}

const VERSION: u8 = 1;
/// With composites.
const VERSION_2: u8 = 2;
/// In the place of a part's class and kind: the value stands before.
const BEFORE: u8 = 0xf8;
/// The most components of a composite, and values of one component.
const MOST_PARTS: u64 = 1 << 16;
const DAMAGED: Error = Error::Stored { what: "search block" };
/// How far back the same term is looked for; blocks of bundles must not cost n².
const WINDOW: usize = 64;

const LOW_OPEN: u8 = 1;
const HIGH_OPEN: u8 = 2;
const HAS_TARGET: u8 = 1;
const HAS_ID: u8 = 2;
const HAS_URL: u8 = 4;
const HAS_IDENTIFIER: u8 = 8;
/// Widths that need not be written out, by number from 1.
const WIDTHS: [i64; 6] = [1, 1_000, SECOND, MINUTE, DAY, 3_600 * SECOND];

impl Extracted {
    /// The block for these values.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let composite = |(_, _, t): &(_, _, Term)| matches!(t, Term::Parts { .. });
        out.byte(if self.values.iter().any(composite) { VERSION_2 } else { VERSION });
        match self.primary_date {
            Some(at) => {
                out.byte(1);
                time(&mut out, at);
            }
            None => out.byte(0),
        }
        out.varint(self.values.len() as u64);
        let mut before = 0_i64;
        for (n, (param, class, term)) in self.values.iter().enumerate() {
            let number = i64::from(param.number());
            out.signed(number - before);
            before = number;
            let earlier = self.values.get(n.saturating_sub(WINDOW)..n).unwrap_or_default();
            let back = earlier.iter().rev().position(|(_, _, t)| t == term);
            let kind = if back.is_some() { 7 } else { kind(term) };
            out.byte((*class as u8) << 4 | kind);
            match back {
                Some(back) => out.varint(back as u64),
                None => write(&mut out, term, self.values.get(..n).unwrap_or_default()),
            }
        }
        out.bytes
    }

    /// Reads a block.
    ///
    /// # Errors
    /// [`Error::Stored`] when the bytes are no block of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        read_all(&mut Reader::new(bytes)).ok_or(DAMAGED)
    }
}

fn kind(term: &Term) -> u8 {
    match term {
        Term::Token { .. } => 0,
        Term::Str { .. } => 1,
        Term::Date { .. } => 2,
        Term::Number { .. } => 3,
        Term::Quantity { .. } => 4,
        Term::Ref { .. } => 5,
        Term::Uri { .. } => 6,
        Term::Parts { .. } => 8,
    }
}

/// `before`: the values that stand before, to which a part may refer.
fn write(out: &mut Writer, term: &Term, before: &[(ParamId, DataClass, Term)]) {
    match term {
        Term::Token { system, code } => {
            out.text(system.as_deref());
            out.text(code.as_deref());
        }
        Term::Str { text } => out.text(Some(text)),
        Term::Date { low, high } => span(out, *low, *high),
        Term::Number { low, high, value } => number(out, *value, *low, *high),
        Term::Quantity { value, low, high, system, code, unit } => {
            number(out, *value, *low, *high);
            out.text(system.as_deref());
            out.text(code.as_deref());
            out.text(unit.as_deref());
        }
        Term::Ref { target, id, url, identifier } => {
            let flag = |there: bool, bit: u8| if there { bit } else { 0 };
            out.byte(
                flag(target.is_some(), HAS_TARGET)
                    | flag(id.is_some(), HAS_ID)
                    | flag(url.is_some(), HAS_URL)
                    | flag(identifier.is_some(), HAS_IDENTIFIER),
            );
            if let Some(target) = target {
                out.byte(target.number());
            }
            if id.is_some() {
                out.text(id.as_deref());
            }
            if url.is_some() {
                out.text(url.as_deref());
            }
            if let Some((system, value)) = identifier {
                out.text(system.as_deref());
                out.text(Some(value));
            }
        }
        Term::Uri { uri } => out.text(Some(uri)),
        Term::Parts { parts } => {
            out.varint(parts.len() as u64);
            for part in parts {
                out.varint(part.len() as u64);
                for (class, term) in part {
                    let near = before.get(before.len().saturating_sub(WINDOW)..);
                    let back = near
                        .and_then(|n| n.iter().rev().position(|(_, c, t)| c == class && t == term));
                    match back {
                        Some(back) => {
                            out.byte(BEFORE);
                            out.varint(back as u64);
                        }
                        None => {
                            out.byte((*class as u8) << 4 | kind(term));
                            write(out, term, &[]);
                        }
                    }
                }
            }
        }
    }
}

fn span(out: &mut Writer, low: i64, high: i64) {
    let mut flags = 0;
    let width = high.saturating_sub(low);
    let common = WIDTHS.iter().position(|w| *w == width);
    if low == i64::MIN {
        flags |= LOW_OPEN;
    }
    if high == i64::MAX {
        flags |= HIGH_OPEN;
    }
    if let (0, Some(n)) = (flags, common.and_then(|n| u8::try_from(n + 1).ok())) {
        out.byte(n << 2);
        return time(out, low);
    }
    out.byte(flags);
    if flags & LOW_OPEN == 0 {
        time(out, low);
    }
    if flags & HIGH_OPEN == 0 {
        time(out, high);
    }
}

fn time(out: &mut Writer, t: i64) {
    for (unit, size) in [(0, DAY), (1, SECOND), (2, 1_000)] {
        if t % size == 0 {
            return out.wide(zigzag(t / size) << 2 | unit);
        }
    }
    out.wide(zigzag(t) << 2 | 3);
}

fn zigzag(n: i64) -> u128 {
    u128::from((n << 1 ^ n >> 63).cast_unsigned())
}

fn number(out: &mut Writer, value: f64, low: f64, high: f64) {
    // The shortest digits that give the same three numbers back.
    for scale in 0..=12_u8 {
        let digits = (value * 10_f64.powi(i32::from(scale))).round();
        if digits.abs() > 9e15 {
            break;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
        let digits = digits as i64;
        let same = query_value::implied(digits, i32::from(scale));
        if same.value.to_bits() == value.to_bits() && (same.low, same.high) == (low, high) {
            out.byte(scale);
            return out.signed(digits);
        }
    }
    out.byte(255);
    for n in [value, low, high] {
        out.bytes.extend_from_slice(&n.to_le_bytes());
    }
}

fn read_all(from: &mut Reader<'_>) -> Option<Extracted> {
    let version = from.byte()?;
    if version != VERSION && version != VERSION_2 {
        return None;
    }
    let primary_date = match from.byte()? {
        0 => None,
        1 => Some(read_time(from)?),
        _ => return None,
    };
    let count = usize::try_from(from.varint()?).ok()?;
    let mut values: Vec<(ParamId, DataClass, Term)> = Vec::with_capacity(count.min(from.left()));
    let mut number = 0_i64;
    for _ in 0..count {
        number = number.checked_add(from.signed()?)?;
        let param = ParamId::from_number(u16::try_from(number).ok()?)?;
        let head = from.byte()?;
        let class = DataClass::from_number(head >> 4).ok()?;
        let term = match head & 0xf {
            7 => {
                let back = usize::try_from(from.varint()?).ok()?;
                let at = values.len().checked_sub(back.checked_add(1)?)?;
                values.get(at)?.2.clone()
            }
            8 if version == VERSION_2 => read_parts(from, &values)?,
            kind => read(from, kind)?,
        };
        values.push((param, class, term));
    }
    (from.left() == 0).then_some(Extracted { values, primary_date })
}

fn read_parts(from: &mut Reader<'_>, before: &[(ParamId, DataClass, Term)]) -> Option<Term> {
    let count = |from: &mut Reader<'_>| {
        let n = from.varint()?;
        // Each takes a byte at least.
        let n = usize::try_from(n).ok().filter(|_| n > 0 && n < MOST_PARTS)?;
        (n <= from.left()).then_some(n)
    };
    let mut parts = Vec::new();
    for _ in 0..count(from)? {
        let mut part = Vec::new();
        for _ in 0..count(from)? {
            let head = from.byte()?;
            if head == BEFORE {
                let back = usize::try_from(from.varint()?).ok()?;
                let at = before.len().checked_sub(back.checked_add(1)?)?;
                let (_, class, term) = before.get(at)?;
                if matches!(term, Term::Parts { .. }) {
                    return None;
                }
                part.push((*class, term.clone()));
            } else {
                let class = DataClass::from_number(head >> 4).ok()?;
                part.push((class, read(from, head & 0xf)?));
            }
        }
        parts.push(part.into_boxed_slice());
    }
    Some(Term::Parts { parts: parts.into_boxed_slice() })
}

fn read(from: &mut Reader<'_>, kind: u8) -> Option<Term> {
    Some(match kind {
        0 => Term::Token { system: from.text()?, code: from.text()? },
        1 => Term::Str { text: from.text()?? },
        2 => {
            let (low, high) = read_span(from)?;
            Term::Date { low, high }
        }
        3 => {
            let (value, low, high) = read_number(from)?;
            Term::Number { low, high, value }
        }
        4 => {
            let (value, low, high) = read_number(from)?;
            let (system, code, unit) = (from.text()?, from.text()?, from.text()?);
            Term::Quantity { value, low, high, system, code, unit }
        }
        5 => {
            let flags = from.byte()?;
            if flags > 15 {
                return None;
            }
            let target = if flags & HAS_TARGET != 0 {
                Some(ResourceType::from_number(from.byte()?)?)
            } else {
                None
            };
            let id = if flags & HAS_ID != 0 { Some(from.text()??) } else { None };
            let url = if flags & HAS_URL != 0 { Some(from.text()??) } else { None };
            let identifier = if flags & HAS_IDENTIFIER != 0 {
                Some((from.text()?, from.text()??))
            } else {
                None
            };
            Term::Ref { target, id, url, identifier }
        }
        6 => Term::Uri { uri: from.text()?? },
        _ => return None,
    })
}

fn read_span(from: &mut Reader<'_>) -> Option<(i64, i64)> {
    let flags = from.byte()?;
    let open = flags & (LOW_OPEN | HIGH_OPEN);
    if flags != open {
        let width = WIDTHS.get(usize::from(flags >> 2).checked_sub(1)?)?;
        let low = read_time(from)?;
        return (open == 0).then_some((low, low.checked_add(*width)?));
    }
    let low = if open & LOW_OPEN == 0 { read_time(from)? } else { i64::MIN };
    let high = if open & HIGH_OPEN == 0 { read_time(from)? } else { i64::MAX };
    Some((low, high))
}

fn read_time(from: &mut Reader<'_>) -> Option<i64> {
    let n = from.wide()?;
    let half = u64::try_from(n >> 2).ok()?;
    let value = (half >> 1).cast_signed() ^ -(half & 1).cast_signed();
    let size = match n & 3 {
        0 => DAY,
        1 => SECOND,
        2 => 1_000,
        _ => 1,
    };
    value.checked_mul(size)
}

fn read_number(from: &mut Reader<'_>) -> Option<(f64, f64, f64)> {
    let scale = from.byte()?;
    if scale == 255 {
        return Some((from.float()?, from.float()?, from.float()?));
    }
    if scale > 12 {
        return None;
    }
    let n = query_value::implied(from.signed()?, i32::from(scale));
    Some((n.value, n.low, n.high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Box<str>> {
        prop_oneof![
            "\\PC{0,70}".prop_map(Into::into),
            Just("http://loinc.org".into()),
            Just("final".into()),
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(Into::into),
            "[0-9A-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(Into::into),
        ]
    }

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            (-800_000_i64..800_000).prop_map(|d| d * DAY),
            (-9_000_000_000_i64..9_000_000_000).prop_map(|s| s * SECOND),
        ]
    }

    fn number() -> impl Strategy<Value = (f64, f64, f64)> {
        prop_oneof![
            (any::<i32>(), 0_i32..9).prop_map(|(d, s)| {
                let n = query_value::implied(i64::from(d), s);
                (n.value, n.low, n.high)
            }),
            (-1e12_f64..1e12, -1e12_f64..1e12, prop::num::f64::NORMAL),
        ]
    }

    fn term() -> impl Strategy<Value = Term> {
        let class = (0_u8..12).prop_map(|c| DataClass::from_number(c).unwrap());
        let part = prop::collection::vec((class, simple()), 1..4);
        let part = part.prop_map(Vec::into_boxed_slice);
        prop_oneof![
            9 => simple(),
            1 => prop::collection::vec(part, 1..4)
                .prop_map(|parts| Term::Parts { parts: parts.into() }),
        ]
    }

    fn simple() -> impl Strategy<Value = Term> {
        let some = || prop::option::of(text());
        prop_oneof![
            (some(), some()).prop_map(|(system, code)| Term::Token { system, code }),
            text().prop_map(|text| Term::Str { text }),
            (time(), time()).prop_map(|(low, high)| Term::Date { low, high }),
            time().prop_map(|t| Term::Date { low: t, high: t.saturating_add(DAY) }),
            number().prop_map(|(value, low, high)| Term::Number { value, low, high }),
            (number(), some(), some(), some()).prop_map(
                |((value, low, high), system, code, unit)| {
                    Term::Quantity { value, low, high, system, code, unit }
                }
            ),
            (prop::option::of(0_u8..146), some(), some(), prop::option::of((some(), text())))
                .prop_map(|(t, id, url, identifier)| Term::Ref {
                    target: t.and_then(ResourceType::from_number),
                    id,
                    url,
                    identifier,
                }),
            text().prop_map(|uri| Term::Uri { uri }),
        ]
    }

    fn extracted() -> impl Strategy<Value = Extracted> {
        let numbers: Vec<u16> =
            crate::definitions::search_params().iter().map(|p| p.number).collect();
        let value = (prop::sample::select(numbers), 0_u8..12, term()).prop_map(|(p, c, t)| {
            (ParamId::from_number(p).unwrap(), DataClass::from_number(c).unwrap(), t)
        });
        (prop::collection::vec(value, 0..12), prop::option::of(time()), any::<bool>()).prop_map(
            |(mut values, primary_date, twice)| {
                if twice {
                    values.extend(values.clone());
                }
                Extracted { values, primary_date }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(e in extracted()) {
            let bytes = e.encode();
            prop_assert!(Extracted::decode(&bytes).unwrap() == e);
            for cut in 0..bytes.len() {
                prop_assert!(Extracted::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(e) = Extracted::decode(&bytes) {
                prop_assert!(e.values.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn the_bytes_of_version_1_are_frozen() {
        let p = |n| ParamId::from_number(n).unwrap();
        let token =
            Term::Token { system: Some("http://loinc.org".into()), code: Some("8302-2".into()) };
        let patient = Term::Ref {
            target: ResourceType::from_number(100),
            id: Some("00112233-4455-6677-8899-aabbccddeeff".into()),
            url: None,
            identifier: None,
        };
        let n = query_value::implied(1_805, 1);
        let e = Extracted {
            values: vec![
                (p(3), DataClass::Laboratory, token),
                (p(5), DataClass::Administrative, patient.clone()),
                (p(4), DataClass::Administrative, patient),
                (p(4), DataClass::Administrative, Term::Date { low: DAY, high: 2 * DAY }),
                (
                    p(4),
                    DataClass::Laboratory,
                    Term::Number { value: n.value, low: n.low, high: n.high },
                ),
            ],
            primary_date: Some(DAY),
        };
        let mut want = vec![1, 1, 8, 5, 6, 0x90, 1, 16];
        want.extend_from_slice(b"8302-2");
        want.extend_from_slice(&[4, 5, 3, 100, 2]);
        want.extend_from_slice(&[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
        want.extend_from_slice(&[0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        want.extend_from_slice(&[1, 7, 0, 0, 2, 20, 8, 0, 0x93, 1, 0x9a, 0x1c]);
        assert_eq!(e.encode(), want);
        assert!(Extracted::decode(&want).unwrap() == e);
        want[0] = 3;
        assert!(Extracted::decode(&want).is_err());
    }

    #[test]
    fn the_bytes_of_version_2_are_frozen() {
        let p = |n| ParamId::from_number(n).unwrap();
        let lab = DataClass::Laboratory;
        let token = |code: &str| Term::Token { system: None, code: Some(code.into()) };
        let parts: [PartValues; 2] = [
            [(lab, token("k")), (DataClass::Notes, token("k"))].into(),
            [(DataClass::Notes, Term::Date { low: DAY, high: 2 * DAY })].into(),
        ];
        let pair = Term::Parts { parts: parts.into() };
        let e = Extracted {
            values: vec![(p(3), lab, token("k")), (p(4), lab, pair.clone()), (p(5), lab, pair)],
            primary_date: None,
        };
        let mut want = vec![2, 0, 3, 6, 0x90, 0, 6, b'k', 2, 0x98, 2, 2, 0xf8, 0];
        want.extend_from_slice(&[0xa0, 0, 6, b'k', 1, 0xa2, 20, 8, 2, 0x97, 0]);
        assert_eq!(e.encode(), want);
        assert!(Extracted::decode(&want).unwrap() == e);
        want[0] = 1;
        assert!(Extracted::decode(&want).is_err(), "version 1 knows no composite");
    }
}
