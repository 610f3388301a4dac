//! The `tidings` binary: runs a node beside agents, and looks at, tries and equips clusters.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nothing can be written"
)]

mod cli;
mod logging;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, ReaderGone, stderr};

/// Threads of its own give memory back to the system some seconds after it was needed. The system's
/// allocator keeps most of what a burst took for as long as the process lives.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let Cli { logging, command } = Cli::parse();
    let logging = match logging.start(command.log_level()) {
        Ok(logging) => logging,
        Err(error) => {
            stderr::tell(format_args!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let code = match command.execute() {
        Ok(code) => code,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            logging.report(&error);
            ExitCode::FAILURE
        }
    };
    logging.finish();
    code
}
