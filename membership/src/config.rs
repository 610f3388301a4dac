use tidings_identity::{Incarnation, NodeId};

use std::net::SocketAddr;
use std::time::Duration;

/// The longest text a bucket may have in gossip, in bytes. What a peer tells beyond is ignored.
///
/// A gossip message has at most 65,507 bytes, and a value that does not fit into one would never
/// arrive, nor anything its node changed after it.
pub const BUCKET_BYTES_MAX: usize = 48_000;

/// The most buckets that a node may have.
pub const BUCKETS_MAX: usize = 1024;

/// How a node takes part in membership.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name of this node, unique in the cluster.
    pub node: NodeId,
    /// Which run of the node this is. It must be greater than that of any run before, or peers
    /// take what this run says for old.
    pub incarnation: Incarnation,
    /// The address at which peers reach this node.
    pub advertise: SocketAddr,
    /// The name of the cluster. Gossip of another cluster is refused.
    pub cluster: String,
    /// How many buckets this node's topics are spread over: 1 to [`BUCKETS_MAX`], 64 by default.
    /// A change sends its whole bucket, so more buckets make changes cheaper and leave room for
    /// more memberships; each bucket in use costs every node some hundred bytes. Nodes need not
    /// agree on it.
    pub buckets: u16,
    /// The longest text of one bucket, in bytes: 1,000 to [`BUCKET_BYTES_MAX`], which is the
    /// default. A membership that would make its bucket longer is refused
    /// ([`JoinError::BucketFull`](crate::JoinError::BucketFull)).
    pub bucket_bytes_max: usize,
    /// How often this node gossips with a few random peers: 10 ms to 60 s, 250 ms by default.
    /// Shorter finds dead nodes sooner (after about eight to ten intervals) and costs more.
    pub gossip_interval: Duration,
    /// How long changes of this node are gathered before they are told to all peers at once: up to
    /// 1 s, 2 ms by default. Longer costs less when many agents come or go, and tells later.
    pub coalesce: Duration,
    /// How long a node must have been silent before it may count as down: 1 s by default, up to a
    /// minute. Shorter than some gossip intervals takes busy nodes for dead; longer delays the
    /// news of a death.
    pub silence_min: Duration,
    /// How long dead nodes are remembered in gossip: at least 1 s, 10 min by default. Each costs
    /// about 50 bytes of every gossip message. After it, only the address book still knows them.
    pub dead_node_grace: Duration,
    /// How often a peer that is not live is tried: 10 ms to an hour, 1 s by default. What heals a
    /// partition that lasted longer than the grace.
    pub rejoin_interval: Duration,
    /// How many peers the address book remembers: 1,024 by default. When it is full, the peer
    /// that was longest not live is forgotten first.
    pub address_book_max: usize,
    /// How many peers a change is told to at once: 64 by default, at least one. The others learn of it
    /// through them, some gossip intervals later. More is faster and costs this node more.
    pub eager_peers_max: usize,
}

impl Config {
    /// The defaults, in the cluster `tidings`.
    pub fn new(node: NodeId, incarnation: Incarnation, advertise: SocketAddr) -> Self {
        Self {
            node,
            incarnation,
            advertise,
            cluster: "tidings".into(),
            buckets: 64,
            bucket_bytes_max: BUCKET_BYTES_MAX,
            gossip_interval: Duration::from_millis(250),
            coalesce: Duration::from_millis(2),
            silence_min: Duration::from_secs(1),
            dead_node_grace: Duration::from_secs(600),
            rejoin_interval: Duration::from_secs(1),
            address_book_max: 1024,
            eager_peers_max: 64,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let ms = Duration::from_millis;
        let hour = Duration::from_secs(3600);
        let rules = [
            (
                "buckets",
                "1 to 1024",
                (1..=BUCKETS_MAX).contains(&usize::from(self.buckets)),
            ),
            (
                "bucket_bytes_max",
                "1,000 to 48,000 bytes",
                (1_000..=BUCKET_BYTES_MAX).contains(&self.bucket_bytes_max),
            ),
            (
                "gossip_interval",
                "10 ms to 60 s",
                (ms(10)..=ms(60_000)).contains(&self.gossip_interval),
            ),
            ("coalesce", "at most 1 s", self.coalesce <= ms(1_000)),
            (
                "silence_min",
                "at most 60 s",
                self.silence_min <= ms(60_000),
            ),
            (
                "dead_node_grace",
                "1 s to 30 days",
                (ms(1_000)..=24 * 30 * hour).contains(&self.dead_node_grace),
            ),
            (
                "rejoin_interval",
                "10 ms to 1 h",
                (ms(10)..=hour).contains(&self.rejoin_interval),
            ),
            ("address_book_max", "at least 1", self.address_book_max > 0),
            ("eager_peers_max", "at least 1", self.eager_peers_max > 0),
        ];
        match rules.into_iter().find(|(_, _, holds)| !holds) {
            Some((field, bounds, _)) => Err(ConfigError { field, bounds }),
            None => Ok(()),
        }
    }
}

/// A field of a [`Config`] is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {bounds}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What it may be.
    pub bounds: &'static str,
}
