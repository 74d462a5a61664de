//! Chance by seed, and the resources that the load writes.
//!
//! Every body is unlike every other: it carries the number of its operation, so a
//! version that is found says which operation made it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use crate::fixture::PEOPLE;

/// The naming system of the identifiers by which the load finds its records again.
pub const SYSTEM: &str = "urn:phial:torture";

/// A reproducible sequence (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed and these coordinates (cycle, client...).
    #[must_use]
    pub fn new(seed: u64, at: [u64; 2]) -> Self {
        let mut h = DefaultHasher::new();
        (seed, at).hash(&mut h);
        Dice(h.finish())
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when there is none.
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `all`; `None` when there is none.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.below(all.len() as u64);
        all.get(usize::try_from(at).unwrap_or(0))
    }
}

/// A fingerprint of what a resource says: without what the server adds (id, meta) and
/// without its subject, whose id may be the server's own.
#[must_use]
pub fn fingerprint(resource: &Value) -> u64 {
    let mut plain = resource.clone();
    if let Some(members) = plain.as_object_mut() {
        for gone in ["id", "meta", "subject"] {
            members.shift_remove(gone);
        }
    }
    let mut h = DefaultHasher::new();
    plain.to_string().hash(&mut h);
    h.finish()
}

fn identifier(marker: &str) -> Value {
    json!([{"system": SYSTEM, "value": marker}])
}

/// An Observation about one of the fixture's patients. `marker` is its identifier,
/// `n` the number of the operation that writes it.
#[must_use]
pub fn observation(dice: &mut Dice, marker: &str, n: u64) -> Value {
    let person = dice.pick(&PEOPLE).map_or("", |p| p.id);
    json!({"resourceType": "Observation", "status": "final",
        "identifier": identifier(marker),
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": format!("Patient/{person}")},
        "effectiveDateTime": format!("20{:02}-0{}-1{}T08:30:00Z",
            dice.below(25), dice.below(9) + 1, dice.below(9)),
        "valueQuantity": {"value": dice.below(200), "unit": "/min",
            "system": "http://unitsofmeasure.org", "code": "/min"},
        "note": [{"text": format!("operation {n} {}", "of the load ".repeat(
            usize::try_from(dice.below(40)).unwrap_or(0)))}]})
}

/// A Patient.
#[must_use]
pub fn patient(dice: &mut Dice, marker: &str, n: u64) -> Value {
    json!({"resourceType": "Patient", "identifier": identifier(marker),
        "name": [{"family": format!("Torture{n}"), "given": ["Load"]}],
        "gender": "unknown", "birthDate": format!("19{:02}-01-01", dice.below(99))})
}

/// What several clients try to create at once: the same for all of them.
#[must_use]
pub fn contested(marker: &str) -> Value {
    json!({"resourceType": "Observation", "status": "preliminary",
        "identifier": identifier(marker), "code": {"text": "contested"},
        "subject": {"reference": format!("Patient/{}", PEOPLE.first().map_or("", |p| p.id))}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same_and_fingerprints_tell_bodies_apart() {
        let roll = |seed| {
            let mut d = Dice::new(seed, [1, 2]);
            (0..8).map(|_| d.roll()).collect::<Vec<_>>()
        };
        assert_eq!(roll(5), roll(5));
        assert_ne!(roll(5), roll(6));
        let mut d = Dice::new(1, [0, 0]);
        let a = observation(&mut d, "m", 1);
        let mut stored = a.clone();
        stored["id"] = json!("x");
        stored["meta"] = json!({"versionId": "1"});
        assert_eq!(fingerprint(&a), fingerprint(&stored));
        assert_ne!(fingerprint(&a), fingerprint(&observation(&mut d, "m", 2)));
    }
}
