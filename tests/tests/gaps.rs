//! Messages that are lost between nodes are counted once, and both nodes know.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_tests::{Cluster, Inbox, Node, wait_until};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_for_ten_seconds_knows_that_it_missed_messages() -> Result<()> {
    let scene = Scene::start().await?;
    let publishing = scene.publish_for(Duration::from_secs(14));
    let freezing = async {
        sleep(Duration::from_secs(1)).await;
        scene.far.freeze()?;
        sleep(Duration::from_secs(10)).await;
        scene.far.thaw()
    };
    tokio::try_join!(publishing, freezing)?;
    scene.sums_are_exact().await?;
    let link = scene.far.http()?.link_to("n1").await?;
    ensure!(link.unknown_gaps > 0, "{link:?}");
    scene.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_link_that_was_cut_for_three_seconds_know_what_was_lost() -> Result<()> {
    let scene = Scene::start().await?;
    let publishing = scene.publish_for(Duration::from_secs(7));
    let cutting = async {
        sleep(Duration::from_secs(1)).await;
        scene.cluster.partition(&["n1", "n2"])?;
        sleep(Duration::from_secs(3)).await;
        scene.cluster.heal()
    };
    tokio::try_join!(publishing, cutting)?;
    scene.sums_are_exact().await?;
    scene.end()
}

/// A publisher on one node, and subscribers on it and on another.
struct Scene {
    cluster: Cluster,
    near: Node,
    far: Node,
    _inboxes: [Inbox; 2],
}

impl Scene {
    async fn start() -> Result<Self> {
        let cluster = Cluster::up(2)?;
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let inboxes = [
            Inbox::open(&near, "t").await?,
            Inbox::open(&far, "t").await?,
        ];
        cluster.wait_members(&[1, 2], "t", 2, SOON).await?;
        Ok(Self {
            cluster,
            near,
            far,
            _inboxes: inboxes,
        })
    }

    /// Publishes some thousand messages a second.
    async fn publish_for(&self, duration: Duration) -> Result<()> {
        let publisher = self.near.connect().await?;
        let begun = Instant::now();
        while begun.elapsed() < duration {
            for _ in 0..20 {
                publisher.publish("t", vec![0; 200].into()).await?;
            }
            sleep(Duration::from_millis(5)).await;
        }
        publisher.flush().await?;
        Ok(())
    }

    /// What was sent was received or counted as lost by one of the nodes, and each knows what the other
    /// counts.
    async fn sums_are_exact(&self) -> Result<()> {
        self.cluster.wait_agreed(&[1, 2], SOON).await?;
        wait_until("the sums are exact", SOON, async || {
            let sums = self.sums().await;
            matches!(sums, Ok((is_exact, _)) if is_exact)
        })
        .await;
        println!("figure: {}", self.sums().await?.1);
        Ok(())
    }

    async fn sums(&self) -> Result<(bool, String)> {
        let (near, far) = (self.near.http()?, self.far.http()?);
        let sent = near
            .metrics()
            .await?
            .with_label("tidings_messages_sent_total", "to=\"remote\"");
        let received = far.metrics().await?.sum("tidings_messages_received_total");
        let (here, there) = (near.link_to("n2").await?, far.link_to("n1").await?);
        let (dropped, lost) = (here.dropped_frames, there.lost_frames);
        let is_exact = sent as u64 == received as u64 + dropped + lost
            && here.lost_frames_there == lost
            && there.dropped_frames_there == dropped;
        let sums =
            format!("{sent} sent, {received} received, {dropped} dropped, {lost} lost; {there:?}");
        Ok((is_exact, sums))
    }

    fn end(self) -> Result<()> {
        self.cluster.down()
    }
}
