use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What is logged, and how. The log goes to standard error.
#[derive(Debug, Args)]
pub(crate) struct LoggingArgs {
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,tidings=debug`
    /// [default: info for `run`, warn otherwise]
    #[arg(
        long,
        global = true,
        env = "TIDINGS_LOG",
        value_name = "FILTER",
        hide_env_values = true,
        help_heading = "Logging"
    )]
    log: Option<String>,
    /// How to write the log
    #[arg(
        long,
        global = true,
        env = "TIDINGS_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human",
        hide_env_values = true,
        help_heading = "Logging"
    )]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What others tell in more detail than anybody wants who did not ask for just them.
const QUIET: &str = "quinn=warn,quinn_proto=warn,quinn_udp=warn,chitchat=warn,rustls=warn,\
                     hyper_util=warn,";

impl LoggingArgs {
    /// Starts logging, at `level` unless the caller asked for something else.
    pub(crate) fn start(&self, level: &str) -> Result<(), ParseError> {
        let filter = filter(self.log.as_deref().unwrap_or(level))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
        Ok(())
    }

    /// Tells what ended the program, with all causes, in the form of the log.
    pub(crate) fn report(&self, error: &anyhow::Error) {
        match self.log_format {
            LogFormat::Human => eprintln!("error: {error:#}"),
            LogFormat::Json => error!("{error:#}"),
        }
    }
}

/// What the caller asks for, over what is quiet by default.
fn filter(asked: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET}{asked}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_wins_over_what_is_quiet() {
        let shown = filter("debug,quinn=trace").unwrap().to_string();
        assert!(
            shown.contains("quinn=trace") && !shown.contains("quinn=warn"),
            "{shown}"
        );
        assert!(shown.contains("chitchat=warn"), "{shown}");
        assert!(filter("loud=very").is_err());
    }
}
