use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::Connection;
use tidings_identity::{Incarnation, NodeId};

use crate::gossip::GossipQueue;
use crate::link::Link;
use crate::pair::Pair;
use crate::{CloseCode, Peer};

/// Which peers there are, which addresses lead to them, and who is being dialled.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) peers: BTreeMap<NodeId, Entry>,
    /// Which peer's link leads to an address.
    pub(crate) routes: BTreeMap<SocketAddr, NodeId>,
    /// Addresses with a dialling task, and the gossip that waits for it.
    pub(crate) dials: BTreeMap<SocketAddr, Arc<GossipQueue>>,
    /// Addresses at which we have found ourselves.
    pub(crate) own: BTreeSet<SocketAddr>,
}

/// What is known about a peer. Never removed; see [`Peer`].
pub(crate) struct Entry {
    pub(crate) peer: Arc<Peer>,
    pub(crate) pair: Pair<Holder>,
    /// What membership wants.
    pub(crate) kept: Option<Kept>,
    /// The run of the peer that frames are queued for.
    pub(crate) incarnation: Option<Incarnation>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) incarnation: Incarnation,
    pub(crate) addr: SocketAddr,
}

/// A connection in the slot of a pair, and the link once it is up.
pub(crate) struct Holder {
    pub(crate) connection: Connection,
    pub(crate) link: Option<Arc<Link>>,
}

/// Whom to expect at an address that is to be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// This peer and nobody else.
    Peer(NodeId),
    /// Any node of the cluster.
    Anyone,
}

impl Table {
    /// The link over which gossip for `addr` goes.
    pub(crate) fn link_to(&self, addr: SocketAddr) -> Option<&Arc<Link>> {
        self.peers.get(self.routes.get(&addr)?)?.link()
    }

    /// Whom to dial at `addr`, or `None` when nobody needs it now.
    pub(crate) fn target(&self, addr: SocketAddr) -> Option<Target> {
        let at_addr = |entry: &&Entry| entry.kept.is_some_and(|kept| kept.addr == addr);
        let mut kept = self.peers.values().filter(at_addr).peekable();
        if kept.peek().is_some() {
            // With a connection in the slot, gossip goes over it as soon as it is up.
            let missing = kept.find(|entry| entry.pair.slot().is_none());
            return missing.map(|entry| Target::Peer(entry.peer.name().clone()));
        }
        let waiting = self.dials.get(&addr)?;
        (!waiting.is_empty() && !self.own.contains(&addr)).then_some(Target::Anyone)
    }
}

impl Entry {
    pub(crate) fn link(&self) -> Option<&Arc<Link>> {
        self.pair.slot()?.holder.link.as_ref()
    }

    pub(crate) fn evict(&mut self, code: CloseCode) {
        if let Some(holder) = self.pair.evict() {
            holder.close(code);
        }
    }

    /// Frames are for this run of the peer from now on.
    pub(crate) fn expect_run(&mut self, incarnation: Incarnation) {
        let before = self.incarnation.replace(incarnation);
        if before.is_some_and(|before| before != incarnation) {
            self.peer.restart();
        }
    }
}

impl Holder {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            link: None,
        }
    }

    pub(crate) fn close(self, code: CloseCode) {
        self.connection
            .close(code.number(), code.to_string().as_bytes());
    }
}
