//! What a node can be told, with the defaults and bounds of each value.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidings_bounds::Time;
use tidings_identity::{ClusterName, Identity, NodeId};

use crate::limits::Limits;
use crate::seeds::Seed;

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
    pub seeds: Vec<Seed>,
    /// Where the node keeps what must survive a restart: its last incarnation, and what is revoked.
    /// Default none: the incarnation is then the wall clock, and should that have stepped back, the
    /// node has to begin again ([`Node::outdated`](crate::Node::outdated)); what is revoked is learnt
    /// anew from the first peer that knows it.
    pub data_dir: Option<PathBuf>,
    /// The least number of this run, as the node has learnt that a later one than it would be is known
    /// ([`Node::outdated`](crate::Node::outdated)). Default 0: the wall clock, or what is kept.
    pub incarnation_min: u64,
    /// How long a graceful leave may take, until the node stops regardless. Default 5 s, at most
    /// 10 min.
    pub drain: Time<0, 600_000>,
    /// How membership is gossiped.
    pub gossip: tidings_membership::Config,
    /// How links to peers behave.
    pub links: tidings_transport::Config,
    /// What sessions may ask for.
    pub limits: Limits,
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
            incarnation_min: 0,
            drain: Time::of_ms::<5_000>(),
            gossip: tidings_membership::Config::default(),
            links: tidings_transport::Config::default(),
            limits: Limits::default(),
        }
    }
}

/// Values that do not go together, or not with the identity of the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The settings of gossip do not go together.
    #[error("gossip.{0}")]
    Gossip(#[from] tidings_membership::ConfigError),
    /// The settings of links do not go together, or not with the limits.
    #[error("links.{0}")]
    Links(#[from] tidings_transport::ConfigError),
    /// The configured name is another than the certificate's.
    #[error("name is {name}, but the certificate is for {certified}")]
    Name {
        /// As configured.
        name: NodeId,
        /// As certified.
        certified: NodeId,
    },
    /// The configured cluster is another than the certificate's.
    #[error("cluster is {cluster}, but the certificate is for {certified}")]
    Cluster {
        /// As configured.
        cluster: ClusterName,
        /// As certified.
        certified: ClusterName,
    },
    /// Peers cannot dial the address that they would be told.
    #[error(
        "advertise is {0}, which peers cannot dial: set an address at which they reach this node"
    )]
    Advertise(SocketAddr),
    /// Nodes talk to each other only with certificates.
    #[error("seeds are given but no certificates, without which nodes do not talk to each other")]
    NoCertificates,
}

impl Config {
    /// Checks what the types of the fields cannot: that the values go together, and with the
    /// identity that the node is to have. Starting a node checks just this, so a node whose config
    /// passes can only fail to start for what the machine refuses.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, identity: Option<&Identity>) -> Result<(), ConfigError> {
        self.gossip.check()?;
        self.links.check(self.limits.frame_bytes_max())?;
        let Some(identity) = identity else {
            if self.seeds.is_empty() {
                return Ok(());
            }
            return Err(ConfigError::NoCertificates);
        };
        let (name, certified) = (self.name_with(Some(identity)), identity.name().clone());
        if name != certified {
            return Err(ConfigError::Name { name, certified });
        }
        let (cluster, certified) = (
            self.cluster_with(Some(identity)),
            identity.cluster().clone(),
        );
        if cluster != certified {
            return Err(ConfigError::Cluster { cluster, certified });
        }
        // Without an address to advertise it is the one that is bound, whose port is never 0.
        let advertise = self.advertise.unwrap_or(self.listen);
        if advertise.ip().is_unspecified() || self.advertise.is_some_and(|own| own.port() == 0) {
            return Err(ConfigError::Advertise(advertise));
        }
        Ok(())
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().check(None), Ok(()));
    }

    #[test]
    fn values_that_do_not_go_together_are_named() {
        let mut config = Config::default();
        config.gossip.silence_min = Time::of_ms::<10>();
        let error = config.check(None).unwrap_err().to_string();
        assert!(error.starts_with("gossip.silence_min is 10ms"), "{error}");
        let config = Config {
            seeds: vec!["n1:7946".parse().unwrap()],
            ..Config::default()
        };
        assert_eq!(config.check(None), Err(ConfigError::NoCertificates));
    }
}
