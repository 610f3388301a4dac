use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, NodeId};

/// One run of a node, and the address at which it says that its peers reach it.
///
/// A node that is restarted, or that comes back under another address, is another run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeRun {
    /// The node.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// The address that it advertises.
    pub addr: SocketAddr,
}

impl NodeRun {
    /// This run of this node, at this address.
    pub fn new(node: NodeId, incarnation: Incarnation, addr: SocketAddr) -> Self {
        Self {
            node,
            incarnation,
            addr,
        }
    }
}
