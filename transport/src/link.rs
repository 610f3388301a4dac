use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};

use quinn::Connection;
use tidings_identity::{Incarnation, NodeRun, Validity};

use crate::control::Hello;
use crate::gossip::GossipQueue;
use crate::questions::Questions;
use crate::{LinkNumber, LinkUp, Peer};

/// A connection that both sides agree on.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Arc<Peer>,
    pub(crate) number: LinkNumber,
    /// The peer's run.
    pub(crate) incarnation: Incarnation,
    /// The address the peer advertises.
    pub(crate) advertised: SocketAddr,
    /// From when until when the peer's certificate is valid.
    pub(crate) validity: Validity,
    pub(crate) connection: Connection,
    /// Gossip that waits to be sent.
    pub(crate) gossip: GossipQueue,
    /// What the two ends ask each other.
    pub(crate) questions: Arc<Questions>,
    /// How many lanes the peer opens.
    lanes: u8,
    /// One bit for each lane that the peer has opened.
    lanes_opened: AtomicU16,
    /// The peer broke the protocol over it.
    is_violated: AtomicBool,
}

impl Link {
    pub(crate) fn new(
        peer: Arc<Peer>,
        number: LinkNumber,
        hello: &Hello,
        validity: Validity,
        connection: Connection,
    ) -> Self {
        Self {
            peer,
            number,
            incarnation: hello.incarnation,
            advertised: hello.advertised,
            validity,
            connection,
            gossip: GossipQueue::default(),
            questions: Arc::default(),
            lanes: hello.lanes,
            lanes_opened: AtomicU16::new(0),
            is_violated: AtomicBool::new(false),
        }
    }

    pub(crate) fn info(&self) -> LinkUp {
        LinkUp {
            number: self.number,
            incarnation: self.incarnation,
            advertised: self.advertised,
            remote: self.connection.remote_address(),
            dialled: self.connection.side().is_client(),
            round_trip: self.connection.rtt(),
        }
    }

    /// The run of the peer that is at the other end.
    pub(crate) fn run(&self) -> NodeRun {
        NodeRun::new(self.peer.name().clone(), self.incarnation, self.advertised)
    }

    /// How many lanes the peer opens.
    pub(crate) fn lanes(&self) -> u8 {
        self.lanes
    }

    /// Marks a lane as opened by the peer. False if there is no such lane or it is open already.
    pub(crate) fn open_lane(&self, lane: u8) -> bool {
        let bit = 1u16.checked_shl(lane.into()).unwrap_or(0);
        lane < self.lanes && self.lanes_opened.fetch_or(bit, Relaxed) & bit == 0
    }

    /// Notes that the peer broke the protocol over it. False when that is known.
    pub(crate) fn violate(&self) -> bool {
        !self.is_violated.swap(true, Relaxed)
    }

    /// Whether the peer broke the protocol over it. What it still has to say is not to be read.
    pub(crate) fn is_violated(&self) -> bool {
        self.is_violated.load(Relaxed)
    }
}
