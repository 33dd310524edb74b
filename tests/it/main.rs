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
mod control_listener;
mod cutting;
mod descriptors;
mod failures;
mod fuzz;
mod heads;
mod http2;
mod intake;
mod load;
mod proxying;
mod proxying_fields;
mod proxying_oddities;
mod proxying_pool;
mod registration;
mod registration_bodies;
mod registration_effect;
mod registration_peers;
mod routing;
mod run_command;
mod smoke;
mod starting;
mod stopping;
mod store;
mod streaming;
mod support;
mod tokens;
mod websocket;
mod websocket_silence;
