//! What the fuzz targets (`fuzz/`) do, here with bytes at random for a moment.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // A fault is to end the test.

mod request_path;
mod route_table;

/// Bytes at random, most of them from `alphabet`, so that they mean something.
fn random_bytes(alphabet: &[u8], most: usize) -> Vec<u8> {
    let byte = |_| match fastrand::u8(..) {
        0..8 => fastrand::u8(..),
        _ => *fastrand::choice(alphabet).expect("an alphabet"),
    };
    (0..fastrand::usize(..most)).map(byte).collect()
}

#[test]
fn the_route_table_holds_against_random_bytes() {
    fastrand::seed(1);
    for _ in 0..300 {
        route_table::run(&random_bytes(b"\0\x01\x02\x03/ab*-.\n", 2_000));
    }
}

#[test]
fn request_paths_hold_against_random_bytes() {
    fastrand::seed(2);
    for _ in 0..50_000 {
        request_path::run(&random_bytes(b"//../%2e%2E%5cab?*:@[]#", 40));
    }
}
