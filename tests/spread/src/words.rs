//! What the program and the processes of its nodes say to each other, a line of JSON each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a node is to do. It answers each with one [`Reply`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    Start {
        authority: String,
        certificate: String,
        key: String,
        seed: Option<SocketAddr>,
        /// How many buckets it has, if not as many as by default.
        buckets: Option<usize>,
    },
    /// Make the memberships.
    Load(Load),
    /// Wait until the view has so many live nodes and memberships.
    Wait {
        nodes: usize,
        memberships: usize,
    },
    /// Join a topic that nobody else joins.
    Join {
        topic: String,
    },
    /// Say when that topic was seen to have a member.
    Seen {
        topic: String,
    },
    /// Leave and join so many times a second, for so long.
    Change {
        per_second: f64,
        seconds: f64,
    },
    Usage,
}

/// The memberships of one node.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) memberships: usize,
    pub(crate) topics: usize,
    pub(crate) agents: usize,
    /// How many of the memberships are of one topic, besides those topics.
    pub(crate) of_one: usize,
    /// How long the names of agents are; without names if 0.
    pub(crate) name_bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Started {
        addr: SocketAddr,
    },
    Loaded {
        seconds: f64,
        refused: usize,
        why: Option<String>,
    },
    Done,
    /// When that was, since the Unix epoch.
    At {
        unix_ns: u64,
    },
    Usage(Usage),
    Failed {
        why: String,
    },
}

/// What a process has taken so far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) gossip_bytes_out: u64,
}
