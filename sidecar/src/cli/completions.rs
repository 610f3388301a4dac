use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::{Cli, stdout};

/// Print a script that lets a shell complete this program's commands and flags
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints it.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidings", &mut script);
    stdout::write(&script)
}
