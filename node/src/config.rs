//! What a node can be told, with the defaults and bounds of each value.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_bounds::Time;
use tidings_identity::{ClusterName, Identity, NodeId};

use crate::limits::Limits;

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
    pub cluster: Option<ClusterName>,
    /// The UDP address on which peers reach this node. Default `0.0.0.0:7946`; without
    /// certificates it is not opened.
    pub listen: SocketAddr,
    /// The address that other nodes are told to use. Default: `listen`, which then must name one
    /// address and not `0.0.0.0`.
    pub advertise: Option<SocketAddr>,
    /// Where to find the cluster, as `host:port`; names are resolved again from time to time.
    /// Default none: the node waits to be found.
    pub seeds: Vec<String>,
    /// Where the node keeps what must survive a restart: its last incarnation. Default none: the
    /// incarnation is then the wall clock, which must not step back over a restart.
    pub data_dir: Option<PathBuf>,
    /// How long a graceful leave may take, until the node stops regardless. Default 5 s, at most
    /// 10 min.
    pub drain: Time<0, 600_000>,
    /// How membership is gossiped.
    pub gossip: GossipConfig,
    /// How links to peers behave.
    pub links: LinksConfig,
    /// What sessions may ask for.
    pub limits: Limits,
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

/// How links to peers behave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinksConfig {
    /// Ordered streams to each peer, among which publishers are spread. Default 4, 1 to 16. More
    /// keeps publishers out of each other's way and costs memory.
    pub lanes: u8,
    /// What may wait for one peer on one lane, in bytes. When full, new messages for that peer are
    /// dropped and counted. Default 16 MiB.
    pub outbound_bytes_max: usize,
    /// After how long without a sign of life a link is given up. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How often an idle link is kept alive. Default 1 s; must be shorter than `idle_timeout`.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            cluster: None,
            listen: (Ipv4Addr::UNSPECIFIED, PORT).into(),
            advertise: None,
            seeds: Vec::new(),
            data_dir: None,
            drain: Time::of_ms::<5_000>(),
            gossip: GossipConfig::default(),
            links: LinksConfig::default(),
            limits: Limits::default(),
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

impl Default for LinksConfig {
    fn default() -> Self {
        Self {
            lanes: 4,
            outbound_bytes_max: 16 << 20,
            idle_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
        }
    }
}

/// A value that a node cannot run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// Which field, as a path: `gossip.interval`.
    pub key: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Config {
    /// Checks what the types cannot: values that must fit each other, or the identity with which
    /// the node is to run. A node that starts has passed it; one that has passed it can only fail
    /// to start for what the machine refuses.
    pub fn check(&self, identity: Option<&Identity>) -> Result<(), ConfigError> {
        self.check_identity(identity)?;
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
        let links = &self.links;
        between("links.lanes", links.lanes, 1, 16)?;
        between(
            "links.outbound_bytes_max",
            links.outbound_bytes_max,
            1 << 16,
            1 << 32,
        )?;
        between(
            "links.idle_timeout",
            links.idle_timeout,
            ms(100),
            ms(600_000),
        )?;
        between(
            "links.keep_alive",
            links.keep_alive,
            ms(10),
            links.idle_timeout / 2,
        )?;
        for seed in &self.seeds {
            check_seed(seed)?;
        }
        Ok(())
    }
}

impl Config {
    /// The node's name, when it runs with this identity.
    pub(crate) fn name_with(&self, identity: Option<&Identity>) -> NodeId {
        let certified = identity.map(|identity| identity.name().clone());
        let nobody = || NodeId::parse("node").expect("`node` is a node name");
        self.name.clone().or(certified).unwrap_or_else(nobody)
    }

    /// The cluster's name, when the node runs with this identity.
    pub(crate) fn cluster_with(&self, identity: Option<&Identity>) -> ClusterName {
        let certified = identity.map(|identity| identity.cluster().clone());
        self.cluster.clone().or(certified).unwrap_or_default()
    }

    fn check_identity(&self, identity: Option<&Identity>) -> Result<(), ConfigError> {
        let invalid = |key, problem| Err(ConfigError { key, problem });
        let Some(identity) = identity else {
            if self.seeds.is_empty() {
                return Ok(());
            }
            let problem = "there are seeds but no certificates, without which nodes do not talk to \
                           each other";
            return invalid("seeds", problem.into());
        };
        let (name, certified) = (self.name_with(Some(identity)), identity.name());
        if name != *certified {
            let problem = format!("it is {name}, but the certificate is for {certified}");
            return invalid("name", problem);
        }
        let (cluster, certified) = (self.cluster_with(Some(identity)), identity.cluster());
        if cluster != *certified {
            let problem = format!("it is {cluster}, but the certificate is for {certified}");
            return invalid("cluster", problem);
        }
        // Without an address to advertise it is the one that is bound, whose port is never 0.
        let advertise = self.advertise.unwrap_or(self.listen);
        if advertise.ip().is_unspecified() || self.advertise.is_some_and(|own| own.port() == 0) {
            let problem = format!("{advertise} cannot be dialled by peers: set one that can");
            return invalid("advertise", problem);
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
) -> Result<(), ConfigError> {
    if min <= value && value <= max {
        return Ok(());
    }
    Err(ConfigError {
        key,
        problem: format!("{value:?} is not within {min:?} to {max:?}"),
    })
}

fn check_seed(seed: &str) -> Result<(), ConfigError> {
    let is_fine = match seed.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => false,
    };
    if is_fine {
        return Ok(());
    }
    let problem = format!("{seed:?} is not host:port, such as 10.0.0.1:{PORT}");
    Err(ConfigError {
        key: "seeds",
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().check(None), Ok(()));
    }

    #[test]
    fn an_error_names_the_key_and_the_bounds() {
        let mut config = Config::default();
        config.gossip.buckets = 0;
        let error = config.check(None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gossip.buckets: 0 is not within 1 to 1024"
        );
        let config = Config {
            seeds: vec!["nowhere".into()],
            ..Config::default()
        };
        assert_eq!(config.check(None).unwrap_err().key, "seeds");
    }
}
