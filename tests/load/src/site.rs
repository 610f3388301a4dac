use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::client::Client;
use crate::contender::{Addresses, Contender, Kind, node_name};
use crate::counters::{self, Counters};
use crate::servers::{Servers, Usage};

/// How long a server may take until it answers its first client.
const START_MAX: Duration = Duration::from_secs(15);
/// How much of its log is shown when it fails.
const LOG_BYTES_MAX: usize = 4 << 10;

/// The nodes of one contender, as long as they run: they end with this.
#[derive(Debug)]
pub(crate) struct Site {
    servers: Servers,
    kind: Kind,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    pid: u32,
    log: PathBuf,
    addresses: Addresses,
}

impl Site {
    /// Starts so many nodes, one or two, and returns when each answers clients. Whether they have
    /// found each other is for the caller to see.
    pub(crate) fn start(
        contender: &Contender,
        servers: &Servers,
        nodes: usize,
        dir: &Path,
    ) -> Result<Self> {
        let kind = contender.kind;
        let mut site = Self {
            servers: servers.clone(),
            kind,
            nodes: Vec::new(),
        };
        let free = (0..nodes).map(|_| Addresses::free());
        let addresses = free.collect::<Result<Vec<_>>>()?;
        for number in 0..nodes {
            let mut command = contender.command(number, &addresses, dir)?;
            let log = dir.join(format!("{}-{}.log", kind.name(), node_name(number)));
            let node = Node {
                pid: servers.start(&mut command, &log)?,
                log,
                addresses: addresses[number],
            };
            site.nodes.push(node);
            site.wait_for(number)
                .with_context(|| format!("did not start, and says:\n{}", site.log(number)))?;
        }
        Ok(site)
    }

    /// Where the clients of a node connect.
    pub(crate) fn client(&self, number: usize) -> SocketAddr {
        self.nodes[number].addresses.client
    }

    /// What each node has taken; an error if one runs no more.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>> {
        let usage = |number: usize| {
            let (pid, name) = (self.nodes[number].pid, node_name(number));
            let ended = self.servers.has_ended(pid);
            ensure!(!ended, "{name} has ended, and says:\n{}", self.log(number));
            Usage::of(pid)
        };
        (0..self.nodes.len()).map(usage).collect()
    }

    /// What all nodes count as gone wrong, together.
    pub(crate) fn counters(&self) -> Result<Counters> {
        let mut sum = Counters::new();
        for node in &self.nodes {
            for (name, count) in counters::ask(self.kind, node.addresses.http)? {
                *sum.entry(name).or_default() += count;
            }
        }
        Ok(sum)
    }

    /// The end of what a node has written.
    fn log(&self, number: usize) -> String {
        let log = fs::read(&self.nodes[number].log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(LOG_BYTES_MAX)..];
        String::from_utf8_lossy(end).into_owned()
    }

    fn wait_for(&self, number: usize) -> Result<()> {
        let start = Instant::now();
        while let Err(error) = Client::connect(self.client(number)) {
            let ended = self.servers.has_ended(self.nodes[number].pid);
            ensure!(!ended, "it has ended");
            ensure!(start.elapsed() < START_MAX, "{error:#}");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.servers.end(node.pid);
        }
    }
}
