use std::sync::Arc;

use tidings::Node;

use crate::builder::Builder;

use super::exposition::Exposition;
use super::publishers::Publishers;
use super::watchers::Watchers;

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
}

impl Served {
    /// For a server with so many connections.
    pub(super) fn new(node: Node, connections: usize) -> Self {
        Self {
            exposition: Arc::new(Exposition::new(node.clone())),
            builder: Builder::new(),
            explainer: Builder::new(),
            publishers: Arc::new(Publishers::new(node.clone())),
            watchers: Watchers::among(connections),
            node,
        }
    }
}
