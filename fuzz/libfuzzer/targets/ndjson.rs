//! `phial_fuzz::ndjson` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| phial_fuzz::ndjson(data));
