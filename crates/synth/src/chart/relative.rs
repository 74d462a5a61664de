//! Relatives: those at the same address, who may be patients themselves, and others.

use super::Chart;
use crate::day::{Day, TODAY};
use crate::directory::{Address, Home, given, phone};
use crate::household::{Member, Place};
use crate::json::{put, set};
use crate::shape::{Concept, Id, Sid, Told, hl7};

/// Someone related to the patient.
#[derive(Clone, Debug)]
pub(super) struct Relative {
    pub(super) id: Id,
    pub(super) given: &'static str,
    pub(super) family: String,
    /// HL7 v3-RoleCode: code and display.
    pub(super) relation: (&'static str, &'static str),
    /// How it is said within a sentence.
    pub(super) plain: &'static str,
    pub(super) phone: String,
    female: bool,
    birth: Day,
    /// At another address.
    away: Option<Home>,
    /// The record number, when this one is a patient too.
    mrn: Option<String>,
}

impl Relative {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.given, self.family)
    }

    /// Whether this one is of age.
    pub(super) fn grown(&self) -> bool {
        self.birth.years_to(TODAY) >= 18
    }
}

/// Relation code, display, and plain word.
type Relation = (&'static str, &'static str, &'static str);

/// What another member of the household is to the patient.
fn relation(me: &Member, other: &Member) -> Relation {
    use Place::{Child, Elder, Head, Mate, Partner};
    let by = |she: Relation, he: Relation| if other.female { she } else { he };
    match (me.place, other.place) {
        (Head, Partner) | (Partner, Head) if me.married => {
            by(("WIFE", "wife", "wife"), ("HUSB", "husband", "husband"))
        }
        (Head, Partner) | (Partner, Head) => ("DOMPART", "domestic partner", "partner"),
        (Head | Partner, Child) => by(("DAUC", "daughter", "daughter"), ("SONC", "son", "son")),
        (Child, Head | Partner) | (Head, Elder) => {
            by(("MTH", "mother", "mother"), ("FTH", "father", "father"))
        }
        (Child, Child) => by(("SIS", "sister", "sister"), ("BRO", "brother", "brother")),
        (Elder, Head) => by(("DAUC", "daughter", "daughter"), ("SONC", "son", "son")),
        (Elder, Partner) => by(
            ("DAUINLAW", "daughter in-law", "daughter-in-law"),
            ("SONINLAW", "son in-law", "son-in-law"),
        ),
        (Partner, Elder) => by(
            ("MTHINLAW", "mother-in-law", "mother-in-law"),
            ("FTHINLAW", "father-in-law", "father-in-law"),
        ),
        (Elder, Child) => {
            by(("GRNDDAU", "granddaughter", "granddaughter"), ("GRNDSON", "grandson", "grandson"))
        }
        (Child, Elder) => {
            by(("GRMTH", "grandmother", "grandmother"), ("GRFTH", "grandfather", "grandfather"))
        }
        (Mate, _) | (_, Mate) => ("ROOM", "Roommate", "roommate"),
        _ => ("FAMMEMB", "family member", "relative"),
    }
}

impl Chart<'_> {
    /// Finds the relatives, nearest first.
    pub(super) fn find_relatives(&mut self) {
        let p = self.p;
        let me = p.member;
        let mut all: Vec<(u8, Relative)> = Vec::new();
        for other in p.household.members.iter().filter(|m| m.index != me.index) {
            let (code, display, plain) = relation(me, other);
            let rank = match plain {
                "wife" | "husband" | "partner" => 0,
                "mother" => 1,
                "father" => 2,
                "daughter" | "son" if other.age(TODAY) >= 18 => 3,
                _ if other.age(TODAY) >= 18 => 4,
                _ => 5,
            };
            let relative = Relative {
                id: self.id(),
                given: other.given,
                family: other.family.clone(),
                relation: (code, display),
                plain,
                phone: if other.age(TODAY) >= 14 {
                    other.mobile.clone()
                } else {
                    p.household.home.phone.clone()
                },
                female: other.female,
                birth: other.birth,
                away: None,
                mrn: Some(crate::person::record_number(self.d.seed, other.index)),
            };
            all.push((rank, relative));
        }
        all.sort_by_key(|(rank, r)| (*rank, r.birth));
        self.relatives = all.into_iter().map(|(_, r)| r).collect();
        let alone = self.relatives.iter().all(|r| r.birth.years_to(TODAY) < 18);
        if alone || (p.age(TODAY) >= 45 && self.dice.chance(250)) {
            self.outsider(alone);
        }
    }

    /// Someone who lives elsewhere and is no patient.
    fn outsider(&mut self, first: bool) {
        let p = self.p;
        let (age, heritage) = (p.age(TODAY), p.member.heritage);
        let female = self.dice.chance(560);
        let by = |she: Relation, he: Relation| if female { she } else { he };
        let ((code, display, plain), years) = match (age, self.dice.below(10)) {
            (48.., 0..=5) => (
                by(("DAUC", "daughter", "daughter"), ("SONC", "son", "son")),
                age - self.dice.between(22, 29),
            ),
            (..=34, 0..=5) => (
                by(("MTH", "mother", "mother"), ("FTH", "father", "father")),
                age + self.dice.between(22, 34),
            ),
            (_, 0..=7) => (
                by(("SIS", "sister", "sister"), ("BRO", "brother", "brother")),
                (age + self.dice.between(-6, 6)).max(19),
            ),
            _ => (("FRND", "unrelated friend", "friend"), (age + self.dice.between(-5, 5)).max(19)),
        };
        let birth = TODAY.plus(-(years * 36525 / 100) - self.dice.between(1, 364));
        let home = Home::draw(self.d.region, &mut self.dice);
        let own = plain != "friend" && (!female || self.dice.chance(450));
        let family = if own {
            p.member
                .maiden
                .clone()
                .filter(|_| plain != "daughter" && plain != "son")
                .unwrap_or_else(|| p.member.family.clone())
        } else {
            self.dice.pick::<&str>(&heritage.families).to_string()
        };
        let relative = Relative {
            id: self.id(),
            given: given(heritage, female, birth, &mut self.dice),
            family,
            relation: (code, display),
            plain,
            phone: phone(&mut self.dice, home.town),
            female,
            birth,
            away: Some(home),
            mrn: None,
        };
        if first {
            self.relatives.insert(0, relative);
        } else {
            self.relatives.push(relative);
        }
    }

    /// A RelatedPerson for each of those who matter: who is called, who decides.
    pub(super) fn related_persons(&mut self) {
        let p = self.p;
        let child = p.age(TODAY) < 18;
        for (at, r) in self.relatives.clone().into_iter().enumerate() {
            let parent = matches!(r.plain, "mother" | "father");
            if !r.grown() || (at > 1 && !(child && parent)) {
                continue;
            }
            self.begin("RelatedPerson", r.id, "us-core-relatedperson", p.labels);
            if let Some(mrn) = &r.mrn {
                set!(self.out, "identifier": [{
                    "type": (Concept(hl7("v2-0203", "MR", "Medical record number"))),
                    "system": (Sid("mrn")), "value": (mrn),
                }]);
            }
            set!(self.out,
                "active": true,
                "patient": (self.subject_shown()),
            );
            self.out.key("relationship");
            self.out.open('[');
            put!(self.out, (Told(hl7("v3-RoleCode", r.relation.0, r.relation.1))));
            if at == 0 {
                put!(self.out, (Told(hl7("v2-0131", "C", "Emergency Contact"))));
            }
            if child && parent {
                put!(self.out, (Told(hl7("v3-RoleCode", "GUARD", "guardian"))));
            }
            self.out.close(']');
            set!(self.out,
                "name": [{ "use": "official", "family": (r.family), "given": [(r.given)] }],
                "telecom": [{ "system": "phone", "value": (r.phone), "use": "mobile" }],
                "gender": (if r.female { "female" } else { "male" }),
                "birthDate": (r.birth),
            );
            let home = r.away.as_ref().unwrap_or(&p.household.home);
            set!(self.out, "address": [
                (Address("home", &home.line, home.town, &home.zip, self.d.region)),
            ]);
            self.end("RelatedPerson", r.id);
        }
    }

    /// Whom to call, within the Patient itself.
    pub(super) fn contact(&mut self) {
        let Some(r) = self.relatives.first().cloned() else { return };
        let home = r.away.clone().unwrap_or_else(|| self.p.household.home.clone());
        set!(self.out, "contact": [{
            "relationship": [
                (Told(hl7("v3-RoleCode", r.relation.0, r.relation.1))),
                (Concept(hl7("v2-0131", "C", "Emergency Contact"))),
            ],
            "name": { "family": (r.family), "given": [(r.given)] },
            "telecom": [{ "system": "phone", "value": (r.phone), "use": "mobile" }],
            "address": (Address("home", &home.line, home.town, &home.zip, self.d.region)),
            "gender": (if r.female { "female" } else { "male" }),
        }]);
    }
}
