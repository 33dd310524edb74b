//! A client of the control API: one connection, over TCP or a Unix socket.
//!
//! What it reads is described in [`wire`](super::wire), in the API's terms and not in the server's
//! types.

mod answer;
mod args;
mod block_on;
mod body;
mod call;
mod connection;
mod encode;
mod endpoint;
mod error;
mod events;

pub(super) use answer::Answer;
pub(super) use args::{API, ConnectionArgs};
pub(super) use block_on::block_on;
pub(super) use call::Call;
pub(super) use connection::Client;
pub(super) use encode::{prefix, segment};
pub use error::{ClientError, Refusal};
pub(super) use events::Event;
