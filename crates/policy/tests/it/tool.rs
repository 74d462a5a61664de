//! What people ask of a set of policies before it is in force.

use phial_base::{ClassSet, DataClass};
use phial_policy::tool::{cell, diff_of, matrix, test};
use phial_policy::{Action, PolicySet};

use crate::world::shipped;

#[test]
fn a_set_does_not_differ_from_itself_and_a_change_names_who_gains_and_who_loses() {
    let (schema, mut files, mut roles) = PolicySet::shipped_sources();
    for (name, text) in &mut files {
        if name == "laboratory.cedar" {
            *text = text.replace("demographic,identifier\"", "demographic,contact\"");
        }
        if name == "researcher.cedar" {
            text.push_str(
                "@id(\"researcher.more\") @classes(\"administrative\")\npermit (principal in Role::\"researcher\", action == Action::\"read\", resource is Record)\nwhen { resource.resourceType == Type::\"Condition\" };\n",
            );
        }
    }
    roles = roles.replace(
        "actions = [\"manage-users\", \"manage-access\", \"verify\"]",
        "actions = [\"manage-users\", \"verify\"]",
    );
    let only = |set: &PolicySet| set.hash();
    let changed = PolicySet::from_sources(&schema, &files, &roles).unwrap();
    assert_ne!(only(&changed), only(shipped()));
    let types = ["Condition", "Organization", "Patient"];
    let changes = diff_of(shipped(), &changed, &types);
    let of = |role: &str| changes.iter().filter(|c| c.role == role).collect::<Vec<_>>();
    assert!(of("physician").is_empty());
    let lab = of("laboratory");
    assert!(!lab.is_empty());
    assert!(lab.iter().all(|c| c.resource_type == "Patient"
        && c.gains == ClassSet::of(DataClass::Contact)
        && c.loses == ClassSet::of(DataClass::Identifier)));
    let research = of("researcher");
    assert!(research.iter().any(|c| c.action == Action::Read && c.situation == "plain"));
    assert!(research.iter().all(|c| c.loses.is_empty()));
    let admin = of("security-administrator");
    assert_eq!(admin.len(), 1);
    assert_eq!((admin[0].action, admin[0].loses), (Action::ManageAccess, ClassSet::ALL));
}

#[test]
fn types_that_no_rule_names_differ_as_each_by_itself_does() {
    let (schema, mut files, roles) = PolicySet::shipped_sources();
    let nurse = files.iter_mut().find(|(name, _)| name == "nurse.cedar").unwrap();
    nurse.1.push_str(
        "@id(\"nurse.more\") @classes(\"financial\")\npermit (principal in Role::\"nurse\", action in Action::\"view\", resource is Record)\nunless { resource.resourceType == Type::\"Basic\" };\n",
    );
    let changed = PolicySet::from_sources(&schema, &files, &roles).unwrap();
    let types = ["Account", "Basic", "Condition", "Parameters", "Patient", "Slot", "Substance"];
    let all = diff_of(shipped(), &changed, &types);
    assert!(!all.is_empty());
    for ty in types {
        let one = diff_of(shipped(), &changed, &[ty]);
        let of: Vec<_> = all.iter().filter(|c| c.resource_type == ty).cloned().collect();
        assert_eq!(of, one, "{ty}");
        assert_eq!(one.is_empty(), ty == "Basic", "{ty}");
    }
}

#[test]
fn a_table_of_ones_own_is_held_against_the_set() {
    let table = "\
# who sees a condition
physician TREAT read Condition plain adciskmlnt
physician TREAT read Condition SUD .
physician TREAT read Condition SUD+CareTeam adciskmlnt
physician TREAT read Condition CareTeam+denied .
billing   HPAYMT read Condition plain n
";
    let checked = test(shipped(), table).unwrap();
    let wrong: Vec<usize> =
        checked.iter().filter(|c| c.wanted != c.found).map(|c| c.line).collect();
    assert_eq!(wrong, [6]);
    for (line, said) in [
        ("physician TREAT read Condition plain", "a line is"),
        ("wizard TREAT read Condition plain .", "no role wizard"),
        ("nurse HEAL read Condition plain .", "no purpose"),
        ("nurse TREAT manage-keys Condition plain .", "no action on records"),
        ("nurse TREAT read Potion plain .", "no resource type"),
        ("nurse TREAT read Condition friend .", "no relationship"),
        ("nurse TREAT read Condition plain z", "no class's letter"),
    ] {
        let (n, text) = test(shipped(), line).unwrap_err();
        assert!(n == 1 && text.contains(said), "{text}");
    }
}

#[test]
fn the_matrix_has_every_role_and_what_it_reads() {
    let text = matrix(shipped());
    for role in shipped().roles() {
        assert!(text.contains(&format!("{} (", role.name)));
    }
    assert_eq!(cell(ClassSet::ALL), "adcigfskmlnt");
    assert_eq!(cell(ClassSet::NONE), ".");
}
