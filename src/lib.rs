//! The live proxy.

pub mod route;
