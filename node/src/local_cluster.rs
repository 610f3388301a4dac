use std::net::Ipv4Addr;
use std::time::Duration;

use tidings_identity::{
    Authority, AuthorityError, Identity, IdentityError, NameError, NodeId, Validity, ValidityError,
};
use tidings_transport::{Net, SystemNet};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::{Config, Node, Seed, StartError};

/// Several real nodes in this process, joined over loopback: to try things out, for examples, and
/// for tests of software that embeds nodes.
///
/// Their certificates come from an authority that exists in memory only and is forgotten at once, so
/// no other node can ever join. End it with [`leave`](Self::leave); when it is dropped its nodes end as
/// in a crash, unless somebody else holds them.
#[derive(Debug)]
pub struct LocalCluster {
    nodes: Vec<Node>,
}

impl LocalCluster {
    /// Starts so many nodes, `n1`, `n2` and so on.
    ///
    /// # Errors
    /// See [`LocalClusterError`]; nothing is left running then.
    pub async fn start(nodes: usize) -> Result<Self, LocalClusterError> {
        Self::start_with(vec![Config::default(); nodes]).await
    }

    /// Starts a node for each config. Name, cluster, addresses and seeds are set here, whatever the
    /// configs say of them; the first node is the seed of the others.
    ///
    /// # Errors
    /// See [`LocalClusterError`]; nothing is left running then.
    pub async fn start_with(configs: Vec<Config>) -> Result<Self, LocalClusterError> {
        let validity = Validity::starting(SystemNet.unix_time(), LIFE)?;
        let authority = Authority::create(&CLUSTER.parse()?, validity)?;
        // Dropped with an error, and then its nodes end.
        let mut cluster = Self { nodes: Vec::new() };
        for (number, config) in (1..).zip(configs) {
            let name: NodeId = format!("n{number}").parse()?;
            let certificate = authority.issue(&name, validity)?;
            let identity = Identity::from_pem(
                authority.certificate_pem(),
                &certificate.certificate_pem,
                &certificate.key_pem,
            )?;
            let seed = cluster.nodes.first().and_then(Node::addr);
            let config = Config {
                name: None,
                cluster: None,
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                advertise: None,
                seeds: seed.map(Seed::from).into_iter().collect(),
                ..config
            };
            cluster
                .nodes
                .push(Node::start(config, Some(identity)).await?);
        }
        Ok(cluster)
    }

    /// Waits until every node sees all others live.
    ///
    /// # Errors
    /// When that takes longer than `limit`. The nodes go on.
    pub async fn joined(&self, limit: Duration) -> Result<(), NotJoinedError> {
        let sees_all =
            |node: &Node| node.nodes().iter().filter(|seen| seen.live).count() == self.nodes.len();
        let joined = async {
            while !self.nodes.iter().all(sees_all) {
                sleep(POLL).await;
            }
        };
        timeout(limit, joined).await.map_err(|_| NotJoinedError {
            nodes: self
                .nodes
                .iter()
                .filter(|node| !sees_all(node))
                .map(|n| n.name().clone())
                .collect(),
        })
    }

    /// The nodes, in the order of the configs.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Lets all nodes leave, at the same time.
    pub async fn leave(&self) {
        let leaving = TaskTracker::new();
        for node in &self.nodes {
            let node = node.clone();
            leaving.spawn(async move { node.leave().await });
        }
        leaving.close();
        leaving.wait().await;
    }
}

/// The cluster's name.
const CLUSTER: &str = "local";
/// How long the certificates are good for: longer than such a cluster should run.
const LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How often to look whether the nodes see one another.
const POLL: Duration = Duration::from_millis(10);

/// Some nodes do not see all others within the time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the nodes {nodes:?} do not yet see all others")]
pub struct NotJoinedError {
    /// Those nodes.
    pub nodes: Vec<NodeId>,
}

/// Why a local cluster did not start. Nothing of it is left running then.
#[derive(Debug, thiserror::Error)]
pub enum LocalClusterError {
    /// A name, of which there are too many to be written as they are.
    #[error("a name is not valid")]
    Name(#[from] NameError),
    /// A certificate.
    #[error("a certificate was not made")]
    Certificate(#[from] AuthorityError),
    /// The time for which certificates are good.
    #[error("the machine's clock is of no use")]
    Validity(#[from] ValidityError),
    /// An identity.
    #[error("a node has no identity")]
    Identity(#[from] IdentityError),
    /// A node.
    #[error("a node did not start")]
    Node(#[from] StartError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_does_not_start_leaves_nothing_running() {
        let no_directory = Config {
            data_dir: Some("/dev/null/none".into()),
            ..Config::default()
        };
        let failed = LocalCluster::start_with(vec![Config::default(), no_directory]).await;
        assert!(matches!(failed, Err(LocalClusterError::Node(_))));
        let tasks = tokio::runtime::Handle::current().metrics();
        let ended = async {
            while tasks.num_alive_tasks() > 0 {
                sleep(POLL).await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.unwrap();
    }

    #[tokio::test]
    async fn all_nodes_see_one_another_and_leave_together() {
        let cluster = LocalCluster::start(3).await.unwrap();
        cluster.joined(Duration::from_secs(20)).await.unwrap();
        let names: Vec<_> = cluster
            .nodes()
            .iter()
            .map(|node| node.name().to_string())
            .collect();
        assert_eq!(names, ["n1", "n2", "n3"]);
        cluster.leave().await;
        assert!(
            cluster
                .nodes()
                .iter()
                .all(|node| node.token().is_cancelled())
        );
    }
}
