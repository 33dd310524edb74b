//! How much of what a client sends belongs to its request.

use super::framing::Framing;

/// The state of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// So many bytes.
    Length(u64),
    /// A chunked body: its own syntax says where it ends.
    Chunked,
    /// Everything.
    Open,
}

impl From<Framing> for Gate {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
            Framing::UntilClose | Framing::Upgrade => Self::Open,
        }
    }
}
