//! `phial_fuzz::page` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| phial_fuzz::page(data));
