//! `phial_fuzz::filter` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| phial_fuzz::filter(data));
