//! A link that carries much less than what is published for it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use tidings_tests::{Cluster, Figures, Inbox, Node, RawClient};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(10);
const FLOODS: usize = 4;
/// How long it goes on.
const FLOOD: Duration = Duration::from_secs(3);
const BLOCK: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_a_slow_link_is_slowed_and_others_lose_nothing_and_do_not_wait_for_the_floods()
-> Result<()> {
    let cluster = Cluster::up(2)?;
    let (near, far) = (cluster.node(1)?, cluster.node(2)?);
    let mut floods = Vec::new();
    for number in 0..FLOODS {
        floods.push(Inbox::open(&far, &format!("flood.{number}")).await?);
    }
    let mut innocent = Inbox::open(&far, "innocent").await?;
    cluster.wait_members(&[1, 2], "innocent", 1, SOON).await?;
    // 5 MB/s, where loopback would carry a hundred times as much.
    let namespace = format!("tidings-{}-n1", cluster.name());
    let shape = "qdisc add dev eth0 root tbf rate 40mbit burst 256kb latency 100ms";
    let output = Command::new("ip")
        .args(["netns", "exec", &namespace, "tc"])
        .args(shape.split(' '))
        .output()
        .context("run ip")?;
    ensure!(
        output.status.success(),
        "tc {shape}, which needs sch_tbf in the kernel: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    let begun = Instant::now();
    let flooding = try_join_all((0..FLOODS).map(|number| flood(&near, number, begun)));
    let publisher = near.connect().await?;
    let quiet = async {
        let mut figures = Figures::default();
        let mut number = 0_u64;
        while begun.elapsed() < FLOOD {
            let sent = Instant::now();
            let text = number.to_string();
            publisher.publish("innocent", text.clone().into()).await?;
            ensure!(innocent.text().await? == text, "an innocent lost something");
            figures.add(sent.elapsed());
            number += 1;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(figures)
    };
    let receiving = async {
        let counts = floods.iter_mut().map(count);
        try_join_all(counts).await
    };
    let (sent, figures, received) = tokio::try_join!(flooding, quiet, receiving)?;
    figures.print("a message over a link that others flood");
    ensure!(received == sent, "{received:?} of {sent:?} arrived");
    println!(
        "figure: {} messages of 1 KiB over it",
        sent.iter().sum::<usize>()
    );
    // What is on the link already goes before it, and no more of the floods than that.
    ensure!(
        figures.median() < Duration::from_secs(1),
        "{:?}",
        figures.median()
    );
    ensure!(
        figures.max() < Duration::from_secs(3),
        "{:?}",
        figures.max()
    );
    let dropped = "tidings_messages_dropped_total";
    ensure!(
        cluster.metric(&[1, 2], dropped).await? == 0.0,
        "drops are counted"
    );
    cluster.down()
}

/// Publishes as fast as it is let, and then says that this was all. Returns how many messages.
async fn flood(node: &Node, number: usize, begun: Instant) -> Result<usize> {
    let mut client = RawClient::connect(node).await?;
    client.send("CONNECT {\"verbose\":false}\r\n").await?;
    let message = format!("PUB flood.{number} 1024\r\n{}\r\n", "x".repeat(1024));
    let block = message.repeat(BLOCK);
    let mut sent = 0;
    while begun.elapsed() < FLOOD {
        client.send(&block).await?;
        sent += BLOCK;
    }
    client
        .send(format!("PUB flood.{number} 3\r\nend\r\nPING\r\n"))
        .await?;
    // It stays until all of it has been read, which takes the link a while.
    for _ in 0..6 {
        if client.line_with("PONG").await.is_ok() {
            return Ok(sent);
        }
    }
    bail!("what flood {number} has sent is not read to the end")
}

/// How many messages come before the last.
async fn count(inbox: &mut Inbox) -> Result<usize> {
    let mut count = 0;
    while inbox.next().await?.payload.as_ref() != b"end" {
        count += 1;
    }
    Ok(count)
}
