//! Replicas of an MCP server on several nodes, in Python and TypeScript with the adapters, and clients as they are, which
//! hang on one replica each: none of them misses a change, whatever happens between the nodes.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_tests::{Cluster, Language, Node, Program, tidings, wait_until};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(20);
const CITIES: [&str; 2] = ["weather://sf", "weather://la"];

/// A replica and a client that listens at it.
struct Listening {
    replica: Program,
    client: Program,
    /// How many of its lines were looked at.
    seen: usize,
}

impl Listening {
    async fn start(replica: Language, client: Language, node: &Node) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut replica = replica.run("mcp_replica", &[&port.to_string(), &node.client])?;
        replica.says("serves", SOON).await?;
        let url = format!("http://127.0.0.1:{port}/mcp");
        let mut client = client.run("mcp_client", &[&[&url[..]], &CITIES[..]].concat())?;
        client.says("listens", SOON).await?;
        Ok(Self {
            replica,
            client,
            seen: 0,
        })
    }

    /// Waits until the client is told of this once more.
    async fn hears(&mut self, city: &str) -> Result<()> {
        let told = format!("told {city}");
        let mut seen = self.seen;
        wait_until(&told, SOON, async || {
            let output = self.client.output();
            let new = output.lines().enumerate().skip(self.seen);
            let found = new.filter(|(_, line)| *line == told).last();
            seen = found.map_or(self.seen, |(at, _)| at + 1);
            seen > self.seen || !self.client.runs()
        })
        .await;
        ensure!(seen > self.seen, "{city}: {}", self.client.output());
        self.seen = seen;
        Ok(())
    }

    /// Lets it be told whatever it still is, so that what it hears next is of what happens next.
    async fn settle(&mut self) {
        let quiet = Duration::from_millis(1_500);
        loop {
            let lines = self.client.output().lines().count();
            sleep(quiet).await;
            if self.client.output().lines().count() == lines {
                self.seen = lines;
                return;
            }
        }
    }

    /// How often it was told anything so far.
    fn told(&self) -> usize {
        self.client.output().matches("told ").count()
    }

    /// How often it was told of this.
    fn told_of(&self, city: &str) -> usize {
        let told = format!("told {city}");
        let output = self.client.output();
        output.lines().filter(|line| **line == told).count()
    }
}

fn notify(node: &Node, city: &str) -> Result<()> {
    let told = tidings(["mcp", "notify", "--server", &node.client, "weather", city]);
    Program::start(told)?.finish()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_listener_stays_stale_when_nodes_are_cut_off_killed_or_stand_still() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let nodes = cluster.nodes()?;
    let mut first = Listening::start(Language::Python, Language::TypeScript, &nodes[0]).await?;
    let mut second = Listening::start(Language::TypeScript, Language::Python, &nodes[1]).await?;

    notify(&nodes[2], CITIES[0])?;
    first.hears(CITIES[0]).await?;
    second.hears(CITIES[0]).await?;
    ensure!(
        (first.told(), second.told()) == (1, 1),
        "one of them was told of what has not changed"
    );

    // Cut off.
    cluster.partition(&["n1"])?;
    notify(&nodes[2], CITIES[1])?;
    second.hears(CITIES[1]).await?;
    cluster.wait_agreed(&[2, 3], SOON).await?;
    first.settle().await;
    cluster.heal()?;
    first.hears(CITIES[1]).await?;
    tokio::join!(first.settle(), second.settle());
    ensure!(
        (first.told_of(CITIES[0]), second.told_of(CITIES[0])) == (1, 1),
        "after the split one of them was told of what has not changed"
    );

    // Standing still, until the others take it for dead.
    let before = (first.told_of(CITIES[0]), second.told_of(CITIES[0]));
    nodes[1].freeze()?;
    cluster.wait_agreed(&[1, 3], SOON).await?;
    notify(&nodes[2], CITIES[1])?;
    nodes[1].thaw()?;
    first.hears(CITIES[1]).await?;
    second.hears(CITIES[1]).await?;
    tokio::join!(first.settle(), second.settle());
    ensure!(
        (first.told_of(CITIES[0]), second.told_of(CITIES[0])) == before,
        "after its node stood still one of them was told of what has not changed"
    );

    // Killed, and the replica only learns of it after the change: it finds another node by itself. Last, since sooner or
    // later all is told anew for a node that was killed.
    first.replica.freeze()?;
    cluster.kill("n1")?;
    notify(&nodes[2], CITIES[0])?;
    first.replica.thaw()?;
    first.hears(CITIES[0]).await?;
    second.hears(CITIES[0]).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_node_began_anew_tells_what_it_may_have_missed() -> Result<()> {
    let cluster = Cluster::up(1)?;
    let node = cluster.node(1)?;
    let mut all = Vec::new();
    for language in [Language::Python, Language::TypeScript] {
        all.push(Listening::start(language, language, &node).await?);
    }
    for listening in &all {
        listening.replica.freeze()?;
    }
    cluster.kill("n1")?;
    cluster.start("n1")?;
    cluster.wait_agreed(&[1], SOON).await?;
    notify(&node, CITIES[0])?;
    for listening in &mut all {
        listening.replica.thaw()?;
        listening.hears(CITIES[0]).await?;
    }
    cluster.down()
}
