//! Nodes of the version before this one are replaced one after the other, while clients go on.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_tests::{Cluster, Traffic, Watch, binary, millis, pairs, previous_binary, wait_until};
use tokio::time::Instant;

const NODES: usize = 5;
const SOON: Duration = Duration::from_secs(20);
/// How many messages each client publishes between two steps.
const STEP: usize = 100;
/// How long a node may be missing from the view of another, on a busy machine.
const ABSENCE_MAX: Duration = Duration::from_secs(3);
/// Versions of the protocol which the one that followed did not speak. Of these there was no release.
const LEFT_BEHIND: [u16; 2] = [3, 4];
/// How long the log of a node does not say the same again.
const SILENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_upgraded_one_by_one_and_what_is_published_between_others_arrives() -> Result<()>
{
    let Some(previous) = previous_binary() else {
        return Ok(()); // which it has said
    };
    println!("figure: upgraded from {}", previous.display());
    Upgrade::begin(&previous).await?.run().await
}

/// What the two versions make of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mixed {
    OneCluster,
    /// The new version refuses the previous one: until the end there are two clusters.
    Halves,
}

/// A line of the log that says that two nodes have no version in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    /// The other one's address, without the port.
    remote: String,
    /// The version that the other one speaks.
    version: u16,
    by_other: bool,
}

struct Upgrade {
    cluster: Cluster,
    traffic: Traffic,
    watch: Watch,
    begun: Instant,
}

impl Upgrade {
    async fn begin(previous: &Path) -> Result<Self> {
        let cluster = Cluster::with_binary(NODES, previous)?;
        let mut traffic = Traffic::start(&cluster).await?;
        let all = cluster.all();
        cluster
            .wait_members(&all, Traffic::TOPIC, NODES, SOON)
            .await?;
        for (one, other) in pairs(NODES) {
            traffic.promise(one, other);
        }
        let watch = Watch::start(&cluster)?;
        Ok(Self {
            cluster,
            traffic,
            watch,
            begun: Instant::now(),
        })
    }

    async fn run(mut self) -> Result<()> {
        // The seeds first, so that what is new finds what is new.
        let mut mixed = None;
        for number in 1..=NODES {
            self.replace(number).await?;
            let mixed = match mixed {
                Some(mixed) => mixed,
                None => *mixed.insert(self.decide().await?),
            };
            let is_new = |other: usize| other <= number;
            let group = |other| (mixed == Mixed::Halves).then(|| is_new(other));
            let with = |of| -> Vec<usize> {
                let all = 1..=NODES;
                all.filter(|&other| group(other) == group(of)).collect()
            };
            for one_of in [number, NODES] {
                let whole = with(one_of);
                let topic = Traffic::TOPIC;
                self.cluster.wait_agreed(&whole, SOON).await?;
                self.cluster
                    .wait_members(&whole, topic, whole.len(), SOON)
                    .await?;
            }
            for other in with(number) {
                self.traffic.promise(number - 1, other - 1);
            }
            let place = usize::from(mixed == Mixed::Halves);
            self.watch.place(number - 1, Some(place));
            if mixed == Mixed::Halves && number == 2 {
                self.both_say_the_version_once_a_minute(number).await?;
            }
        }
        self.finish(mixed.context("there are nodes")?).await
    }

    /// Stops a node and starts it again as what is new.
    async fn replace(&mut self, number: usize) -> Result<()> {
        self.traffic.settle(STEP, SOON).await;
        self.found_nothing_wrong(number).await?;
        self.watch.place(number - 1, None);
        for other in 0..NODES {
            self.traffic.suspend(number - 1, other);
        }
        let node = format!("n{number}");
        self.cluster.stop(&node)?;
        self.cluster.start_as(&node, binary())
    }

    /// What is new finds its way into the cluster of what is old, or says why not.
    async fn decide(&self) -> Result<Mixed> {
        let old = self.cluster.node(NODES)?.http()?;
        let mut mixed = None;
        wait_until(
            "n1 is seen by the others or refuses them",
            SOON,
            async || {
                let live = old.live().await.unwrap_or_default();
                if live.iter().any(|(node, _)| node == "n1") {
                    mixed = Some(Mixed::OneCluster);
                } else if !self.refusals("n1").is_empty() {
                    mixed = Some(Mixed::Halves);
                }
                mixed.is_some()
            },
        )
        .await;
        let mixed = mixed.context("decided")?;
        if mixed == Mixed::Halves {
            for refusal in self.refusals("n1") {
                ensure!(
                    LEFT_BEHIND.contains(&refusal.version),
                    "a version is refused that should be spoken still: {refusal:?}"
                );
            }
        }
        println!("figure: the two versions are {mixed:?}");
        Ok(mixed)
    }

    /// What the log of a node says about others that do not speak its version.
    fn refusals(&self, node: &str) -> Vec<Refusal> {
        let log = self.cluster.log(node).unwrap_or_default();
        log.lines().filter_map(Refusal::parse).collect()
    }

    /// Waits until nodes of both halves have said it, and said it again.
    async fn both_say_the_version_once_a_minute(&self, new: usize) -> Result<()> {
        let says = |node: usize, often: usize| {
            let refusals = self.refusals(&format!("n{node}"));
            refusals.iter().any(|one| count(&refusals, one) >= often)
        };
        for often in [1, 2] {
            let limit = SOON + SILENCE * (often as u32 - 1);
            wait_until("both halves say the version", limit, async || {
                (1..=new).any(|node| says(node, often))
                    && (new + 1..=NODES).any(|node| says(node, often))
            })
            .await;
        }
        Ok(())
    }

    /// Of what it was told by others.
    async fn found_nothing_wrong(&self, number: usize) -> Result<()> {
        let node = self.cluster.node(number)?;
        ensure!(node.runs(), "n{number} has ended by itself");
        let metrics = node.http()?.metrics().await?;
        for metric in [
            "tidings_link_violations_total",
            "tidings_gossip_malformed_total",
        ] {
            ensure!(metrics.has(metric), "n{number} does not tell {metric}");
            ensure!(metrics.sum(metric) == 0.0, "n{number}: {metric}");
        }
        // What is for a subscriber whose node goes may be lost. Nothing else is.
        let dropped = "tidings_messages_dropped_total";
        let mut unexplained = metrics.sum(dropped);
        for reason in ["session_ended", "peer_forgotten", "peer_restarted"] {
            unexplained -= metrics.with_label(dropped, &format!("reason=\"{reason}\""));
        }
        ensure!(unexplained == 0.0, "n{number} has lost {unexplained}");
        Ok(())
    }

    async fn finish(self, mixed: Mixed) -> Result<()> {
        self.traffic.settle(STEP, SOON).await;
        for number in self.cluster.all() {
            self.found_nothing_wrong(number).await?;
            let minutes = self.begun.elapsed().as_secs() / SILENCE.as_secs();
            let refusals = self.refusals(&format!("n{number}"));
            for refusal in &refusals {
                ensure!(mixed == Mixed::Halves, "n{number}: {refusal:?}");
                let count = count(&refusals, refusal);
                ensure!(
                    count as u64 <= 1 + minutes,
                    "n{number} says {count} times: {refusal:?}"
                );
            }
        }
        let absence = self.watch.longest_absence();
        ensure!(absence < ABSENCE_MAX, "not seen for {absence:?}");
        let outcome = self.traffic.finish(SOON).await?;
        println!(
            "figure: five nodes upgraded in {} s: {} messages, {} of them between nodes that ran, {} \
             received; a node that ran was missing from a view for {} ms at most",
            self.begun.elapsed().as_secs(),
            outcome.published,
            outcome.promised,
            outcome.received,
            millis(absence)
        );
        self.cluster.down()
    }
}

impl Refusal {
    fn parse(line: &str) -> Option<Self> {
        let (_, remote) = line.split_once("remote=")?;
        let (_, said) = line.split_once("peer speaks protocol version ")?;
        let by_other = line.contains("a peer refused our handshake");
        // What the other says of itself comes second.
        let version = match by_other {
            true => said.split_once("this node speaks ")?.1,
            false => said,
        };
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self {
            remote: remote.split(':').next()?.to_owned(),
            version: digits.parse().ok()?,
            by_other,
        })
    }
}

fn count(refusals: &[Refusal], one: &Refusal) -> usize {
    refusals.iter().filter(|other| *other == one).count()
}
