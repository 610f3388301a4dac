use std::net::SocketAddr;
use std::sync::Arc;

use tidings::Node;

use crate::builder::Builder;

use super::exposition::Exposition;
use super::publishers::Publishers;
use super::usage::Usage;
use super::watchers::Watchers;
use crate::gateway::Clients;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) node: Node,
    pub(super) exposition: Arc<Exposition>,
    pub(super) builder: Builder,
    /// Where explanations are made, which wait for other nodes.
    pub(super) explainer: Builder,
    pub(super) publishers: Arc<Publishers>,
    pub(super) watchers: Watchers,
    pub(super) clients: Clients,
    /// Where it listens.
    pub(super) listens: Option<SocketAddr>,
    pub(super) usage: Arc<Usage>,
}

impl Served {
    /// For a server with so many connections.
    pub(super) fn new(
        node: Node,
        connections: usize,
        clients: Clients,
        listens: Option<SocketAddr>,
    ) -> Self {
        Self {
            exposition: Arc::new(Exposition::new(node.clone(), clients.clone())),
            builder: Builder::new(),
            explainer: Builder::new(),
            publishers: Arc::new(Publishers::new(node.clone())),
            watchers: Watchers::among(connections),
            clients,
            listens,
            usage: Arc::default(),
            node,
        }
    }

    /// Which run of which node it is: what goes by the name of the NATS server's id.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.node.name(), self.node.incarnation())
    }
}
