//! The small FHIR shapes that every resource is made of. Every resource begins here,
//! so none can be without its HTEST label.

use crate::dice::Dice;
use crate::json::{Decimal, Json, Put, put, set};

const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem/";
const SNOMED: &str = "http://snomed.info/sct";
const UCUM: &str = "http://unitsofmeasure.org";
pub(crate) const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";
/// The root of this world's own identifier systems.
pub(crate) const SID: &str = "https://phial.example/sid/";

/// Sensitivity labels: v3-ActCode codes.
pub(crate) type Labels = &'static [&'static str];

/// A logical id: UUID-shaped (RFC 9562, version 8: the bits are our own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Id(u64, u64);

impl Id {
    /// The next id of a stream.
    pub(crate) fn draw(dice: &mut Dice) -> Id {
        let high = dice.next() & !0xf000 | 0x8000;
        Id(high, dice.next() & !(0b11 << 62) | 1 << 63)
    }

    /// The id of one named thing of a seed.
    pub(crate) fn of(seed: u64, name: &str, number: u64) -> Id {
        Id::draw(&mut Dice::new(seed, name, number))
    }

    pub(crate) fn write(self, to: &mut String) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for (at, word) in [self.0, self.1].into_iter().enumerate() {
            for nibble in 0..16 {
                if (at == 0 && (nibble == 8 || nibble == 12)) || (at == 1 && nibble == 4) {
                    to.push('-');
                }
                let digit = (word >> (60 - 4 * nibble) & 15) as usize;
                to.push(char::from(HEX.get(digit).copied().unwrap_or(b'0')));
            }
            if at == 0 {
                to.push('-');
            }
        }
    }

    /// Half of its bits, as a number.
    pub(crate) const fn low(self) -> u64 {
        self.1
    }

    /// The id as text.
    pub(crate) fn text(self) -> String {
        let mut text = String::with_capacity(36);
        self.write(&mut text);
        text
    }
}

impl Put for Id {
    fn put(&self, to: &mut Json) {
        to.bare(|out| {
            out.push('"');
            self.write(out);
            out.push('"');
        });
    }
}

/// A relative literal reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ref(pub(crate) &'static str, pub(crate) Id);

fn reference_member(to: &mut Json, kind: &str, id: Id) {
    to.key("reference");
    to.bare(|out| {
        out.push('"');
        out.push_str(kind);
        out.push('/');
        id.write(out);
        out.push('"');
    });
}

impl Put for Ref {
    fn put(&self, to: &mut Json) {
        to.open('{');
        reference_member(to, self.0, self.1);
        to.close('}');
    }
}

/// A relative literal reference with what to show for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a>(pub(crate) &'static str, pub(crate) Id, pub(crate) &'a str);

impl Put for Shown<'_> {
    fn put(&self, to: &mut Json) {
        to.open('{');
        reference_member(to, self.0, self.1);
        set!(*to, "display": (self.2));
        to.close('}');
    }
}

/// A Coding: the beginning of the system's address, its rest, code, display.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coding<'a>(&'static str, &'a str, &'a str, &'a str);

impl Put for Coding<'_> {
    fn put(&self, to: &mut Json) {
        let Coding(base, system, code, display) = *self;
        to.open('{');
        to.key("system");
        to.pieces(&[base, system]);
        set!(*to, "code": (code));
        if !display.is_empty() {
            set!(*to, "display": (display));
        }
        to.close('}');
    }
}

impl<'a> Coding<'a> {
    /// The display.
    pub(crate) const fn shown(&self) -> &'a str {
        self.3
    }
}

/// A Coding of any system.
pub(crate) const fn coding<'a>(system: &'a str, code: &'a str, display: &'a str) -> Coding<'a> {
    Coding("", system, code, display)
}

/// A Coding of an HL7 terminology code system, named by the end of its address.
pub(crate) const fn hl7<'a>(system: &'a str, code: &'a str, display: &'a str) -> Coding<'a> {
    Coding(TERMINOLOGY, system, code, display)
}

/// A Coding of LOINC.
pub(crate) const fn loinc<'a>(code: &'a str, display: &'a str) -> Coding<'a> {
    Coding("", "http://loinc.org", code, display)
}

/// A Coding of SNOMED CT.
pub(crate) const fn sct<'a>(code: &'a str, display: &'a str) -> Coding<'a> {
    Coding("", SNOMED, code, display)
}

/// A Coding of ICD-10-CM.
pub(crate) const fn icd<'a>(code: &'a str, display: &'a str) -> Coding<'a> {
    Coding("", "http://hl7.org/fhir/sid/icd-10-cm", code, display)
}

/// A CodeableConcept of one Coding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concept<'a>(pub(crate) Coding<'a>);

impl Put for Concept<'_> {
    fn put(&self, to: &mut Json) {
        put!(*to, { "coding": [(self.0)] });
    }
}

/// A CodeableConcept of one Coding with its plain text: the display without the
/// semantic tag that SNOMED CT appends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a>(pub(crate) Coding<'a>);

impl Put for Told<'_> {
    fn put(&self, to: &mut Json) {
        put!(*to, { "coding": [(self.0)], "text": (untagged(self.0.3)) });
    }
}

/// A display without its semantic tag.
pub(crate) fn untagged(display: &str) -> &str {
    match display.rfind(" (") {
        Some(at) if display.ends_with(')') => display.get(..at).unwrap_or(display),
        _ => display,
    }
}

/// A Quantity in UCUM: count, decimals, unit, code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity<'a>(
    pub(crate) i64,
    pub(crate) u32,
    pub(crate) &'a str,
    pub(crate) &'a str,
);

impl Put for Quantity<'_> {
    fn put(&self, to: &mut Json) {
        let Quantity(count, decimals, unit, code) = *self;
        put!(*to, {
            "value": (Decimal(count, decimals)), "unit": (unit), "system": (UCUM), "code": (code),
        });
    }
}

/// US dollars, from cents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Money(pub(crate) i64);

impl Put for Money {
    fn put(&self, to: &mut Json) {
        put!(*to, { "value": (Decimal(self.0, 2)), "currency": "USD" });
    }
}

/// An address of this world's own identifier systems.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sid<'a>(pub(crate) &'a str);

impl Put for Sid<'_> {
    fn put(&self, to: &mut Json) {
        to.pieces(&[SID, self.0]);
    }
}

/// `meta.security`: HTEST and the labels given.
fn security(to: &mut Json, labels: &[&str]) {
    to.key("security");
    to.open('[');
    put!(*to, { "system": (ACT_REASON), "code": "HTEST" });
    for label in labels {
        put!(*to, { "system": (ACT_CODE), "code": (*label) });
    }
    to.close(']');
}

/// Begins a Bundle entry and the resource in it, up to `meta`.
pub(crate) fn begin(to: &mut Json, kind: &str, id: Id, profile: &str, labels: Labels) {
    to.open('{');
    to.key("resource");
    to.open('{');
    set!(*to, "resourceType": (kind), "id": (id));
    to.key("meta");
    to.open('{');
    if !profile.is_empty() {
        to.key("profile");
        to.open('[');
        to.pieces(&[US_CORE, profile]);
        to.close(']');
    }
    security(to, labels);
    to.close('}');
}

/// Ends the resource and its entry: a PUT, so that a second import changes nothing.
pub(crate) fn end(to: &mut Json, kind: &str, id: Id) {
    to.close('}');
    to.key("request");
    to.open('{');
    set!(*to, "method": "PUT");
    to.key("url");
    to.bare(|out| {
        out.push('"');
        out.push_str(kind);
        out.push('/');
        id.write(out);
        out.push('"');
    });
    to.close('}');
    to.close('}');
}

/// Begins a transaction Bundle, up to its first entry.
pub(crate) fn begin_bundle(id: Id, capacity: usize) -> Json {
    let mut to = Json::with_capacity(capacity);
    to.open('{');
    set!(to, "resourceType": "Bundle", "id": (id));
    to.key("meta");
    to.open('{');
    security(&mut to, &[]);
    to.close('}');
    set!(to, "type": "transaction");
    to.key("entry");
    to.open('[');
    to
}

/// Ends it.
pub(crate) fn end_bundle(mut to: Json) -> String {
    to.close(']');
    to.close('}');
    to.into_text()
}

/// Text as the value of an element that wants base64 (RFC 4648 section 4).
pub(crate) fn base64(bytes: &[u8], to: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    to.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS.get((word >> (18 - 6 * i) & 63) as usize).copied();
            let shown = i <= chunk.len();
            to.push(char::from(digit.filter(|_| shown).unwrap_or(b'=')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_rfc_s_vectors() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = String::new();
            base64(plain.as_bytes(), &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn ids_are_uuids_of_version_8() {
        let mut dice = Dice::new(3, "uuid", 1);
        for _ in 0..100 {
            let id = Id::draw(&mut dice).text();
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'8');
            assert!(b"89ab".contains(&id.as_bytes()[19]));
            for at in [8, 13, 18, 23] {
                assert_eq!(id.as_bytes()[at], b'-');
            }
        }
    }

    #[test]
    fn semantic_tags_are_left_out_of_texts() {
        assert_eq!(untagged("Asthma (disorder)"), "Asthma");
        assert_eq!(untagged("Hep B, adult"), "Hep B, adult");
    }
}
