use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::stdout;

/// Print a script that lets a shell complete this program's commands and flags
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints it, for this command line.
pub(crate) fn completions(args: &CompletionsArgs, mut command_line: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, "tidings", &mut script);
    stdout::write(&script)
}
