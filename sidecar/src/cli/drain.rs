use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tidings_sidecar::answers::DrainAnswer;
use tokio::time::{Instant, sleep};

use crate::cli::http::HttpArgs;
use crate::cli::stdout;

/// Send the clients of the node on this machine to other nodes, and then end it
///
/// Its clients are told where else they can go and have `gateway.lame_duck_grace` to do so. Those that are
/// left are closed over `gateway.lame_duck_duration`, each once it has what it was sent. Then the node
/// leaves. SIGUSR2 does the same.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Return when the node has ended, and no longer answers
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this time
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    http: HttpArgs,
}

/// Asks for it.
pub(crate) async fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let answer = args.http.post::<DrainAnswer>(&["v1", "drain"]).await?;
    let human = |drains: &[DrainAnswer]| {
        let line =
            |drain: &DrainAnswer| format!("{} drains; clients: {}\n", drain.node, drain.clients);
        drains.iter().map(line).collect()
    };
    stdout::write(answer.show_one(human).as_bytes())?;
    if !args.wait {
        return Ok(());
    }
    let deadline = Instant::now() + args.timeout;
    while args.http.is_there().await? {
        if Instant::now() >= deadline {
            bail!("the node is still there after {:?}", args.timeout);
        }
        sleep(AGAIN).await;
    }
    Ok(())
}

/// How soon it is looked again whether the node has ended.
const AGAIN: Duration = Duration::from_millis(200);
