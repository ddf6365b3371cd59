#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fluxlimit::fuzz::run("admin", data));
