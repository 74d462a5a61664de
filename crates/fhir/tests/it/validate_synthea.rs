//! Every resource of the Synthea set is accepted after it is stamped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use phial_base::{LogicalId, Version};
use phial_fhir::reference::{RefKind, classify};
use phial_fhir::{Doc, Limits, Link, stamp, validate};

#[test]
fn synthea_resources_are_accepted_after_stamping() {
    let Some(file) = crate::shared("data/synthea/synthea-blaze-120.tar.xz") else { return };
    let xz = liblzma::read::XzDecoder::new(File::open(file).unwrap());
    let mut tar = tar::Archive::new(std::io::BufReader::with_capacity(1 << 20, xz));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut unresolved, mut total) = (0, 0);
    for (n, entry) in tar.entries().unwrap().enumerate() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let bundle = Doc::parse(&bytes, &Limits::default()).unwrap();
        // The bundle is itself a valid resource; a few are enough, it costs as much again.
        if n % 20 == 0 {
            validate(bundle.clone()).unwrap();
        }
        for entry in bundle.root().member("entry").unwrap().items() {
            let draft = Doc::from_node(entry.member("resource").unwrap());
            total += 1;
            let id = LogicalId::new(&format!("id-{total}")).unwrap();
            let at = "2026-01-02T03:04:05.678Z";
            let mut count = |link: Link<'_>| {
                unresolved += usize::from(matches!(classify(link.text()), RefKind::UrnUuid(_)));
                None
            };
            let text = stamp(&draft, &id, Version(1), at, &mut count).unwrap();
            let doc = Doc::parse(&text, &Limits::default()).unwrap();
            let valid = validate(doc).unwrap_or_else(|issues| {
                let ty = draft.root().member("resourceType").unwrap().as_str().unwrap();
                panic!("{ty}: {:?}", &issues[..issues.len().min(5)])
            });
            assert_eq!(valid.id(), Some(id.as_str()));
            *counts.entry(valid.resource_type().name()).or_default() += 1;
        }
    }
    assert_eq!(total, 92_114);
    assert_eq!(counts["Observation"], 42_929);
    assert_eq!(counts["Patient"], 120);
    assert_eq!(counts.len(), 24);
    assert!(unresolved >= 330_017, "{unresolved}");
}
