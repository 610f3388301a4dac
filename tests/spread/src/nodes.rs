//! The processes of the nodes, as the program drives them.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidings::{Authority, Net, SystemNet, Validity};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::words::{Command, Reply, Usage};

/// A cluster, each of whose nodes is a process. Ends with this.
pub(crate) struct Nodes {
    authority: Authority,
    validity: Validity,
    seed: Option<SocketAddr>,
    buckets: Option<usize>,
    pub(crate) all: Vec<NodeProcess>,
}

pub(crate) struct NodeProcess {
    _process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Nodes {
    pub(crate) async fn start(nodes: usize, buckets: Option<usize>) -> Result<Self> {
        let validity = Validity::starting(SystemNet.unix_time(), LIFE)?;
        let mut cluster = Self {
            authority: Authority::create(&"spread".parse()?, validity)?,
            validity,
            seed: None,
            buckets,
            all: Vec::new(),
        };
        for _ in 0..nodes {
            cluster.start_one().await?;
        }
        Ok(cluster)
    }

    /// Starts one more node.
    pub(crate) async fn start_one(&mut self) -> Result<()> {
        let name = format!("n{}", self.all.len()).parse()?;
        let certificate = self.authority.issue(&name, self.validity)?;
        let mut process = tokio::process::Command::new(std::env::current_exe()?)
            .arg("--member")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = process.stdin.take().context("no standard input")?;
        let from = process.stdout.take().context("no standard output")?;
        let mut node = NodeProcess {
            _process: process,
            to,
            from: BufReader::new(from).lines(),
        };
        let start = Command::Start {
            authority: self.authority.certificate_pem().to_owned(),
            certificate: certificate.certificate_pem,
            key: certificate.key_pem,
            seed: self.seed,
            buckets: self.buckets,
        };
        let Reply::Started { addr } = node.ask(&start).await? else {
            bail!("the node did not start");
        };
        self.seed.get_or_insert(addr);
        self.all.push(node);
        Ok(())
    }

    /// Asks all at once, and waits for all.
    pub(crate) async fn ask_all(&mut self, command: &Command) -> Result<Vec<Reply>> {
        for node in &mut self.all {
            node.say(command).await?;
        }
        let mut replies = Vec::new();
        for node in &mut self.all {
            replies.push(node.hear().await?);
        }
        Ok(replies)
    }

    pub(crate) async fn usage(&mut self) -> Result<Vec<Usage>> {
        let replies = self.ask_all(&Command::Usage).await?;
        let usage = |reply| match reply {
            Reply::Usage(usage) => Ok(usage),
            other => bail!("{other:?} is no usage"),
        };
        replies.into_iter().map(usage).collect()
    }
}

impl NodeProcess {
    pub(crate) async fn ask(&mut self, command: &Command) -> Result<Reply> {
        self.say(command).await?;
        self.hear().await
    }

    async fn say(&mut self, command: &Command) -> Result<()> {
        let line = serde_json::to_string(command)? + "\n";
        self.to.write_all(line.as_bytes()).await?;
        Ok(())
    }

    async fn hear(&mut self) -> Result<Reply> {
        let line = self.from.next_line().await?;
        let line = line.context("the process of a node has ended")?;
        match serde_json::from_str(&line)? {
            Reply::Failed { why } => bail!("a node: {why}"),
            reply => Ok(reply),
        }
    }
}

const LIFE: Duration = Duration::from_secs(86_400);
