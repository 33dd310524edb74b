//! The command `dynamic-reverse-proxy`: a table of contents of the library.

use std::io::Write as _;
use std::process::ExitCode;

use dynamic_reverse_proxy::cli;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            let told = writeln!(std::io::stderr(), "dynamic-reverse-proxy: {error}");
            // Without standard error the exit code has to say it all.
            told.map_or(ExitCode::FAILURE, |()| error.exit_code())
        }
    }
}
