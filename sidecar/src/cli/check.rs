use clap::Args;

use crate::cli::run::SettingsArgs;
use crate::cli::{stderr, stdout};
use crate::settings;

/// Print the settings that `tidings run` with the same flags would use, or what is wrong with them
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Prints them as TOML, in the form of a file.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let settings = args.settings.load()?;
    for variable in settings.unknown_variables {
        stderr::tell(format_args!(
            "warning: environment variable {variable} sets nothing that a node has"
        ));
    }
    stdout::write(settings::to_toml(&settings.config)?.as_bytes())
}
