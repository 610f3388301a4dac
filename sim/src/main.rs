//! Runs simulated clusters: one, many, smaller and smaller ones, or with bugs planted.

use std::process::ExitCode;

use clap::Parser;

mod command;
mod report;

/// Simulated clusters of real tidings nodes, under faults that follow from a seed.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: command::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(true) => ExitCode::SUCCESS,
        // What failed has been told.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tidings-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}
