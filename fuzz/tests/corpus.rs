//! The committed corpora, replayed without a fuzzer.

use std::path::Path;

use phial_fuzz::TARGETS;

#[test]
fn every_committed_input_keeps_its_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut replayed = 0;
        for entry in std::fs::read_dir(corpus.join(name)).expect("each target has a corpus") {
            target(&std::fs::read(entry.expect("a file").path()).expect("a readable file"));
            replayed += 1;
        }
        assert!(replayed > 0, "{name} has no corpus");
    }
}

#[test]
fn every_target_takes_anything() {
    for (_, target) in TARGETS {
        for input in [&b""[..], b"\0", b"{}", b"\xff\xff\xff\xff", &[0x55; 5000]] {
            target(input);
        }
    }
}
