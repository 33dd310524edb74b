#![no_main]

#[path = "../../tests/it/fuzz/cuts.rs"]
mod cuts;
#[path = "../../tests/it/fuzz/request_head.rs"]
mod request_head;

libfuzzer_sys::fuzz_target!(|data: &[u8]| request_head::run(data));
