//! Weather updates: a station on one node publishes, and whoever asked for a place hears of it, on
//! whichever node it is.
//!
//! `cargo run --example weather`

use std::time::Duration;

use anyhow::{Context, ensure};
use tidings::{
    AgentName, Delivery, Headers, Inbox, LocalCluster, Message, Node, Pattern, Scope, Session,
    SessionOptions,
};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);

/// An agent that reads weather. Its memberships last as long as its session.
struct Reader {
    name: &'static str,
    _session: Session,
    inbox: Inbox,
}

impl Reader {
    fn start(node: &Node, name: &'static str, pattern: &str) -> anyhow::Result<Self> {
        let agent = Some(AgentName::parse(name)?);
        let (session, inbox) = node.session(SessionOptions {
            agent,
            ..Default::default()
        })?;
        session.subscribe(&Pattern::parse(pattern)?)?;
        println!("{name} on {} subscribes to {pattern}", node.name());
        Ok(Self {
            name,
            _session: session,
            inbox,
        })
    }

    /// Reads one report.
    async fn read(&mut self) -> anyhow::Result<String> {
        let delivery = timeout(PATIENCE, self.inbox.recv())
            .await
            .context(self.name)??;
        let Delivery::Message { message, .. } = delivery else {
            anyhow::bail!("{} has missed something", self.name)
        };
        let text = String::from_utf8(message.payload.to_vec())?;
        let station = message.headers.get("Station").unwrap_or("?");
        println!(
            "  {} reads on {}: {text} (station {station})",
            self.name, message.topic
        );
        Ok(text)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = LocalCluster::start(3).await?;
    cluster.joined(PATIENCE).await?;
    let nodes = cluster.nodes();

    let mut surfer = Reader::start(&nodes[0], "surfer", "resource:weather:sf")?;
    let mut pilot = Reader::start(&nodes[1], "pilot", "resource:weather:*")?;
    let mut gardener = Reader::start(&nodes[2], "gardener", "resource:weather:nyc")?;

    // The station is told who would hear it. Joins arrive within milliseconds, so it waits for them.
    let sf = "resource:weather:sf";
    let readers = || {
        nodes[2]
            .members(&Scope::default(), &sf.parse().expect("a topic"))
            .len()
    };
    let both = async {
        while readers() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, both)
        .await
        .context("the readers of sf are not known everywhere")?;

    let (station, _) = nodes[2].session(SessionOptions::default())?;
    let headers = Headers::default().with("Station", "KSFO")?;
    let report = Message::new(sf.parse()?, "18 °C, fog").with_headers(headers);
    let receipt = station.broadcast(report)?;
    println!(
        "the station on {} reports for sf: {receipt:?}",
        nodes[2].name()
    );
    ensure!(
        (receipt.local, receipt.nodes) == (0, 2),
        "one frame for each node that has readers"
    );

    ensure!(surfer.read().await? == "18 °C, fog");
    ensure!(pilot.read().await? == "18 °C, fog");

    // What one publisher sends stays in order, so if the gardener's first report is this one, there
    // was none about another place before it.
    station.broadcast(Message::new("resource:weather:nyc".parse()?, "7 °C, rain"))?;
    ensure!(gardener.read().await? == "7 °C, rain");
    println!("everybody has read what they asked for, and nothing else");
    cluster.leave().await;
    Ok(())
}
