#![no_main]

#[path = "../../tests/it/fuzz/proxy_protocol.rs"]
mod proxy_protocol;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy_protocol::run(data));
