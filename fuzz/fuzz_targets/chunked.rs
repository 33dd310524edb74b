#![no_main]

#[path = "../../tests/it/fuzz/chunked.rs"]
mod chunked;
#[path = "../../tests/it/fuzz/cuts.rs"]
mod cuts;
#[path = "../../tests/it/fuzz/naive_chunks.rs"]
mod naive_chunks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| chunked::run(data));
