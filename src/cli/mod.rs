//! The commands: a file or a folder for each, and `command`, the list of them. Those that ask a running proxy do it
//! with `client`.

mod check;
mod clean;
mod client;
mod command;
mod drain;
mod duration;
mod error;
mod instance;
mod key;
mod load;
mod output;
mod register;
mod routes;
mod run;
mod serve;
mod settings;
mod shell;
mod status;
mod token;
mod wire;

pub use client::{ClientError, Refusal};
pub use command::run;
pub use error::CliError;
pub use routes::ImportError;
pub use run::RunError;
