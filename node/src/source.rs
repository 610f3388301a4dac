use std::sync::Arc;

use tidings_transport::Peer;

use crate::registry::SessionId;

/// Where a message comes from: the publisher whose order it keeps, and whose turn it takes.
///
/// Two publishers that were taken for one would share a turn, and nothing else would come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// The address of the peer's record, which is its own as long as the transport; 0 for this node.
    peer: usize,
    publisher: u64,
}

impl Source {
    /// A session of this node.
    pub(crate) fn here(session: SessionId) -> Self {
        Self {
            peer: 0,
            publisher: session.number(),
        }
    }

    /// A publisher on a peer, as that calls it.
    pub(crate) fn there(peer: &Arc<Peer>, publisher: u64) -> Self {
        Self {
            peer: Arc::as_ptr(peer).addr(),
            publisher,
        }
    }
}
