//! Numbers of resource types in entries: a number costs a byte or two where a name costs
//! a dozen. The list is FHIR R4's; it is append-only, and a type that it has not is
//! written by name.

/// Position is number. The two dozen most written come first: one byte in CBOR.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "Patient", "Observation", "Encounter", "Condition", "Procedure",
    "MedicationRequest", "DiagnosticReport", "Claim", "ExplanationOfBenefit",
    "Immunization", "DocumentReference", "CarePlan", "CareTeam", "AllergyIntolerance",
    "Practitioner", "Organization", "Location", "Appointment", "Coverage", "Medication",
    "ServiceRequest", "Goal", "ImagingStudy", "Device", "Account", "ActivityDefinition",
    "AdverseEvent", "AppointmentResponse", "AuditEvent", "Basic", "Binary",
    "BiologicallyDerivedProduct", "BodyStructure", "Bundle", "CapabilityStatement",
    "CatalogEntry", "ChargeItem", "ChargeItemDefinition", "ClaimResponse",
    "ClinicalImpression", "CodeSystem", "Communication", "CommunicationRequest",
    "CompartmentDefinition", "Composition", "ConceptMap", "Consent", "Contract",
    "CoverageEligibilityRequest", "CoverageEligibilityResponse", "DetectedIssue",
    "DeviceDefinition", "DeviceMetric", "DeviceRequest", "DeviceUseStatement",
    "DocumentManifest", "EffectEvidenceSynthesis", "Endpoint", "EnrollmentRequest",
    "EnrollmentResponse", "EpisodeOfCare", "EventDefinition", "Evidence",
    "EvidenceVariable", "ExampleScenario", "FamilyMemberHistory", "Flag",
    "GraphDefinition", "Group", "GuidanceResponse", "HealthcareService",
    "ImmunizationEvaluation", "ImmunizationRecommendation", "ImplementationGuide",
    "InsurancePlan", "Invoice", "Library", "Linkage", "List", "Measure",
    "MeasureReport", "Media", "MedicationAdministration", "MedicationDispense",
    "MedicationKnowledge", "MedicationStatement", "MedicinalProduct",
    "MedicinalProductAuthorization", "MedicinalProductContraindication",
    "MedicinalProductIndication", "MedicinalProductIngredient",
    "MedicinalProductInteraction", "MedicinalProductManufactured",
    "MedicinalProductPackaged", "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect", "MessageDefinition", "MessageHeader",
    "MolecularSequence", "NamingSystem", "NutritionOrder", "ObservationDefinition",
    "OperationDefinition", "OperationOutcome", "OrganizationAffiliation", "Parameters",
    "PaymentNotice", "PaymentReconciliation", "Person", "PlanDefinition",
    "PractitionerRole", "Provenance", "Questionnaire", "QuestionnaireResponse",
    "RelatedPerson", "RequestGroup", "ResearchDefinition", "ResearchElementDefinition",
    "ResearchStudy", "ResearchSubject", "RiskAssessment", "RiskEvidenceSynthesis",
    "Schedule", "SearchParameter", "Slot", "Specimen", "SpecimenDefinition",
    "StructureDefinition", "StructureMap", "Subscription", "Substance",
    "SubstanceNucleicAcid", "SubstancePolymer", "SubstanceProtein",
    "SubstanceReferenceInformation", "SubstanceSourceMaterial",
    "SubstanceSpecification", "SupplyDelivery", "SupplyRequest", "Task",
    "TerminologyCapabilities", "TestReport", "TestScript", "ValueSet",
    "VerificationResult", "VisionPrescription",
];

/// The type's number, if it has one.
pub(crate) fn number(name: &str) -> Option<u16> {
    let at = TYPES.iter().position(|t| *t == name)?;
    u16::try_from(at).ok()
}

/// The type's name; of a number that a later version gave, the number in words.
pub(crate) fn name(number: u16) -> String {
    match TYPES.get(usize::from(number)) {
        Some(name) => (*name).to_owned(),
        None => format!("type-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_types_are_frozen() {
        let frozen: Vec<&str> = include_str!("../tests/frozen/types.txt").lines().collect();
        assert_eq!(TYPES, frozen, "append, never change");
        for (n, t) in (0u16..).zip(TYPES) {
            assert_eq!((number(t), name(n).as_str()), (Some(n), *t));
        }
        assert_eq!(number("Patients"), None);
        assert_eq!(name(60_000), "type-60000");
    }
}
