//! Claims and explanations of benefit: one of each a visit, and a second claim where
//! there is a second insurer.

use super::Chart;
use super::insurance::Cover;
use super::plan::{Kind, Visit};
use crate::catalog::place::MEDICAID;
use crate::day::TODAY;
use crate::json::{put, set};
use crate::shape::{Concept, Id, Money, Ref, Shown, Told, hl7, icd, sct};

impl<'a> Chart<'a> {
    pub(super) fn claims(&mut self) {
        let Some(cover) = self.covers.first().copied() else { return };
        for at in 0..self.visits.len() {
            let Some(visit) = self.visits.get(at).cloned() else { continue };
            let id = self.id();
            let billed = self.price(&visit);
            self.claim(&visit, id, cover, billed);
            if let Some(payer) = cover.payer
                && visit.last_day().plus(21) <= TODAY
            {
                self.benefit(&visit, id, cover, payer, billed);
            }
        }
    }

    /// What a visit costs, in cents.
    fn price(&mut self, visit: &Visit<'a>) -> i64 {
        let base = match visit.kind {
            Kind::Wellness => 17_500,
            Kind::FollowUp | Kind::Acute => 12_900,
            Kind::Virtual => 8_400,
            Kind::Home => 15_400,
            Kind::Emergency => 88_000,
            Kind::Newborn => 310_000,
            Kind::Inpatient | Kind::Birth => 242_000 * (visit.minutes / 1440).max(1),
        };
        base + self.dice.between(0, base / 8) / 5 * 5
    }

    fn diagnosis(&mut self, visit: &Visit<'a>) {
        let Some(has) = &visit.about else { return };
        set!(self.out, "diagnosis": [{
            "sequence": 1_i64,
            "diagnosisCodeableConcept": (Told(icd(has.illness.icd, has.illness.icd_display))),
        }]);
    }

    /// What claim and explanation begin with alike.
    fn bill(
        &mut self,
        kind: &'static str,
        id: Id,
        visit: &Visit<'a>,
        days: i64,
        payer: Option<usize>,
    ) {
        self.begin(kind, id, "", visit.labels());
        self.identifier("claim", "C");
        let (code, display) = if visit.stays() {
            ("institutional", "Institutional")
        } else {
            ("professional", "Professional")
        };
        set!(self.out,
            "status": "active",
            "type": (Told(hl7("claim-type", code, display))),
            "use": "claim",
            "patient": (self.subject_shown()),
            "billablePeriod": { "start": (visit.day), "end": (visit.last_day()) },
            "created": (visit.last_day().plus(days).min(TODAY)),
        );
        if let Some(payer) = payer {
            set!(self.out, "insurer": (self.payer_reference(payer)));
        }
        set!(self.out,
            "provider": (Shown("Organization", visit.dept.organization, visit.dept.name)),
        );
    }

    fn billed_by(&mut self, visit: &Visit<'a>) {
        set!(self.out, "careTeam": [{
            "sequence": 1_i64,
            "provider": (visit.worker.reference()),
            "responsible": true,
            "role": (Concept(hl7("claimcareteamrole", "primary", "Primary provider"))),
        }]);
    }

    /// Opens the one item; adjudication may follow within.
    fn item(&mut self, visit: &Visit<'a>, billed: i64) {
        let (code, display) = visit.kind_code(self.p.age(visit.day) < 18);
        set!(self.out, "sequence": 1_i64, "careTeamSequence": [1_i64]);
        if visit.about.is_some() {
            set!(self.out, "diagnosisSequence": [1_i64]);
        }
        set!(self.out,
            "productOrService": (Told(sct(code, display))),
            "servicedDate": (visit.day),
            "quantity": { "value": 1_i64 },
            "unitPrice": (Money(billed)),
            "net": (Money(billed)),
            "encounter": [(Ref("Encounter", visit.id))],
        );
    }

    fn claim(&mut self, visit: &Visit<'a>, id: Id, cover: Cover, billed: i64) {
        self.bill("Claim", id, visit, 1, cover.payer);
        self.status("priority", "processpriority", "normal", "Normal");
        self.billed_by(visit);
        self.diagnosis(visit);
        self.out.key("insurance");
        self.out.open('[');
        for (at, one) in self.covers.iter().enumerate() {
            put!(self.out, {
                "sequence": (at as i64 + 1), "focal": (at == 0),
                "coverage": (Ref("Coverage", one.id)),
            });
        }
        self.out.close(']');
        self.out.key("item");
        self.out.open('[');
        self.out.open('{');
        self.item(visit, billed);
        self.out.close('}');
        self.out.close(']');
        set!(self.out, "total": (Money(billed)));
        self.end("Claim", id);
    }

    fn part(&mut self, code: &str, display: &str, cents: i64) {
        put!(self.out, {
            "category": (Told(hl7("adjudication", code, display))), "amount": (Money(cents)),
        });
    }

    fn benefit(&mut self, visit: &Visit<'a>, claim: Id, cover: Cover, payer: usize, billed: i64) {
        let id = self.id();
        let allowed = billed * self.dice.between(62, 88) / 100;
        let copay = match (payer, visit.kind) {
            (MEDICAID, _) | (_, Kind::Wellness | Kind::Newborn) => 0,
            (_, Kind::Emergency) => 15_000,
            (_, Kind::Inpatient | Kind::Birth) => 25_000,
            _ => 2_500,
        }
        .min(allowed);
        let paid = allowed - copay;
        let settled = visit.last_day().plus(20).min(TODAY);
        self.bill("ExplanationOfBenefit", id, visit, 14, Some(payer));
        set!(self.out,
            "claim": (Ref("Claim", claim)),
            "outcome": "complete",
            "disposition": "Claim settled as per contract.",
        );
        self.billed_by(visit);
        self.diagnosis(visit);
        set!(self.out,
            "insurance": [{ "focal": true, "coverage": (Ref("Coverage", cover.id)) }],
        );
        self.out.key("item");
        self.out.open('[');
        self.out.open('{');
        self.item(visit, billed);
        self.out.key("adjudication");
        self.out.open('[');
        self.part("submitted", "Submitted Amount", billed);
        self.part("eligible", "Eligible Amount", allowed);
        self.part("copay", "CoPay", copay);
        self.part("benefit", "Benefit Amount", paid);
        self.out.close(']');
        self.out.close('}');
        self.out.close(']');
        self.out.key("total");
        self.out.open('[');
        self.part("submitted", "Submitted Amount", billed);
        self.part("benefit", "Benefit Amount", paid);
        self.out.close(']');
        self.out.key("payment");
        self.out.open('{');
        set!(self.out,
            "type": (Concept(hl7("ex-paymenttype", "complete", "Complete"))),
            "date": (settled),
            "amount": (Money(paid)),
            "identifier": {
                "system": (crate::shape::Sid("payment")), "value": (self.dice.digits(10)),
            },
        );
        self.out.close('}');
        self.end("ExplanationOfBenefit", id);
    }
}
