//! Measures loading, cold and cached decisions: `cargo run --release -p phial-policy
//! --example decision_speed`.
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::hint::black_box;
use std::time::Instant;

use phial_base::{
    ClassSet, Label, LabelSet, Purpose, RowId, Subject, SubjectId, TenantId, Version,
};
use phial_policy::{
    Action, Context, Error, Facts, PolicySet, RecordRef, Relationship, RelationshipSet,
};

fn main() -> Result<(), Error> {
    let start = Instant::now();
    let set = PolicySet::shipped()?;
    println!("load and validate: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let Ok(id) = SubjectId::new("someone") else { return Ok(()) };
    let subject = Subject {
        tenant: TenantId::default_tenant(),
        id,
        roles: vec!["physician".to_owned()],
        unit: None,
        practitioner: None,
        patient: None,
        purpose: Purpose::TREAT,
        mfa: 2,
        session: None,
        client: None,
        scopes: None,
    };
    let ctx = Context::new(RelationshipSet::of(Relationship::CareTeam));
    let types: Vec<&str> = set.resource_types().collect();

    let mut cold = Vec::new();
    for ty in &types {
        for l in Label::ALL {
            let labels = LabelSet::NONE.with(l).with(Label::HTEST);
            let start = Instant::now();
            black_box(set.mask(&subject, Action::Read, ty, labels, true, &ctx));
            cold.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    cold.sort_by(f64::total_cmp);
    let at = |q: usize| cold.get(cold.len() * q / 100).copied().unwrap_or(f64::NAN);
    println!("cold mask: median {:.0} µs, p99 {:.0} µs ({} masks)", at(50), at(99), cold.len());

    let rounds = 2_000_000u32;
    let start = Instant::now();
    for i in 0..rounds {
        let ty = types.get(i as usize % types.len()).copied().unwrap_or("Patient");
        let labels = LabelSet::NONE.with(Label::HTEST);
        black_box(set.mask(&subject, Action::Read, ty, labels, true, &ctx));
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds);
    println!("cached mask: {each:.0} ns");

    let facts = Facts {
        resource_type: "Observation",
        classes: ClassSet::ALL,
        labels: LabelSet::NONE.with(Label::HTEST),
        about_patient: true,
    };
    let record = RecordRef { row: RowId([1; 16]), version: Version(1) };
    let start = Instant::now();
    for _ in 0..rounds {
        let _ = black_box(set.decide(&subject, Action::Read, &record, &facts, &ctx));
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds);
    println!("cached decision with permit: {each:.0} ns");
    Ok(())
}
