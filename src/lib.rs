//! The live proxy.

pub mod config;
