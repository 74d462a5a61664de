//! Core dumps off.

#[test]
#[cfg(target_os = "linux")]
fn a_hardened_process_leaves_no_core() {
    let done = phial_crypto::harden_process();
    assert!(done.complete(), "{done:?}");
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"]);
    // The limit does not come back.
    assert!(phial_crypto::harden_process().complete());
}
