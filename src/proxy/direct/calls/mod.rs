//! The direct way of calls of gRPC: a stream of the client's goes on as a stream of a connection to its
//! target (`line`).
//!
//! One future moves both directions (`pump`). Pieces of a body are passed on as they came, without a copy,
//! and no more is taken from one side than the other has room for.

mod answer;
mod exchange;
mod line;
mod plan;
mod pump;
mod upload;

pub(super) use exchange::Exchange;
pub(super) use line::Line;
pub use plan::Call;
