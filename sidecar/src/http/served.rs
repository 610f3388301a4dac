use std::net::SocketAddr;
use std::sync::Arc;

use tidings::{Node, Scope};

use crate::builder::Builder;

use super::exposition::Exposition;
use super::usage::Usage;
use crate::gateway::{Clients, Gateway};
use crate::identities::Identities;
use crate::mcp::{Mcp, McpConfig};
use crate::publishers::Publishers;
use crate::watchers::Watchers;

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
    /// The node as an MCP server.
    pub(super) mcp: Mcp,
    pub(super) clients: Clients,
    /// Whose clients connect here; none if they do not.
    pub(super) gateway: Option<Gateway>,
    /// Where it listens.
    pub(super) listens: Option<SocketAddr>,
    pub(super) usage: Arc<Usage>,
    /// Who may ask.
    pub(super) identities: Identities,
    /// The scope of those whose role names none.
    pub(super) scope: Scope,
}

impl Served {
    /// For a server with so many connections, which knows these clients and listens there, for those who may
    /// ask and are in that scope unless their role names another.
    pub(super) fn new(
        (node, connections): (Node, usize),
        (clients, gateway): (Clients, Option<Gateway>),
        listens: Option<SocketAddr>,
        (identities, scope): (Identities, Scope),
        mcp: McpConfig,
    ) -> Self {
        let exposition = Exposition::new(node.clone(), clients.clone(), identities.clone());
        let (builder, watchers) = (Builder::new(), Watchers::among(connections));
        let publishers = Arc::new(Publishers::new(node.clone()));
        let shared = (Arc::clone(&publishers), watchers.clone(), builder.clone());
        Self {
            mcp: Mcp::new(&node, mcp, shared),
            exposition: Arc::new(exposition),
            identities,
            scope,
            builder,
            explainer: Builder::new(),
            publishers,
            watchers,
            clients,
            gateway,
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
