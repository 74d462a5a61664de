//! HL7's own examples are accepted, all but the one known to be bad.

use std::fs;

use phial_fhir::{Doc, Limits, validate};

#[test]
fn hl7_examples_are_accepted_but_for_the_known_bad_one() {
    let Some(dir) = crate::shared("data/examples/hl7-r4-instances") else { return };
    let mut count = 0;
    let mut refused = Vec::new();
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&file).unwrap();
        count += 1;
        match Doc::parse(&bytes, &Limits::default()).and_then(validate) {
            Ok(valid) => assert!(name.starts_with(valid.resource_type().name()), "{name}"),
            Err(issues) => refused.push((name, issues)),
        }
    }
    assert_eq!(count, 750);
    let bad = refused.iter().position(|(name, _)| name == "Questionnaire-qs1.json").unwrap();
    let (_, issues) = refused.remove(bad);
    assert!(issues.iter().all(|i| i.code.code() == "required"), "{issues:?}");
    assert!(issues.iter().all(|i| i.path.ends_with(".linkId")), "{issues:?}");
    for (name, issues) in &refused {
        for i in issues.iter().take(3) {
            println!("{name}: {} {i}", i.code.code());
        }
    }
    assert!(refused.is_empty(), "{} refused", refused.len());
}
