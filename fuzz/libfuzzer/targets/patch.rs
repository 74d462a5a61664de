//! `phial_fuzz::patch` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| phial_fuzz::patch(data));
