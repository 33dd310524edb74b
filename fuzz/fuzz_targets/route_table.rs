#![no_main]

#[path = "../../tests/it/fuzz/route_table.rs"]
mod route_table;

libfuzzer_sys::fuzz_target!(|data: &[u8]| route_table::run(data));
