use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::ConnectOptions;
use futures::future::join_all;
use serde::Deserialize;

use crate::program::signal;
use crate::{Http, binary, repository, wait_until};

/// A node of a cluster, as `cluster.json` tells of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name, `n1`, `n2` and so on.
    pub node: String,
    /// Its network namespace.
    pub ns: String,
    /// Its process.
    pub pid: u32,
    /// Where its peers reach it.
    pub cluster: String,
    /// Where its client gateway is reached from here.
    pub client: String,
    /// Where its HTTP gateway is reached from here.
    pub http: String,
}

impl Node {
    /// Asks this node over HTTP.
    pub fn http(&self) -> Result<Http> {
        Http::new(&self.http)
    }

    /// A connection of a stock client to this node.
    pub async fn connect(&self) -> Result<async_nats::Client> {
        // It stays with its node, though nodes tell of each other.
        ConnectOptions::new()
            .ignore_discovered_servers()
            .connect(&self.client)
            .await
            .with_context(|| format!("connect {}", self.node))
    }

    /// Asks its process to leave, and does not wait for it as [`Cluster::stop`] does.
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Asks its process to send its clients to other nodes, and then to leave.
    pub fn drain(&self) -> Result<()> {
        self.signal("USR2")
    }

    /// Lets its process read its certificates again.
    pub fn hang_up(&self) -> Result<()> {
        self.signal("HUP")
    }

    /// Makes its process stand still.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets its process go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid, name).with_context(|| self.node.clone())
    }

    /// Whether its process is still there.
    pub fn runs(&self) -> bool {
        std::fs::exists(format!("/proc/{}", self.pid)).unwrap_or(false)
    }

    /// Publishes one text through this node; returns when it is on its way.
    pub async fn publish(&self, topic: &str, text: &str) -> Result<()> {
        let client = self.connect().await?;
        client
            .publish(topic.to_owned(), text.to_owned().into())
            .await?;
        // A client that is dropped takes along what it has not sent yet.
        Ok(client.flush().await?)
    }
}

/// A running cluster of real processes, each in a network namespace of its own.
///
/// Clusters take turns, also among the processes of `cargo test`: two at a time would disturb each
/// other's measurements. A test ends it with [`Cluster::down`]; one that fails drops it before that,
/// and then the nodes' logs are kept.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    size: usize,
    binary: PathBuf,
    /// How long it took from the start of the last node until all views agreed.
    pub agreed_after: Duration,
    is_down: bool,
    _turn: File,
}

impl Cluster {
    /// Starts a cluster of so many nodes and waits until their views agree.
    pub fn up(size: usize) -> Result<Self> {
        Self::with_config(size, "")
    }

    /// Starts a cluster whose nodes read this configuration (TOML) besides.
    pub fn with_config(size: usize, config: &str) -> Result<Self> {
        Self::begin(size, config, binary())
    }

    /// Starts a cluster whose nodes are another binary than the one that is tested.
    pub fn with_binary(size: usize, binary: &Path) -> Result<Self> {
        Self::begin(size, "", binary)
    }

    fn begin(size: usize, config: &str, binary: &Path) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let clusters = repository().join("target/clusters");
        std::fs::create_dir_all(&clusters)?;
        let turn = File::create(clusters.join(".turn"))?;
        turn.lock()?;

        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{count}", std::process::id());
        let mut cluster = Self {
            name,
            size,
            binary: binary.to_owned(),
            agreed_after: Duration::ZERO,
            is_down: false,
            _turn: turn,
        };
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(config.as_bytes())?;
        let file = file.path().to_str().context("a path in UTF-8")?;
        let told = cluster.script("up", &[&size.to_string(), "--config", file])?;
        let told = told
            .split_once("agree after ")
            .and_then(|(_, rest)| rest.split_once(" ms"));
        let ms = told.context("scripts/up tells the time")?.0.parse()?;
        cluster.agreed_after = Duration::from_millis(ms);
        Ok(cluster)
    }

    /// Ends the cluster and removes all its traces. No node may have panicked up to here.
    pub fn down(mut self) -> Result<()> {
        for node in self.nodes()? {
            let log = self.log(&node.node)?;
            ensure!(
                !log.contains("panicked at"),
                "{} has panicked:\n{log}",
                node.node
            );
        }
        self.script("down", &[])?;
        self.is_down = true;
        Ok(())
    }

    /// The node of this number, counted from 1 as in its name.
    pub fn node(&self, number: usize) -> Result<Node> {
        let node = self.nodes()?.into_iter().nth(number - 1);
        node.with_context(|| format!("there is no n{number}"))
    }

    /// All nodes as they are now: a node that was started again has another process.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let json = std::fs::read(self.directory().join("cluster.json"))?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// Cuts the cluster into groups, each written like `n1,n2`; the nodes not named form one more.
    pub fn partition(&self, groups: &[&str]) -> Result<()> {
        self.script("partition", groups).map(drop)
    }

    /// Lets the packets from one node to another be lost, not the reverse.
    pub fn cut_one_way(&self, from: &str, to: &str) -> Result<()> {
        self.script("partition", &["--one-way", from, to]).map(drop)
    }

    /// Mends everything that was cut.
    pub fn heal(&self) -> Result<()> {
        self.script("heal", &[]).map(drop)
    }

    /// Kills a node as a crash would.
    pub fn kill(&self, node: &str) -> Result<()> {
        self.script("kill", &[node]).map(drop)
    }

    /// Asks a node to leave and waits until its process is gone.
    pub fn stop(&self, node: &str) -> Result<()> {
        self.script("stop", &[node]).map(drop)
    }

    /// Starts a node again that was killed or stopped.
    pub fn start(&self, node: &str) -> Result<()> {
        self.script("start", &[node]).map(drop)
    }

    /// Starts a node again as another binary, from now until it is stopped.
    pub fn start_as(&self, node: &str, binary: &Path) -> Result<()> {
        let binary = binary.to_str().context("a path in UTF-8")?;
        self.script("start", &[node, "--bin", binary]).map(drop)
    }

    /// What a node has logged, over all its runs.
    pub fn log(&self, node: &str) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.directory().join(format!("{node}.log")),
        )?)
    }

    /// Where the cluster's files are: `ca` holds its authority.
    pub fn directory(&self) -> PathBuf {
        repository().join("target/clusters").join(&self.name)
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until these nodes (numbers) each see exactly these nodes live, and the same topics
    /// with the same numbers of members. Says how long it took.
    pub async fn wait_agreed(&self, numbers: &[usize], limit: Duration) -> Result<Duration> {
        let https = self.https(numbers)?;
        let mut expected: Vec<String> = numbers.iter().map(|n| format!("n{n}")).collect();
        expected.sort();
        let agreed = async || {
            let views = join_all(https.iter().map(picture)).await;
            let Some(Some((live, _))) = views.first() else {
                return false;
            };
            live.iter().map(|(node, _)| node).eq(&expected)
                && views.iter().all(|view| view == &views[0])
        };
        Ok(wait_until(&format!("the views of {numbers:?} agree"), limit, agreed).await)
    }

    /// Waits until a topic has so many members in the view of each of these nodes.
    pub async fn wait_members(
        &self,
        numbers: &[usize],
        topic: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Duration> {
        let https = self.https(numbers)?;
        let seen = async || {
            let lists = join_all(https.iter().map(|http| http.members(topic))).await;
            lists
                .iter()
                .all(|list| list.as_ref().is_ok_and(|list| list.len() == count))
        };
        let what = format!("{topic} has {count} members in the views of {numbers:?}");
        Ok(wait_until(&what, limit, seen).await)
    }

    /// The numbers of all nodes.
    pub fn all(&self) -> Vec<usize> {
        (1..=self.size).collect()
    }

    /// The sum of a metric over all these nodes.
    pub async fn metric(&self, numbers: &[usize], name: &str) -> Result<f64> {
        let mut sum = 0.0;
        for http in self.https(numbers)? {
            sum += http.metrics().await?.sum(name);
        }
        Ok(sum)
    }

    fn https(&self, numbers: &[usize]) -> Result<Vec<Http>> {
        numbers
            .iter()
            .map(|&number| self.node(number)?.http())
            .collect()
    }

    fn script(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new(repository().join("scripts").join(script))
            .args(arguments)
            .args(["--name", &self.name])
            .env("TIDINGS_BIN", &self.binary)
            .output()
            .with_context(|| format!("run scripts/{script}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "scripts/{script} {arguments:?}: {errors}"
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_down {
            return;
        }
        eprintln!(
            "the logs of the nodes are in {}",
            self.directory().display()
        );
        if let Err(error) = self.script("down", &["--keep-logs"]) {
            eprintln!("{error:#}");
        }
    }
}

/// What has to be equal everywhere: live nodes with incarnations, topics with numbers of members.
type Picture = (Vec<(String, u64)>, Vec<(String, String, u64)>);

async fn picture(http: &Http) -> Option<Picture> {
    let (nodes, topics) = futures::try_join!(http.live(), http.topics()).ok()?;
    Some((
        nodes,
        topics
            .into_iter()
            .map(|t| (t.scope, t.topic, t.members))
            .collect(),
    ))
}
