#![no_main]

#[path = "../../tests/it/fuzz/cuts.rs"]
mod cuts;
#[path = "../../tests/it/fuzz/naive_chunks.rs"]
mod naive_chunks;
#[path = "../../tests/it/fuzz/response_head.rs"]
mod response_head;

libfuzzer_sys::fuzz_target!(|data: &[u8]| response_head::run(data));
