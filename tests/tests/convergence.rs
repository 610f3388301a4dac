//! Views become equal, soon, and hold the figures that the project promises.

use std::time::Duration;

use anyhow::Result;
use tidings_tests::{Cluster, Figures, Inbox, millis};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_agree_and_a_subscription_is_in_every_view_within_100_ms() -> Result<()> {
    let cluster = Cluster::up(10)?;
    println!(
        "figure: ten nodes agree after {} ms",
        millis(cluster.agreed_after)
    );
    assert!(
        cluster.agreed_after < Duration::from_secs(3),
        "{:?}",
        cluster.agreed_after
    );

    let mut figures = Figures::default();
    let mut inboxes = Vec::new();
    for number in 0..100 {
        let topic = format!("spread.{number}");
        inboxes.push(Inbox::open(&cluster.node(number % 10 + 1)?, &topic).await?);
        figures.add(
            cluster
                .wait_members(&cluster.all(), &topic, 1, SOON)
                .await?,
        );
    }
    figures.print("a subscription is in all ten views");
    assert!(
        figures.median() < Duration::from_millis(100),
        "{:?}",
        figures.median()
    );

    let topics = cluster.node(1)?.http()?.topics().await?;
    assert_eq!(topics.len(), 100);
    drop(inboxes);
    for number in 0..100 {
        cluster
            .wait_members(&cluster.all(), &format!("spread.{number}"), 0, SOON)
            .await?;
    }
    assert_eq!(
        cluster.node(10)?.http()?.topics().await?,
        [],
        "a topic without members is gone"
    );
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_learns_all_earlier_members() -> Result<()> {
    let cluster = Cluster::up(3)?;
    cluster.stop("n3")?;
    let mut inboxes = Vec::new();
    for number in 0..20 {
        inboxes.push(Inbox::open(&cluster.node(number % 2 + 1)?, "early").await?);
    }
    cluster.start("n3")?;
    cluster.wait_agreed(&[1, 2, 3], SOON).await?;
    cluster.wait_members(&[3], "early", 20, SOON).await?;
    for http in [cluster.node(1)?.http()?, cluster.node(3)?.http()?] {
        assert_eq!(http.status("/livez").await?, 200);
        assert_eq!(http.status("/readyz").await?, 200);
    }
    let (first, last) = (cluster.node(1)?.http()?, cluster.node(3)?.http()?);
    assert_eq!(first.members("early").await?, last.members("early").await?);
    cluster.down()
}
