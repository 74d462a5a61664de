//! The official search parameters as seen from a resource type.
//!
//! Source: <https://hl7.org/fhir/R4/searchparameter-registry.html>

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use phial_base::ClassSet;

use super::expression::programs;
use super::{ParamDef, SearchType};
use crate::definitions::{ResourceType, compartment, search_params};

/// An official search parameter. Files of the index carry its [`ParamId::number`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(u16);

impl ParamId {
    /// The parameter of this stable number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        let at = search_params().binary_search_by_key(&number, |p| p.number).ok()?;
        u16::try_from(at).ok().map(ParamId)
    }

    /// The stable number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.def().number
    }

    /// Its definition.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "a ParamId is made only for a parameter of the table"
    )]
    pub fn def(self) -> &'static ParamDef {
        &search_params()[usize::from(self.0)]
    }

    /// The name in a query.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.def().code
    }

    /// The kind.
    #[must_use]
    pub fn kind(self) -> SearchType {
        self.def().kind
    }

    /// The classes of the elements that the parameter reads in resources of type `ty`.
    /// Where there are several (identifiers, some of which are a government's), each
    /// value carries its own, and who may not see one class finds values of the others
    /// only. A reference counts by its `reference`; `Reference.identifier` is a value of
    /// class identifier on its own, which no query asks for yet.
    #[must_use]
    pub fn classes(self, ty: ResourceType) -> ClassSet {
        match self.code() {
            "_id" | "_lastUpdated" => ClassSet::of(phial_base::DataClass::Administrative),
            _ if self.of_words() => ClassSet::of(super::words::CLASS),
            _ => programs(ty).classes(self),
        }
    }

    /// The classes that a search by the parameter depends on, one set for each value that
    /// must be seen: one for a composite's component each, else one for all.
    #[must_use]
    pub fn needs(self, ty: ResourceType) -> Vec<ClassSet> {
        if self.kind() == SearchType::Composite {
            return programs(ty).parts(self).to_vec();
        }
        vec![self.classes(ty)]
    }

    /// Whether the parameter finds a person by what identifies them: names, birth and
    /// death dates, numbers, telecoms, addresses of Patient, Person and RelatedPerson,
    /// and business identifiers of every type that is kept about a patient (HIPAA
    /// 45 CFR 164.514(b)(2)(i): record, account, beneficiary and other unique numbers).
    /// Such a parameter has no place in a URL.
    #[must_use]
    pub fn is_direct_identifier(self, ty: ResourceType) -> bool {
        let code = self.code();
        match ty.name() {
            "Patient" | "Person" | "RelatedPerson" => matches!(
                code,
                "name"
                    | "family"
                    | "given"
                    | "phonetic"
                    | "birthdate"
                    | "death-date"
                    | "identifier"
                    | "telecom"
                    | "phone"
                    | "email"
                    | "address"
                    | "address-city"
                    | "address-country"
                    | "address-postalcode"
                    | "address-state"
                    | "address-use"
            ),
            _ => {
                let patient = ResourceType::from_name("Patient");
                let about = patient.is_some_and(|p| !compartment(p, ty).is_empty());
                about
                    && matches!(
                        code,
                        "identifier" | "requisition" | "group-identifier" | "accession"
                    )
            }
        }
    }

    /// What references of the parameter may point at in resources of type `ty`: by the
    /// elements, or else by the parameter's definition. Empty for anything.
    #[must_use]
    pub fn targets(self, ty: ResourceType) -> Vec<ResourceType> {
        match programs(ty).targets(self) {
            Some(targets) => targets.iter().copied().collect(),
            None => self.def().targets.clone(),
        }
    }

    /// The systems that the parameter's codes are of without saying so: it reads plain
    /// codes only, each bound to a value set.
    pub(super) fn implied_systems(self, ty: ResourceType) -> &'static [&'static str] {
        programs(ty).systems(self)
    }

    /// Whether the tokens of the parameter are texts of type string, in which case does not
    /// count (<https://hl7.org/fhir/R4/search.html#token>).
    pub(super) fn folds(self, ty: ResourceType) -> bool {
        programs(ty).folds(self)
    }

    /// Whether a resource of type `ty` has one value of the parameter at most.
    #[must_use]
    pub fn single(self, ty: ResourceType) -> bool {
        programs(ty).single(self)
    }

    /// The systems of plain codes that the parameter reads in some type: a resource does not
    /// say them beside the code.
    #[must_use]
    pub fn plain_systems(self, ty: ResourceType) -> Vec<&'static str> {
        self.implied_systems(ty).to_vec()
    }

    /// Why a query can't use the parameter; `None` for one that it can.
    #[must_use]
    pub fn unsearchable(self) -> Option<&'static str> {
        match self.kind() {
            SearchType::Special => Some("distance search is not supported"),
            _ if self.of_words() => None,
            _ if self.def().expression.is_empty() => Some("named queries are not supported"),
            _ => None,
        }
    }

    /// Whether it is `_text` or `_content`: no expression says what they read; their values
    /// are the words of the narrative, or of everything that is kept as notes.
    #[must_use]
    pub fn of_words(self) -> bool {
        matches!(self.code(), "_text" | "_content")
    }
}

impl fmt::Debug for ParamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.def().url)
    }
}

type ByCode = HashMap<&'static str, ParamId>;

fn table() -> &'static Vec<ByCode> {
    static TABLE: OnceLock<Vec<ByCode>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = vec![ByCode::new(); ResourceType::all().len()];
        for (at, def) in search_params().iter().enumerate() {
            let Ok(at) = u16::try_from(at) else { break };
            for ty in ResourceType::all() {
                if ty.type_id().lineage().any(|t| def.bases.contains(&t))
                    && let Some(by_code) = table.get_mut(usize::from(ty.number()))
                {
                    by_code.entry(def.code).or_insert(ParamId(at));
                }
            }
        }
        table
    })
}

/// The parameter that resources of type `ty` have under this code.
#[must_use]
pub fn param(ty: ResourceType, code: &str) -> Option<ParamId> {
    table().get(usize::from(ty.number()))?.get(code).copied()
}

/// All parameters that resources of type `ty` have, by code.
#[must_use]
pub fn params(ty: ResourceType) -> Vec<ParamId> {
    let mut all: Vec<ParamId> = table()
        .get(usize::from(ty.number()))
        .map(|t| t.values().copied().collect())
        .unwrap_or_default();
    all.sort_by_key(|p| p.code());
    all
}

/// The date parameter that says when what the resource records took place: the one that
/// a timeline is sorted by. `None` for types without one.
#[must_use]
pub fn primary_date_param(ty: ResourceType) -> Option<ParamId> {
    let own = match ty.name() {
        "Patient" | "Person" | "RelatedPerson" | "Practitioner" => return None,
        "Condition" => "onset-date",
        "Coverage" | "PractitionerRole" | "OrganizationAffiliation" => return None,
        "Slot" => "start",
        "Specimen" => "collected",
        "ExplanationOfBenefit" | "Claim" | "ClaimResponse" | "PaymentNotice" => "created",
        "ServiceRequest" => "authored",
        "MedicationRequest" => "authoredon",
        "MedicationStatement" => "effective",
        "MedicationAdministration" => "effective-time",
        "MedicationDispense" => "whenhandedover",
        "ImagingStudy" => "started",
        "Communication" => "sent",
        "Task" => "authored-on",
        "Goal" => "start-date",
        "Provenance" => "recorded",
        "QuestionnaireResponse" => "authored",
        _ => "date",
    };
    const THEN: [&str; 9] = [
        "authoredon",
        "authored-on",
        "authored",
        "period",
        "created",
        "issued",
        "occurrence",
        "recorded-date",
        "datewritten",
    ];
    std::iter::once(own)
        .chain(THEN)
        .filter_map(|code| param(ty, code))
        .find(|p| p.kind() == SearchType::Date && p.unsearchable().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(name: &str) -> ResourceType {
        ResourceType::from_name(name).unwrap()
    }

    #[test]
    fn a_type_has_no_code_twice() {
        for t in ResourceType::all() {
            let mut seen = HashMap::new();
            for def in search_params() {
                if t.type_id().lineage().any(|b| def.bases.contains(&b))
                    && let Some(before) = seen.insert(def.code, def.url)
                {
                    panic!("{t} has {} from {before} and {}", def.code, def.url);
                }
            }
        }
    }

    #[test]
    fn numbers_lead_back() {
        for def in search_params() {
            assert_eq!(ParamId::from_number(def.number).unwrap().def().url, def.url);
        }
        assert_eq!(ParamId::from_number(u16::MAX), None);
    }

    #[test]
    fn direct_identifiers_are_those_of_persons_and_their_records() {
        for (t, code, is) in [
            ("Patient", "name", true),
            ("Patient", "identifier", true),
            ("Patient", "birthdate", true),
            ("Patient", "address-postalcode", true),
            ("Patient", "gender", false),
            ("Patient", "_lastUpdated", false),
            ("Practitioner", "name", false),
            ("Organization", "identifier", false),
            ("Encounter", "identifier", true),
            ("Observation", "code", false),
        ] {
            assert_eq!(param(ty(t), code).unwrap().is_direct_identifier(ty(t)), is, "{t} {code}");
        }
    }

    #[test]
    fn the_main_clinical_types_have_a_date_to_sort_by() {
        for (t, code) in [
            ("Observation", "date"),
            ("Condition", "onset-date"),
            ("Encounter", "date"),
            ("MedicationRequest", "authoredon"),
            ("Procedure", "date"),
            ("DiagnosticReport", "date"),
            ("Immunization", "date"),
            ("Appointment", "date"),
            ("Claim", "created"),
            ("CarePlan", "date"),
        ] {
            assert_eq!(primary_date_param(ty(t)).unwrap().code(), code, "{t}");
        }
        assert_eq!(primary_date_param(ty("Patient")), None);
    }
}
