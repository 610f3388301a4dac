use std::sync::Arc;

use tidings::Node;

use super::clients::Clients;
use crate::GatewayConfig;
use crate::builder::Builder;

/// What a connection is served with.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) node: Node,
    pub(super) config: Arc<GatewayConfig>,
    /// Makes the long answers to all clients.
    pub(super) builder: Builder,
    pub(super) clients: Clients,
}
