//! The live proxy.

pub mod answer;
pub mod cli;
pub mod config;
pub mod control;
pub mod front;
pub mod proxy;
pub mod registry;
pub mod route;
pub mod server;
pub mod telemetry;
