//! First packets that anybody can send, whatever address they name: newcomers get in all the same.

use std::fs::read_to_string;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_tests::{
    Cluster, Figures, FirstPackets, Guest, Http, Node, create_certificate, wait_until,
};
use tokio::time::sleep;

/// To each of the two nodes that newcomers know.
const PER_SECOND: u64 = 20_000;
/// How soon a newcomer is in.
const SOON: Duration = Duration::from_secs(3);
const NEWCOMERS: u16 = 4;
/// What a node may take. Without any flood it takes less than half of it.
const MEMORY_KIB: u64 = 64 << 10;
/// What a node may log about four newcomers, and about a flood.
const LINES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn first_packets_of_strangers_keep_no_newcomer_out() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let seeds = [cluster.node(1)?, cluster.node(2)?];
    let directory = tempfile::tempdir()?;
    let name = |number: u16| format!("newcomer{number}");
    let tls = |number: u16| directory.path().join(name(number));
    let ca = cluster.directory().join("ca");
    for number in 0..NEWCOMERS {
        create_certificate(&ca, &tls(number), &name(number), &[])?;
    }
    let links_lost = links_lost(&cluster).await?;
    let lines = |node: &Node| Ok::<_, anyhow::Error>(cluster.log(&node.node)?.lines().count());
    let lines_before = [lines(&seeds[0])?, lines(&seeds[1])?];

    let packets = FirstPackets::make(2_000).await?;
    let to = seeds.iter().map(|seed| seed.cluster.parse());
    let flood = packets.flood(to.collect::<Result<_, _>>()?, PER_SECOND)?;
    wait_until("strangers have what they can get", 5 * SOON, async || {
        flood.sent() >= PER_SECOND
    })
    .await;
    let (mut newcomers, mut figures) = (Vec::new(), Figures::default());
    for number in 0..NEWCOMERS {
        let place = (3, number);
        let newcomer = Guest::start(&cluster, place, &name(number), &tls(number), &[1, 2])?;
        let is_in = async || is_in(&newcomer, &name(number), &seeds).await;
        figures.add(wait_until("the newcomer is in", SOON, is_in).await);
        newcomers.push(newcomer);
        // So that each comes at another moment of what ends together and is tried again together.
        sleep(Duration::from_millis(150) * number.into()).await;
    }
    let rate = flood.per_second();
    figures.print(&format!(
        "a newcomer, with {rate:.0} first packets a second to both its seeds"
    ));

    for (seed, before) in seeds.iter().zip(lines_before) {
        let metrics = seed.http()?.metrics().await?;
        let answered = |answer| metrics.with_label("tidings_incoming_handshakes_total", answer);
        let retried = answered("answer=\"retried\"");
        ensure!(retried > 10_000.0, "there was no flood: {retried}");
        let memory = memory_kib(seed)?;
        println!("figure: {retried} were to show their address, memory {memory} KiB");
        ensure!(memory < MEMORY_KIB, "{} takes {memory} KiB", seed.node);
        let lines = lines(seed)? - before;
        ensure!(lines <= LINES, "{} has logged {lines} lines", seed.node);
    }
    ensure!(self::links_lost(&cluster).await? == links_lost);
    for node in cluster.nodes()? {
        let log = cluster.log(&node.node)?;
        ensure!(!log.contains("node is down"), "{} was alone", node.node);
    }
    drop(flood);
    cluster.down()
}

/// Whether it and the nodes see each other.
async fn is_in(newcomer: &Guest, name: &str, nodes: &[Node]) -> bool {
    let sees = async |http: Result<Http>, name: &str| {
        let Ok(http) = http else { return false };
        let live = http.live().await.unwrap_or_default();
        live.iter().any(|(node, _)| node == name)
    };
    for node in nodes {
        if !sees(node.http(), name).await || !sees(newcomer.http(), &node.node).await {
            return false;
        }
    }
    true
}

/// How many links have ended, at all nodes together.
async fn links_lost(cluster: &Cluster) -> Result<f64> {
    let mut sum = 0.0;
    for node in cluster.nodes()? {
        let metrics = node.http()?.metrics().await?;
        sum += metrics.with_label("tidings_link_changes_total", "change=\"closed\"");
    }
    Ok(sum)
}

/// What the process of a node takes.
fn memory_kib(node: &Node) -> Result<u64> {
    let status = read_to_string(format!("/proc/{}/status", node.pid))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = memory.and_then(|memory| memory.split_whitespace().next());
    Ok(number.context("a process has memory")?.parse()?)
}
