//! What holds for every subject, record and circumstance under the shipped policies.

use phial_base::{ClassSet, Label, LabelSet, Purpose};
use phial_policy::{Action, Consent, Context, PolicySet, Relationship, RelationshipSet};
use proptest::prelude::*;

use crate::world::{shipped, subject};

const TYPES: [&str; 12] = [
    "Patient",
    "Practitioner",
    "Organization",
    "Medication",
    "Appointment",
    "Slot",
    "Encounter",
    "Condition",
    "Observation",
    "MedicationRequest",
    "Claim",
    "AuditEvent",
];

#[derive(Clone, Debug)]
struct Case {
    roles: Vec<String>,
    purpose: Purpose,
    action: Action,
    ty: &'static str,
    labels: LabelSet,
    about: bool,
    relationships: RelationshipSet,
    consent: Consent,
    mfa: u8,
}

impl Case {
    fn subject(&self) -> phial_base::Subject {
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        let mut s = subject(&roles, self.purpose);
        s.mfa = self.mfa;
        s
    }

    fn mask_of(&self, set: &PolicySet) -> ClassSet {
        let ctx = Context { consent: self.consent, ..Context::new(self.relationships) };
        set.mask(&self.subject(), self.action, self.ty, self.labels, self.about, &ctx).classes
    }

    fn mask(&self) -> ClassSet {
        self.mask_of(shipped())
    }
}

fn case() -> impl Strategy<Value = Case> {
    let mut names: Vec<String> = shipped().roles().map(|r| r.name.to_string()).collect();
    names.push("wizard".to_owned());
    // Roles and their own purposes more often than any purpose, or most cases are empty.
    let likely = vec![Purpose::TREAT, Purpose::HOPERAT, Purpose::HPAYMT];
    let purpose = prop_oneof![4 => prop::sample::select(likely), 1 => prop::sample::select(Purpose::ALL.to_vec())];
    let labels = prop_oneof![
        Just(LabelSet::NONE),
        prop::sample::select(Label::ALL.to_vec()).prop_map(|l| LabelSet::NONE.with(l)),
        prop::collection::vec(prop::sample::select(Label::ALL.to_vec()), 0..4)
            .prop_map(|l| l.into_iter().collect()),
    ];
    (
        prop::collection::vec(prop::sample::select(names), 0..3),
        purpose,
        prop::sample::select(Action::ALL.to_vec()),
        prop::sample::select(TYPES.to_vec()),
        labels,
        any::<bool>(),
        (0u16..4096).prop_map(RelationshipSet::from_bits),
        prop::sample::select(vec![(false, false), (true, false), (false, true)]),
        0u8..3,
    )
        .prop_map(
            |(roles, purpose, action, ty, labels, about, relationships, (denies, permits), mfa)| {
                Case {
                    roles,
                    purpose,
                    action,
                    ty,
                    labels,
                    about,
                    relationships,
                    consent: Consent { denies, permits },
                    mfa,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_label_never_widens_the_mask(c in case(), l in prop::sample::select(Label::ALL.to_vec())) {
        let mut labelled = c.clone();
        labelled.labels = c.labels.with(l);
        prop_assert!(c.mask().covers(labelled.mask()));
    }

    #[test]
    fn losing_a_relationship_never_widens_the_mask(
        c in case(),
        r in prop::sample::select(Relationship::ALL.to_vec()),
    ) {
        // Nobody looks at themselves or their own through their job.
        prop_assume!(!RelationshipSet::OWN.has(r));
        let mut less = c.clone();
        less.relationships = c.relationships.without(r);
        prop_assert!(c.mask().covers(less.mask()));
    }

    #[test]
    fn one_more_role_never_narrows_the_mask(c in case(), more in 0usize..9) {
        let mut richer = c.clone();
        richer.roles.extend(shipped().roles().nth(more).map(|r| r.name.to_string()));
        prop_assert!(richer.mask().covers(c.mask()));
    }

    #[test]
    fn a_consent_never_widens_beyond_the_role_and_a_denial_never_widens(c in case()) {
        let with = |denies, permits| {
            Case { consent: Consent { denies, permits }, ..c.clone() }.mask()
        };
        let silent = with(false, false);
        prop_assert!(silent.covers(with(true, false)));
        prop_assert!(with(false, true).covers(silent));
        if !c.labels.has(Label::Part2) {
            prop_assert_eq!(with(false, true), silent);
        }
    }

    #[test]
    fn an_unknown_label_is_seen_by_nobody(c in case()) {
        let mut labelled = c;
        labelled.labels = labelled.labels.with(Label::Unknown);
        prop_assert!(labelled.mask().is_empty());
    }

    #[test]
    fn without_a_known_role_there_is_nothing(c in case(), name in "[a-z-]{0,12}") {
        prop_assume!(shipped().role(&name).is_none());
        let mut nobody = c.clone();
        nobody.roles = Vec::new();
        prop_assert!(nobody.mask().is_empty());
        prop_assert!(Action::ALL.into_iter().all(|a| !shipped().allows(&nobody.subject(), a)));
        nobody.roles = vec![name];
        prop_assert!(nobody.mask().is_empty());
        prop_assert!(Action::ALL.into_iter().all(|a| !shipped().allows(&nobody.subject(), a)));
    }

    #[test]
    fn the_cached_mask_is_the_evaluated_mask(c in case()) {
        let ctx = Context { consent: c.consent, ..Context::new(c.relationships) };
        let s = c.subject();
        let evaluated =
            shipped().explain(&s, c.action, c.ty, c.labels, c.about, &ctx).mask.classes;
        prop_assert_eq!(c.mask(), evaluated);
        prop_assert_eq!(c.mask(), evaluated);
    }

    #[test]
    fn no_record_shows_more_than_ever(c in case()) {
        prop_assert!(shipped().ever(&c.subject(), c.action, c.ty).covers(c.mask()));
    }

    #[test]
    fn whole_type_means_that_ties_to_others_do_not_matter(c in case()) {
        let mut plain = c;
        plain.relationships = plain.relationships.minus(RelationshipSet::OWN);
        plain.consent = Consent::SILENT;
        plain.labels = LabelSet::NONE;
        if shipped().whole_type(&plain.subject(), plain.action, plain.ty) {
            let mut alone = plain.clone();
            alone.relationships = RelationshipSet::NONE;
            prop_assert_eq!(alone.mask(), plain.mask());
        }
    }

    #[test]
    fn every_record_means_that_labels_do_not_matter(c in case()) {
        if shipped().every_record(&c.subject(), c.action, c.ty) && !c.labels.has(Label::Unknown) {
            let mut plain = c.clone();
            plain.labels = LabelSet::NONE;
            prop_assert_eq!(c.mask(), plain.mask());
        }
    }

    #[test]
    fn two_loads_decide_alike(c in case()) {
        thread_local! {
            static SECOND: PolicySet = match PolicySet::shipped() {
                Ok(set) => set,
                Err(e) => unreachable!("the shipped policies are refused: {e}"),
            };
        }
        let second = SECOND.with(|s| c.mask_of(s));
        prop_assert_eq!(c.mask(), second);
    }
}
