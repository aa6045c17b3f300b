#![no_main]

#[path = "../bodies/apply.rs"]
mod apply;

libfuzzer_sys::fuzz_target!(|data: &[u8]| apply::run(data));
