use std::io::{Read, Write};

use tidings_sim::blame::BlameLayer;
use tidings_sim::runner::{self, Order, Runner};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Make one run: read the order from the standard input, write the result to the standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Write the log of all nodes to the standard error, as RUST_LOG says.
    #[arg(long)]
    log: bool,
}

impl One {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        let log = self.log.then(|| {
            let log = tracing_subscriber::fmt::layer().without_time();
            let log = log.with_writer(std::io::stderr);
            log.with_filter(EnvFilter::from_default_env())
        });
        let blame = BlameLayer.with_filter(LevelFilter::WARN);
        tracing_subscriber::registry().with(log).with(blame).init();
        let mut order = Vec::new();
        std::io::stdin().read_to_end(&mut order)?;
        let order: Order = serde_json::from_slice(&order)?;
        let ran = runner::here(order)?;
        std::io::stdout().write_all(&serde_json::to_vec(&ran)?)?;
        Ok(true)
    }
}

/// Makes runs with this program.
pub(crate) fn runner(log: bool) -> anyhow::Result<Runner> {
    let arguments: &[&str] = if log { &["one", "--log"] } else { &["one"] };
    Ok(Runner::new(std::env::current_exe()?, arguments))
}

/// How liars are asked for.
pub(crate) fn liars(wanted: bool) -> &'static str {
    if wanted { " --liars" } else { "" }
}
