//! Who pays: Coverages, a spouse's or child's through the one who is insured.

use super::Chart;
use crate::catalog::place::{COMMERCIAL, MEDICARE, PAYERS};
use crate::day::{Day, TODAY};
use crate::household::Place;
use crate::json::{put, set};
use crate::person::patient_id;
use crate::shape::{Concept, Id, Ref, Shown, Sid, Told, coding, hl7};

const SOPT: &str = "https://nahdo.org/sopt";

/// One Coverage as claims refer to it; no payer is the patient's own purse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cover {
    pub(super) id: Id,
    pub(super) payer: Option<usize>,
}

impl Chart<'_> {
    pub(super) fn insurances(&mut self) {
        let p = self.p;
        let payer = p.payer();
        self.coverage(payer, 1);
        if payer == Some(MEDICARE) && self.dice.chance(420) {
            let second = self.dice.between(COMMERCIAL as i64, PAYERS.len() as i64 - 1) as usize;
            self.coverage(Some(second), 2);
        }
    }

    /// The one through whom the patient is insured: a parent or the partner.
    fn subscriber(&self, payer: usize) -> Option<(Id, &'static str, &'static str)> {
        let p = self.p;
        let head = p.household.members.first()?;
        let through = payer >= COMMERCIAL && head.index != p.index && head.age(TODAY) < 65;
        let (code, display) = match p.member.place {
            Place::Child if p.age(TODAY) < 26 => ("child", "Child"),
            Place::Partner if p.member.married => ("spouse", "Spouse"),
            _ => return None,
        };
        through.then(|| (patient_id(self.d.seed, head.index), code, display))
    }

    pub(super) fn payer_reference(&self, payer: usize) -> Shown<'static> {
        let name = PAYERS.get(payer).map_or("", |p| p.name);
        Shown("Organization", self.d.payers.get(payer).copied().unwrap_or_default(), name)
    }

    fn coverage(&mut self, payer: Option<usize>, order: i64) {
        let p = self.p;
        let id = self.id();
        self.covers.push(Cover { id, payer });
        let birth = p.member.birth;
        let since = TODAY.plus(-self.dice.between(400, 2400)).max(birth);
        let since = if payer == Some(MEDICARE) {
            // From the first of the month in which one turns 65.
            let (year, month, _) = birth.parts();
            Day::new(year + 65, month, 1)
        } else {
            since
        };
        self.begin("Coverage", id, "us-core-coverage", &[]);
        let Some((at, row)) = payer.and_then(|at| Some((at, PAYERS.get(at)?))) else {
            set!(self.out,
                "status": "active",
                "type": (Told(hl7("coverage-selfpay", "pay", "Pay"))),
                "beneficiary": (self.subject()),
                "relationship": (Concept(hl7("subscriber-relationship", "self", "Self"))),
                "period": { "start": (since) },
                "payor": [(self.subject_shown())],
            );
            self.end("Coverage", id);
            return;
        };
        let through = self.subscriber(at);
        let number = format!("{}{}", row.prefix, p.household.member_number);
        let place = p.household.members.iter().position(|m| m.index == p.index).unwrap_or(0) + 1;
        let dependent = format!("{place:02}");
        let (relation, shown) = through.map_or(("self", "Self"), |(_, code, shown)| (code, shown));
        set!(self.out,
            "identifier": [{
                "type": (Told(hl7("v2-0203", "MB", "Member Number"))),
                "system": (Sid("member")),
                "value": (format!("{number}-{dependent}")),
            }],
            "status": (if p.alive() { "active" } else { "cancelled" }),
            "type": {
                "coding": [
                    (hl7("v3-ActCode", row.act, row.act_display)),
                    (coding(SOPT, row.typology, row.typology_display)),
                ],
                "text": (row.name),
            },
        );
        set!(self.out,
            "subscriber": (Ref("Patient", through.map_or(p.id, |t| t.0))),
            "subscriberId": (number),
            "beneficiary": (self.subject()),
            "dependent": (dependent),
            "relationship": (Concept(hl7("subscriber-relationship", relation, shown))),
        );
        self.out.key("period");
        self.out.open('{');
        set!(self.out, "start": (since));
        if let Some(died) = p.died {
            set!(self.out, "end": (died.max(since)));
        }
        self.out.close('}');
        set!(self.out, "payor": [(self.payer_reference(at))]);
        self.out.key("class");
        self.out.open('[');
        if at >= COMMERCIAL && !p.employer.is_empty() && p.job != "retired" && through.is_none() {
            put!(self.out, {
                "type": (Told(hl7("coverage-class", "group", "Group"))),
                "value": (format!("G{:05}", p.employer.len() * 613 + at * 17)),
                "name": (p.employer),
            });
        }
        put!(self.out, {
            "type": (Told(hl7("coverage-class", "plan", "Plan"))),
            "value": (format!("{}-{}", row.act, 10 + at)),
            "name": (row.name),
        });
        self.out.close(']');
        set!(self.out, "order": (order));
        self.end("Coverage", id);
    }
}
