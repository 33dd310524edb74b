//! Black box: the real binary on real sockets, with origins and clients that misbehave. One file
//! per subject; `support` is the harness.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test ends with what went wrong"
)]

mod command_line;
