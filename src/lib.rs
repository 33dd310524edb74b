//! The live proxy.
