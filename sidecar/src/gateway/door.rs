use std::sync::Arc;

use tidings::Node;

use crate::GatewayConfig;

/// What a connection is served with.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) node: Node,
    pub(super) config: Arc<GatewayConfig>,
}
