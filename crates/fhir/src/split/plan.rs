//! The plan's bytes: written from the walk's steps, and followed to splice.

use std::collections::HashMap;
use std::sync::OnceLock;

use phial_base::{ClassSet, DataClass};

use super::short::{Expander, Known, Piece, SEPARATOR};
use super::walk::Op;
use super::{Mark, Spliced, Split};
use crate::Error;

const CLOSE: u8 = 0x10;
const ITEM: u8 = 0x11;
const OBJECT: u8 = 0x12;
const ARRAY: u8 = 0x13;
const TAG_MEMBER: u8 = 0x14;
const TAG_ITEM: u8 = 0x15;
const META_MEMBER: u8 = 0x16;
const ARRAY_ITEM: u8 = 0x17;
const CLOSE_TWICE: u8 = 0x18;
const NEXT_ITEM: u8 = 0x19;
/// Says that a name follows in full.
const INLINE: u8 = 255;

/// The tag that says that a part is missing.
pub(crate) const TAG: &[u8] = br#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED","display":"subsetted"}"#;

const DAMAGED: Error = Error::Stored { what: "plan" };

/// The names, by number. Append only: plans carry the numbers.
fn names() -> &'static (Vec<&'static str>, HashMap<&'static str, u8>) {
    static NAMES: OnceLock<(Vec<&'static str>, HashMap<&'static str, u8>)> = OnceLock::new();
    NAMES.get_or_init(|| {
        let list: Vec<&str> = include_str!("names.txt").split_whitespace().collect();
        let by_name = list
            .iter()
            .enumerate()
            .filter_map(|(n, name)| {
                u8::try_from(n).ok().filter(|n| *n != INLINE).map(|n| (*name, n))
            })
            .collect();
        (list, by_name)
    })
}

pub(super) fn write(ops: &[Op<'_>], text: &str) -> Split {
    let mut segments: [Vec<u8>; 12] = Default::default();
    let mut classes = ClassSet::NONE;
    let mut plan = Vec::with_capacity(ops.len() + 16);
    let mut rest = ops;
    while let Some((op, after)) = rest.split_first() {
        rest = after;
        match op {
            Op::Leaf(class, start, end) => {
                if let Some(segment) = segments.get_mut(*class as usize) {
                    if classes.has(*class) {
                        segment.push(SEPARATOR);
                    }
                    segment
                        .extend_from_slice(text.as_bytes().get(*start..*end).unwrap_or_default());
                }
                classes = classes.with(*class);
                plan.push(*class as u8);
            }
            Op::Object(Some(n)) => {
                plan.push(OBJECT);
                name(&mut plan, n);
            }
            Op::Object(None) => plan.push(ITEM),
            Op::Array(n) => {
                if let Some((Op::Object(None), after)) = rest.split_first() {
                    rest = after;
                    plan.push(ARRAY_ITEM);
                } else {
                    plan.push(ARRAY);
                }
                name(&mut plan, n);
            }
            Op::Close => match rest.split_first() {
                Some((Op::Close, after)) => {
                    rest = after;
                    plan.push(CLOSE_TWICE);
                }
                Some((Op::Object(None), after)) => {
                    rest = after;
                    plan.push(NEXT_ITEM);
                }
                _ => plan.push(CLOSE),
            },
            Op::TagMember => plan.push(TAG_MEMBER),
            Op::TagItem => plan.push(TAG_ITEM),
            Op::MetaMember => plan.push(META_MEMBER),
        }
    }
    let segments =
        DataClass::ALL.into_iter().zip(segments).filter(|(c, _)| classes.has(*c)).collect();
    Split { plan, segments, classes }
}

fn varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or_default());
}

fn name(plan: &mut Vec<u8>, name: &str) {
    if let Some(n) = names().1.get(name) {
        plan.push(*n);
    } else {
        plan.push(INLINE);
        varint(plan, name.len());
        plan.extend_from_slice(name.as_bytes());
    }
}

struct Frame {
    /// Where the container begins in the body, its comma included.
    start: usize,
    filled: bool,
    end: u8,
}

struct Splicer {
    body: Vec<u8>,
    frames: Vec<Frame>,
}

pub(super) fn splice<'s>(
    plan: &[u8],
    classes: ClassSet,
    known: &Known,
    segment: &dyn Fn(DataClass) -> Option<Piece<'s>>,
    mark: Mark,
) -> Result<Spliced, Error> {
    // What is left of each segment that is given.
    let mut given: [Option<Expander<'s>>; 12] = Default::default();
    let mut withheld = ClassSet::NONE;
    let mut size = 2 + TAG.len() + 24;
    for class in classes.iter() {
        match segment(class) {
            Some(piece) => {
                size += piece.text.len() / 3 * 4 + 4 * piece.dense.len() + 64;
                if let Some(slot) = given.get_mut(class as usize) {
                    *slot = Some(Expander::new(piece));
                }
            }
            None => withheld = withheld.with(class),
        }
    }
    let tag = mark == Mark::Subsetted && !withheld.is_empty();
    let mut s = Splicer { body: Vec::with_capacity(size + plan.len() * 4), frames: Vec::new() };
    s.body.push(b'{');
    s.frames.push(Frame { start: 0, filled: false, end: b'}' });
    let mut plan = plan;
    while let Some((op, rest)) = plan.split_first() {
        plan = rest;
        match *op {
            0..CLOSE => {
                let class = DataClass::from_number(*op).map_err(|_| DAMAGED)?;
                if !classes.has(class) {
                    return Err(DAMAGED);
                }
                if let Some(Some(left)) = given.get_mut(class as usize) {
                    s.part()?;
                    left.leaf(known, &mut s.body)?;
                }
            }
            CLOSE => s.close()?,
            ITEM => s.open(None, b"{", b'}')?,
            OBJECT => {
                let name = read_name(&mut plan)?;
                s.open(Some(name), b"{", b'}')?;
            }
            ARRAY => {
                let name = read_name(&mut plan)?;
                s.open(Some(name), b"[", b']')?;
            }
            ARRAY_ITEM => {
                let name = read_name(&mut plan)?;
                s.open(Some(name), b"[", b']')?;
                s.open(None, b"{", b'}')?;
            }
            CLOSE_TWICE => {
                s.close()?;
                s.close()?;
            }
            NEXT_ITEM => {
                s.close()?;
                s.open(None, b"{", b'}')?;
            }
            TAG_MEMBER | TAG_ITEM | META_MEMBER => {
                if tag {
                    let (before, after): (&[u8], &[u8]) = match *op {
                        TAG_MEMBER => (b"\"tag\":[", b"]"),
                        META_MEMBER => (b"\"meta\":{\"tag\":[", b"]}"),
                        _ => (b"", b""),
                    };
                    s.part()?;
                    s.body.extend_from_slice(before);
                    s.body.extend_from_slice(TAG);
                    s.body.extend_from_slice(after);
                }
            }
            _ => return Err(DAMAGED),
        }
    }
    if s.frames.len() != 1 || given.iter().flatten().any(|left| !left.is_done()) {
        return Err(DAMAGED);
    }
    s.body.push(b'}');
    Ok(Spliced { body: s.body, withheld })
}

impl Splicer {
    /// Makes room for one more part of the innermost container.
    fn part(&mut self) -> Result<(), Error> {
        let frame = self.frames.last_mut().ok_or(DAMAGED)?;
        if frame.filled {
            self.body.push(b',');
        }
        frame.filled = true;
        Ok(())
    }

    fn open(&mut self, name: Option<&[u8]>, bracket: &[u8], end: u8) -> Result<(), Error> {
        let start = self.body.len();
        if self.frames.last().ok_or(DAMAGED)?.filled {
            self.body.push(b',');
        }
        if let Some(name) = name {
            self.body.push(b'"');
            self.body.extend_from_slice(name);
            self.body.extend_from_slice(b"\":");
        }
        self.body.extend_from_slice(bracket);
        self.frames.push(Frame { start, filled: false, end });
        Ok(())
    }

    /// Closes the innermost container, or takes it back when nothing is in it.
    fn close(&mut self) -> Result<(), Error> {
        let frame = self.frames.pop().ok_or(DAMAGED)?;
        let outer = self.frames.last_mut().ok_or(DAMAGED)?;
        if frame.filled {
            self.body.push(frame.end);
            outer.filled = true;
        } else {
            self.body.truncate(frame.start);
        }
        Ok(())
    }
}

fn read_varint(from: &mut &[u8]) -> Result<usize, Error> {
    let mut n = 0_usize;
    for shift in (0..35).step_by(7) {
        let (b, rest) = from.split_first().ok_or(DAMAGED)?;
        *from = rest;
        n |= usize::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(DAMAGED)
}

fn read_name<'p>(from: &mut &'p [u8]) -> Result<&'p [u8], Error> {
    let (n, rest) = from.split_first().ok_or(DAMAGED)?;
    *from = rest;
    if *n != INLINE {
        return names().0.get(usize::from(*n)).map(|s| s.as_bytes()).ok_or(DAMAGED);
    }
    let len = read_varint(from)?;
    let (name, rest) = from.split_at_checked(len).ok_or(DAMAGED)?;
    // A name ends up between quotes.
    if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return Err(DAMAGED);
    }
    *from = rest;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_once_and_fit() {
        let (list, by_name) = names();
        assert_eq!(list.len(), by_name.len());
        assert!(list.len() < usize::from(INLINE));
    }

    #[test]
    fn names_keep_their_numbers() {
        // FNV-1a of the names that plans may already carry. Append; never change these.
        let first = names().0.get(..201).unwrap().join("\n");
        let sum = first.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(
            sum, 18191452910663986437,
            "a name moved: plans sealed before would join wrongly"
        );
    }

    fn splice<'s>(
        plan: &[u8],
        classes: ClassSet,
        segment: &dyn Fn(DataClass) -> Option<&'s [u8]>,
    ) -> Result<Spliced, Error> {
        let known = Known::new("a", None, 0);
        let piece = |c| segment(c).map(|text| Piece { dense: &[], text });
        super::splice(plan, classes, &known, &piece, Mark::Subsetted)
    }

    #[test]
    fn the_bytes_of_version_2_are_frozen() {
        use DataClass::{Administrative, Notes};
        let text = r#"{"id":"a","x_y":[{"k":1,"n":"b"}]}"#;
        let ops = [
            Op::Leaf(Administrative, 1, 9),
            Op::Array("x_y"),
            Op::Object(None),
            Op::Leaf(Administrative, 18, 23),
            Op::Leaf(Notes, 24, 31),
            Op::Close,
            Op::Close,
            Op::MetaMember,
        ];
        let split = write(&ops, text);
        assert_eq!(split.plan, [0, 0x17, 255, 3, b'x', b'_', b'y', 0, 10, 0x18, 0x16]);
        assert_eq!(split.segments[0].1, b"\"id\":\"a\"\0\"k\":1");
        let get = |c| split.segments.iter().find(|(s, _)| *s == c).map(|(_, b)| b.as_slice());
        assert_eq!(splice(&split.plan, split.classes, &get).unwrap().body, text.as_bytes());
        let notes = |c| if c == Notes { get(c) } else { None };
        let part = splice(&split.plan, split.classes, &notes).unwrap();
        let want = format!(
            r#"{{"x_y":[{{"n":"b"}}],"meta":{{"tag":[{}]}}}}"#,
            std::str::from_utf8(TAG).unwrap()
        );
        assert_eq!(String::from_utf8(part.body).unwrap(), want);
        assert_eq!(part.withheld, ClassSet::of(Administrative));
        let known = Known::new("a", None, 0);
        let notes = |c| notes(c).map(|text| Piece { dense: &[], text });
        let quiet =
            super::splice(&split.plan, split.classes, &known, &notes, Mark::Nothing).unwrap();
        assert_eq!(quiet.body, br#"{"x_y":[{"n":"b"}]}"#);
    }

    #[test]
    fn a_damaged_plan_is_refused() {
        let none = |_| None;
        for bad in [
            &[CLOSE][..],
            &[ITEM],
            &[0x1a],
            &[0xff],
            &[12],
            &[OBJECT],
            &[OBJECT, 254, CLOSE],
            &[OBJECT, 255, 1, b'"', CLOSE],
            &[1],
        ] {
            assert!(splice(bad, ClassSet::NONE, &none).is_err(), "{bad:?}");
        }
        let one = ClassSet::of(DataClass::Administrative);
        assert!(splice(&[0], one, &|_| Some(b"a")).is_ok());
        assert!(splice(&[0], one, &|_| Some(b"a\0b")).is_err(), "leaves left over");
        assert!(splice(&[0, 0], one, &|_| Some(b"a")).is_err(), "leaves missing");
        assert!(splice(&[], one, &|_| Some(b"")).is_err(), "a segment that no leaf is of");
    }
}
