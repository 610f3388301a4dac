use std::net::SocketAddr;
use std::sync::Arc;

use quinn::Connection;
use tidings_identity::NodeId;

use crate::link::Link;
use crate::links::{ConnectionId, Links};
use crate::pair::Claim;
use crate::{CloseCode, LinkNumber};

/// A connection to a peer that may become the link, or is it. Dropping it says that the connection
/// has ended.
pub(crate) struct Candidate {
    links: Arc<Links>,
    peer: NodeId,
    id: ConnectionId,
}

impl Candidate {
    pub(crate) fn new(links: Arc<Links>, peer: NodeId, connection: &Connection) -> Self {
        let id = links.register(connection);
        Self { links, peer, id }
    }

    pub(crate) fn peer(&self) -> &NodeId {
        &self.peer
    }

    /// The number for our Hello on a connection that we dialled, or `None` when the pair needs no
    /// further link.
    pub(crate) fn offer(&self) -> Option<LinkNumber> {
        self.links.offer(&self.peer, self.id)
    }

    /// The peer has said Hello on a connection that it dialled: the number for ours.
    pub(crate) fn answer(&self, claim: Claim) -> Result<LinkNumber, CloseCode> {
        self.links.answer(&self.peer, claim, self.id)
    }

    /// The peer has said Hello on a connection that we dialled: the number of the link.
    pub(crate) fn answered(&self, claim: Claim) -> Result<LinkNumber, CloseCode> {
        self.links.answered(&self.peer, claim, self.id)
    }

    /// Both sides agree. False when another connection has been chosen in the meantime.
    pub(crate) fn up(&self, link: &Arc<Link>, dialled: Option<SocketAddr>) -> bool {
        self.links.up(self.id, link, dialled)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.links.ended(&self.peer, self.id);
    }
}
