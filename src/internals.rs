//! The parts that the fuzz targets and the benches of the parts reach. Nothing here is part of the interface.

pub use crate::front::{Connections, Request, fuzzing as front};
pub use crate::proxy::fuzzing as proxy;
