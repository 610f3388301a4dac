//! What a node can be told, with the defaults and bounds of each value.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_identity::NodeId;
use tidings_membership::Scope;

pub use tidings_transport::Config as LinksConfig;

use crate::limits::Limits;
use crate::mailbox::{MailboxConfig, Overflow};

/// The port on which nodes talk to each other when none is given.
pub const PORT: u16 = 7946;

/// How a node runs. Every field has a default, so that `Config::default()` is a node on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's name, unique in the cluster. Default: the one in its certificate, else `node`. If
    /// both are given they must agree.
    pub name: Option<NodeId>,
    /// The cluster's name. Default: the one in the certificate, else `tidings`. If both are given
    /// they must agree.
    pub cluster: Option<String>,
    /// The UDP address on which peers reach this node. Default `0.0.0.0:7946`; without
    /// certificates it is not opened.
    pub listen: SocketAddr,
    /// The address that other nodes are told to use. Default: `listen`, which then must name one
    /// address and not `0.0.0.0`.
    pub advertise: Option<SocketAddr>,
    /// Where to find the cluster, as `host:port`; names are resolved again from time to time.
    /// Default none: the node waits to be found.
    pub seeds: Vec<String>,
    /// Where clients connect, in the NATS client protocol. Default `127.0.0.1:4222`; none closes
    /// the gateway.
    pub client: Option<SocketAddr>,
    /// Where HTTP is served. Default `127.0.0.1:8222`; none closes it.
    pub http: Option<SocketAddr>,
    /// The directory with `ca.pem`, `node.pem` and `node-key.pem`. Default none: the node runs
    /// alone.
    pub tls_dir: Option<PathBuf>,
    /// Where the node keeps what must survive a restart: its last incarnation. Default none: the
    /// incarnation is then the wall clock, which must not step back over a restart.
    pub data_dir: Option<PathBuf>,
    /// How long a graceful leave may take, until the node stops regardless. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// How membership is gossiped.
    pub gossip: GossipConfig,
    /// How links to peers behave.
    pub links: LinksConfig,
    /// What sessions may ask for.
    pub limits: Limits,
    /// The client gateway.
    pub gateway: GatewayConfig,
}

/// How membership is gossiped. Should be the same on all nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GossipConfig {
    /// How often a node gossips when nothing happens, and the measure of failure detection: a dead
    /// node is gone after about eight of these. Default 250 ms, 10 ms to 10 s. Shorter finds
    /// failures sooner and costs traffic.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long local changes are gathered before they are gossiped at once. Default 2 ms, up to 1 s.
    #[serde(with = "humantime_serde")]
    pub coalesce: Duration,
    /// No node is called dead that gave a sign of life within this time. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub silence_min: Duration,
    /// How long a dead node is remembered, which costs 41 bytes and its name in every gossip
    /// message. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub dead_node_grace: Duration,
    /// How often a node tries one that it lost sight of. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub rejoin_interval: Duration,
    /// Into how many values a node's memberships are cut; each holds up to 48 kB. Default 64, 1 to
    /// 1,024. More allows more memberships on a node.
    pub buckets: u16,
}

/// The client gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// The scope in which clients publish and subscribe. Default `default`.
    pub scope: Scope,
    /// How often a client is asked for a sign of life. Default 2 min.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// After how many unanswered questions a client's connection is closed. Default 2.
    pub pings_out_max: u32,
    /// How long a client may take from connecting to its CONNECT. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// The longest line of the protocol, in bytes. Default 4,096.
    pub line_bytes_max: usize,
    /// What may wait for a client that reads slowly. By default it is disconnected when more does.
    pub mailbox: MailboxConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            cluster: None,
            listen: (Ipv4Addr::UNSPECIFIED, PORT).into(),
            advertise: None,
            seeds: Vec::new(),
            client: Some((Ipv4Addr::LOCALHOST, 4222).into()),
            http: Some((Ipv4Addr::LOCALHOST, 8222).into()),
            tls_dir: None,
            data_dir: None,
            drain: Duration::from_secs(5),
            gossip: GossipConfig::default(),
            links: LinksConfig::default(),
            limits: Limits::default(),
            gateway: GatewayConfig::default(),
        }
    }
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(250),
            coalesce: Duration::from_millis(2),
            silence_min: Duration::from_secs(1),
            dead_node_grace: Duration::from_secs(600),
            rejoin_interval: Duration::from_secs(1),
            buckets: 64,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            ping_interval: Duration::from_secs(120),
            pings_out_max: 2,
            connect_timeout: Duration::from_secs(5),
            line_bytes_max: 4096,
            mailbox: MailboxConfig {
                overflow: Overflow::Disconnect,
                ..MailboxConfig::default()
            },
        }
    }
}

/// A value that a node cannot run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidConfig {
    /// Which field, as a path: `gossip.interval`.
    pub key: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Config {
    /// Checks what the types cannot: bounds, and values that must fit each other.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let ms = Duration::from_millis;
        let gossip = &self.gossip;
        between("gossip.interval", gossip.interval, ms(10), ms(10_000))?;
        between("gossip.coalesce", gossip.coalesce, ms(0), ms(1_000))?;
        between(
            "gossip.silence_min",
            gossip.silence_min,
            gossip.interval,
            ms(60_000),
        )?;
        between(
            "gossip.dead_node_grace",
            gossip.dead_node_grace,
            ms(1_000),
            DAY,
        )?;
        between(
            "gossip.rejoin_interval",
            gossip.rejoin_interval,
            ms(10),
            ms(600_000),
        )?;
        between("gossip.buckets", gossip.buckets, 1, 1_024)?;
        self.links
            .check(self.limits.frame_bytes_max())
            .map_err(|error| InvalidConfig {
                key: "links",
                problem: error.to_string(),
            })?;
        let limits = &self.limits;
        between(
            "limits.payload_bytes_max",
            limits.payload_bytes_max,
            1,
            64 << 20,
        )?;
        between(
            "limits.headers_bytes_max",
            limits.headers_bytes_max,
            0,
            1 << 20,
        )?;
        let topic_bytes_max = tidings_membership::TOPIC_BYTES_MAX;
        between(
            "limits.topic_bytes_max",
            limits.topic_bytes_max,
            1,
            topic_bytes_max,
        )?;
        let many = 100_000_000;
        let subscriptions = limits.subscriptions_per_session_max;
        between(
            "limits.subscriptions_per_session_max",
            subscriptions,
            1,
            many,
        )?;
        between("limits.sessions_max", limits.sessions_max, 1, many)?;
        let gateway = &self.gateway;
        between("gateway.ping_interval", gateway.ping_interval, ms(10), DAY)?;
        between("gateway.pings_out_max", gateway.pings_out_max, 1, 100)?;
        between(
            "gateway.connect_timeout",
            gateway.connect_timeout,
            ms(10),
            ms(600_000),
        )?;
        between(
            "gateway.line_bytes_max",
            gateway.line_bytes_max,
            512,
            1 << 20,
        )?;
        between(
            "gateway.mailbox.messages_max",
            gateway.mailbox.messages_max,
            1,
            many,
        )?;
        between(
            "gateway.mailbox.bytes_max",
            gateway.mailbox.bytes_max,
            1,
            1 << 40,
        )?;
        between("drain", self.drain, ms(0), ms(600_000))?;
        for seed in &self.seeds {
            check_seed(seed)?;
        }
        Ok(())
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn between<T: PartialOrd + std::fmt::Debug>(
    key: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), InvalidConfig> {
    if min <= value && value <= max {
        return Ok(());
    }
    Err(InvalidConfig {
        key,
        problem: format!("{value:?} is not within {min:?} to {max:?}"),
    })
}

fn check_seed(seed: &str) -> Result<(), InvalidConfig> {
    let is_fine = match seed.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => false,
    };
    if is_fine {
        return Ok(());
    }
    let problem = format!("{seed:?} is not host:port, such as 10.0.0.1:{PORT}");
    Err(InvalidConfig {
        key: "seeds",
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn an_error_names_the_key_and_the_bounds() {
        let mut config = Config::default();
        config.gossip.buckets = 0;
        let error = config.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "gossip.buckets: 0 is not within 1 to 1024"
        );
        let config = Config {
            seeds: vec!["nowhere".into()],
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().key, "seeds");
    }
}
