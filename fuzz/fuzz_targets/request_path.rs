#![no_main]

#[path = "../../tests/it/fuzz/request_path.rs"]
mod request_path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| request_path::run(data));
