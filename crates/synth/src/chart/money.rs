//! Claims and explanations of benefit, one of each a visit.

use serde_json::{Value, json};

use super::{Chart, Kind, Visit};
use crate::person::{TODAY, plus};
use crate::shape::{ICD10, Resource, coding, concept, hl7, money, reference, shown, snomed};

impl Chart<'_> {
    pub(super) fn claims(&mut self) {
        for visit in self.visits.clone() {
            let id = self.ids.uuid();
            let billed = self.price(&visit);
            self.claim(&visit, &id, billed);
            if plus(visit.last_day(), 21) <= TODAY {
                self.benefit(&visit, &id, billed);
            }
        }
    }

    /// What a visit costs, in cents.
    fn price(&mut self, visit: &Visit<'_>) -> i64 {
        let base = match visit.kind {
            Kind::Wellness => 17_500,
            Kind::FollowUp | Kind::Acute => 12_900,
            Kind::Home => 15_400,
            Kind::Emergency => 88_000,
            Kind::Inpatient => 942_000,
        };
        base + self.dice.between(0, base / 8) / 5 * 5
    }

    fn diagnosis(visit: &Visit<'_>) -> Option<Value> {
        let has = visit.about.as_ref()?;
        let (code, display) = (has.illness.icd, has.illness.icd_display);
        Some(json!([{
            "sequence": 1,
            "diagnosisCodeableConcept": concept(coding(ICD10, code, display)),
        }]))
    }

    /// What claim and explanation begin with alike.
    fn bill(&mut self, kind: &'static str, id: String, visit: &Visit<'_>, days: i64) -> Resource {
        let mut r = Resource::new(kind, id, visit.labels());
        let number = self.identifier("claim");
        let (code, display) = if visit.kind == Kind::Inpatient {
            ("institutional", "Institutional")
        } else {
            ("professional", "Professional")
        };
        r.set("identifier", number)
            .set("status", "active")
            .set("type", concept(hl7("claim-type", code, display)))
            .set("use", "claim")
            .set("patient", self.subject())
            .set(
                "billablePeriod",
                json!({
                    "start": visit.day.to_string(),
                    "end": visit.last_day().to_string(),
                }),
            )
            .set("created", plus(visit.last_day(), days).min(TODAY).to_string())
            .set("insurer", self.payer_reference())
            .set("provider", shown("Organization", &visit.clinic.organization, visit.clinic.name));
        r
    }

    fn item(&self, visit: &Visit<'_>, billed: i64) -> Value {
        let (code, display) = visit.kind_code(self.person.age(visit.day) < 18);
        let mut item = json!({
            "sequence": 1,
            "productOrService": snomed(code, display),
            "servicedDate": visit.day.to_string(),
            "quantity": { "value": 1 },
            "unitPrice": money(billed),
            "net": money(billed),
            "encounter": [reference("Encounter", &visit.id)],
        });
        if let (Some(map), true) = (item.as_object_mut(), visit.about.is_some()) {
            map.insert("diagnosisSequence".to_owned(), json!([1]));
        }
        item
    }

    fn claim(&mut self, visit: &Visit<'_>, id: &str, billed: i64) {
        let mut r = self.bill("Claim", id.to_owned(), visit, 1);
        r.set("priority", concept(hl7("processpriority", "normal", "Normal")))
            .set(
                "careTeam",
                json!([{
                    "sequence": 1,
                    "provider": visit.worker.reference(),
                    "responsible": true,
                }]),
            )
            .set_some("diagnosis", Self::diagnosis(visit))
            .set(
                "insurance",
                json!([{
                    "sequence": 1,
                    "focal": true,
                    "coverage": reference("Coverage", &self.coverage),
                }]),
            )
            .set("item", json!([self.item(visit, billed)]))
            .set("total", money(billed));
        self.push(r);
    }

    fn benefit(&mut self, visit: &Visit<'_>, claim: &str, billed: i64) {
        let id = self.ids.uuid();
        let allowed = billed * self.dice.between(62, 88) / 100;
        let copay = match (self.payer(), visit.kind) {
            (1, _) | (_, Kind::Wellness) => 0,
            (_, Kind::Emergency) => 15_000,
            (_, Kind::Inpatient) => 25_000,
            _ => 2_500,
        }
        .min(allowed);
        let paid = allowed - copay;
        let part = |code: &str, display: &str, cents: i64| {
            json!({
                "category": concept(hl7("adjudication", code, display)),
                "amount": money(cents),
            })
        };
        let adjudication = json!([
            part("submitted", "Submitted Amount", billed),
            part("eligible", "Eligible Amount", allowed),
            part("copay", "CoPay", copay),
            part("benefit", "Benefit Amount", paid),
        ]);
        let mut item = self.item(visit, billed);
        if let Some(map) = item.as_object_mut() {
            map.insert("adjudication".to_owned(), adjudication);
        }
        let check = self.identifier("payment");
        let mut r = self.bill("ExplanationOfBenefit", id, visit, 14);
        r.set("claim", reference("Claim", claim))
            .set("outcome", "complete")
            .set("disposition", "Claim settled as per contract.")
            .set_some("diagnosis", Self::diagnosis(visit))
            .set(
                "insurance",
                json!([{ "focal": true, "coverage": reference("Coverage", &self.coverage) }]),
            )
            .set("item", json!([item]))
            .set(
                "total",
                json!([
                    part("submitted", "Submitted Amount", billed),
                    part("benefit", "Benefit Amount", paid),
                ]),
            )
            .set(
                "payment",
                json!({
                    "type": concept(hl7("ex-paymenttype", "complete", "Complete")),
                    "date": plus(visit.last_day(), 20).to_string(),
                    "amount": money(paid),
                    "identifier": check.get(0),
                }),
            );
        self.push(r);
    }
}
