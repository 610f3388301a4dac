//! Agents and nodes die or leave, and every view follows.

use std::time::Duration;

use anyhow::{Context, Result};
use tidings_tests::{Agent, Cluster, Figures, Inbox, holds_for, millis, wait_until};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_is_out_of_every_view_within_100_ms() -> Result<()> {
    let cluster = Cluster::up(10)?;
    let mut figures = Figures::default();
    for number in 1..=10 {
        let mut agent = Agent::subscribe(&cluster.node(number)?, "alive")?;
        cluster
            .wait_members(&cluster.all(), "alive", 1, SOON)
            .await?;
        agent.kill()?;
        figures.add(
            cluster
                .wait_members(&cluster.all(), "alive", 0, SOON)
                .await?,
        );
    }
    figures.print("a killed agent is out of all ten views");
    assert!(
        figures.max() < Duration::from_millis(100),
        "{:?}",
        figures.max()
    );
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_out_of_every_view_within_4_s_and_the_rest_goes_on() -> Result<()> {
    let cluster = Cluster::up(10)?;
    let others: Vec<usize> = (1..10).collect();
    let _lost = Inbox::open(&cluster.node(10)?, "news").await?;
    let mut inbox = Inbox::open(&cluster.node(2)?, "news").await?;
    let publisher = cluster.node(1)?.connect().await?;
    cluster
        .wait_members(&cluster.all(), "news", 2, SOON)
        .await?;

    let start = Instant::now();
    cluster.kill("n10")?;
    // A dead node must not hold up what goes to the living.
    publisher
        .publish("news", "while it is still in the views".into())
        .await?;
    assert_eq!(inbox.text().await?, "while it is still in the views");
    cluster.wait_agreed(&others, Duration::from_secs(4)).await?;
    let took = start.elapsed();
    println!(
        "figure: a killed node is out of nine views after {} ms",
        millis(took)
    );
    assert!(took < Duration::from_secs(4), "{took:?}");
    cluster
        .wait_members(&others, "news", 1, Duration::from_millis(100))
        .await?;
    publisher.publish("news", "after".into()).await?;
    assert_eq!(inbox.text().await?, "after");
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_has_a_new_incarnation_and_no_old_members() -> Result<()> {
    let cluster = Cluster::up(4)?;
    let all = cluster.all();
    let mut last = incarnation(&cluster, "n4").await?;
    for round in 0..3 {
        let old = Inbox::open(&cluster.node(4)?, "old").await?;
        cluster.wait_members(&all, "old", 1, SOON).await?;
        // Restarted before anybody could have missed it in two of the rounds, and after in one.
        cluster.kill("n4")?;
        drop(old);
        if round == 1 {
            cluster.wait_agreed(&[1, 2, 3], SOON).await?;
        }
        cluster.start("n4")?;
        cluster.wait_agreed(&all, SOON).await?;
        cluster.wait_members(&all, "old", 0, SOON).await?;

        let new = incarnation(&cluster, "n4").await?;
        assert!(new > last, "{new} does not follow {last}");
        last = new;
        holds_for(
            "no old member comes back",
            Duration::from_secs(1),
            async || {
                let topics = async |number| cluster.node(number)?.http()?.topics().await;
                matches!(topics(1).await, Ok(list) if list.is_empty())
                    && matches!(topics(4).await, Ok(list) if list.is_empty())
            },
        )
        .await;
        let mut inbox = Inbox::open(&cluster.node(4)?, "new").await?;
        cluster.wait_members(&all, "new", 1, SOON).await?;
        cluster.node(1)?.publish("new", "hello").await?;
        assert_eq!(inbox.text().await?, "hello");
        drop(inbox);
        cluster.wait_members(&all, "new", 0, SOON).await?;
    }
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_leave_is_seen_by_all_within_500_ms() -> Result<()> {
    let cluster = Cluster::up(10)?;
    let _inbox = Inbox::open(&cluster.node(10)?, "news").await?;
    cluster
        .wait_members(&cluster.all(), "news", 1, SOON)
        .await?;
    let others: Vec<usize> = (1..10).collect();

    let leaving = cluster.node(10)?;
    let start = Instant::now();
    leaving.terminate()?;
    cluster.wait_agreed(&others, SOON).await?;
    let seen = start.elapsed();
    wait_until("the node that left is gone", SOON, async || !leaving.runs()).await;
    let stopped = start.elapsed();
    println!(
        "figure: a graceful leave is seen by all nine others after {} ms; the process took {} ms",
        millis(seen),
        millis(stopped),
    );
    assert!(cluster.log("n10")?.contains("left"), "it left in order");
    assert!(seen < Duration::from_millis(500), "{seen:?}");
    cluster
        .wait_members(&others, "news", 0, Duration::from_millis(100))
        .await?;

    // And it may come back at once.
    cluster.start("n10")?;
    cluster.wait_agreed(&cluster.all(), SOON).await?;
    cluster.down()
}

async fn incarnation(cluster: &Cluster, node: &str) -> Result<u64> {
    let live = cluster.node(1)?.http()?.live().await?;
    let found = live.into_iter().find(|(name, _)| name == node);
    Ok(found.with_context(|| format!("{node} is not live"))?.1)
}
