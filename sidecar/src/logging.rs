use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tidings_sidecar::log::{LogLimit, LogWriter};
use tracing::error;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

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

/// The log, while the program runs.
#[derive(Debug)]
pub(crate) struct Logging {
    format: LogFormat,
    limit: LogLimit,
    writer: LogWriter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What others tell in more detail than anybody wants who did not ask for just them. To rmcp it is an error that a client
/// has not waited for its answer.
const QUIET: &str = "quinn=warn,quinn_proto=warn,quinn_udp=warn,chitchat=error,rustls=warn,\
                     hyper_util=warn,rmcp=off,";

impl LoggingArgs {
    /// Starts logging, at `level` unless the caller asked for something else.
    pub(crate) fn start(&self, level: &str) -> anyhow::Result<Logging> {
        let asked = self.log.as_deref().unwrap_or(level);
        let filter = filter(asked).context("--log (or TIDINGS_LOG)")?;
        let limit = LogLimit::default();
        let started = LogWriter::start(io::stderr(), limit.clone());
        let writer = started.context("cannot start the log")?;
        // What cannot be written is counted by the writer; nobody is to complain of it as well.
        let lines = fmt::layer()
            .log_internal_errors(false)
            .with_writer(writer.clone());
        let lines = match self.log_format {
            LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(lines.with_filter(limit.clone()))
            .init();
        Ok(Logging {
            format: self.log_format,
            limit,
            writer,
        })
    }
}

impl Logging {
    /// Tells what ended the program, with all causes, in the form of the log.
    pub(crate) fn report(&self, error: &anyhow::Error) {
        match self.format {
            LogFormat::Human => {
                // It never fails.
                let _ = writeln!(self.writer.clone(), "error: {error:#}");
            }
            LogFormat::Json => error!("{error:#}"),
        }
    }

    /// Writes what is still to be written, as far as that can be done in a moment.
    pub(crate) fn finish(self) {
        self.limit.tell(true);
        self.writer.flush(LAST_LINES);
    }
}

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

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
        assert!(shown.contains("chitchat=error"), "{shown}");
        assert!(filter("loud=very").is_err());
    }
}
