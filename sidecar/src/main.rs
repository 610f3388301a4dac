//! The `tidings` binary: runs a node beside agents, and looks at, tries and equips clusters.

mod cli;
mod logging;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, ReaderGone};

fn main() -> ExitCode {
    let Cli { logging, command } = Cli::parse();
    if let Err(error) = logging.start(command.log_level()) {
        eprintln!("error: --log (or TIDINGS_LOG): {error}");
        return ExitCode::FAILURE;
    }
    match command.execute() {
        Ok(code) => code,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            logging.report(&error);
            ExitCode::FAILURE
        }
    }
}
