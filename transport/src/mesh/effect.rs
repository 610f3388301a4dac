use std::net::SocketAddr;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};

use crate::CloseCode;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect<C> {
    Close {
        connection: C,
        code: CloseCode,
    },
    /// Begin to ask [`next_dial`](super::Mesh::next_dial) what to do for this address.
    StartDial(SocketAddr),
    /// The dialling of this address may be lingering, and is wanted again.
    WakeDial(SocketAddr),
    /// An address cannot be dialled, because too many others are.
    TooManyDials(SocketAddr),
    /// A message that waited for a dial goes over a link.
    Gossip {
        connection: C,
        message: Bytes,
    },
    /// So many messages that waited for a dial are lost.
    GossipLost(u64),
    /// Frames for the peer are accepted from now on.
    ReviveLanes(NodeId),
    /// Frames for the peer are dropped and no longer accepted.
    ShutLanes {
        peer: NodeId,
        /// The run of it that has said goodbye, if it has.
        left: Option<Incarnation>,
    },
    /// Frames for the peer are dropped, and those to come are for another run of it.
    RestartLanes(NodeId),
}

/// Where a gossip message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route<C> {
    /// Over this link.
    Link { connection: C, message: Bytes },
    /// It waits for a dial.
    Waiting,
    /// Nowhere.
    Dropped,
}
