use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tidings::LocalCluster;
use tidings_sidecar::{Config, Sidecar, descriptors};

use crate::cli::signals::Signals;
use crate::cli::stdout;
use crate::cli::table::table;

/// Run a whole cluster in this process, to try things out
///
/// Its certificates exist in memory only. All addresses are on loopback.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,
}

/// How long the nodes may take to see one another.
const JOIN: Duration = Duration::from_secs(30);

/// Runs it until a signal comes.
pub(crate) async fn dev(args: &DevArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    // Where the limit cannot be raised, there is room for fewer clients.
    let _ = descriptors::raise();
    let start = async {
        let cluster = LocalCluster::start(args.nodes.into()).await?;
        let mut sidecars = Vec::new();
        for (number, node) in (0..).zip(cluster.nodes()) {
            let doors = Config {
                client: Some(preferably(4222 + number)),
                http: Some(preferably(8222 + number)),
                ..Config::default()
            };
            sidecars.push(Sidecar::open(node.clone(), &doors).await?);
        }
        cluster.joined(JOIN).await?;
        anyhow::Ok((cluster, sidecars))
    };
    let (cluster, sidecars) = tokio::select! {
        started = start => started.context("the cluster did not start")?,
        stop = signals.next() => return Ok(stop.exit_code()),
    };
    stdout::write(welcome(&sidecars).as_bytes())?;
    signals.next().await;
    tokio::select! {
        () = cluster.leave() => Ok(ExitCode::SUCCESS),
        stop = signals.next() => Ok(stop.exit_code()),
    }
}

/// This port on loopback if it is free, or else any.
fn preferably(port: u16) -> SocketAddr {
    let wish = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(wish) {
        Ok(_) => wish,
        Err(_) => (Ipv4Addr::LOCALHOST, 0).into(),
    }
}

fn welcome(sidecars: &[Sidecar]) -> String {
    let text = |addr: Option<SocketAddr>| addr.map_or_else(|| "-".into(), |addr| addr.to_string());
    let row = |sidecar: &Sidecar| {
        let (client, http) = (text(sidecar.client_addr()), text(sidecar.http_addr()));
        [
            sidecar.node().name().to_string(),
            client,
            http,
            text(sidecar.node().addr()),
        ]
    };
    let rows: Vec<_> = sidecars.iter().map(row).collect();
    let mut welcome = table(["NODE", "CLIENTS", "HTTP", "PEERS"], &rows);
    if let (Some([_, first, http, _]), Some([_, last, ..])) = (rows.first(), rows.last()) {
        welcome += &format!(
            "\nIn other terminals:\n  \
             tidings sub --server {last} 'weather.>'\n  \
             tidings pub --server {first} weather.sf sunny\n  \
             tidings topics --http {http}\n\
             Ctrl-C ends all nodes.\n"
        );
    }
    welcome
}
