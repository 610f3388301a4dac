use std::collections::VecDeque;
use std::net::SocketAddr;

use tidings_identity::{NodeId, NodeRun};

use crate::mesh::DialOutcome;
use crate::{CloseCode, LinkNumber};

/// A connection, with its dialler as side 0. Messages keep their order in each direction only.
pub(super) struct Connection {
    pub(super) addr: SocketAddr,
    /// What was on its way when it is closed does not arrive.
    pub(super) is_abrupt: bool,
    pub(super) sides: [Side; 2],
}

pub(super) struct Side {
    pub(super) node: usize,
    pub(super) open: bool,
    /// The mesh knows it.
    pub(super) known: bool,
    pub(super) up: bool,
    /// The mesh has had it closed.
    pub(super) evicted: bool,
    pub(super) number: LinkNumber,
    /// Who has said Hello.
    pub(super) peer: Option<NodeRun>,
    /// How an attempt ended, once this side is closed.
    pub(super) outcome: DialOutcome,
    /// On their way to this side.
    pub(super) inbox: VecDeque<Message>,
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    /// The dial has got through; to its dialler.
    Connected,
    Hello(NodeRun, LinkNumber),
    Ready,
    /// The dialler's own Ready is on its way.
    ReadySent,
    Closed(Option<CloseCode>),
    /// This side has noticed that it is closed, and lets go of it.
    Gone,
}

impl Connection {
    /// Closes one side, which the other hears of.
    pub(super) fn close(&mut self, own: usize, code: Option<CloseCode>, how: DialOutcome) {
        let side = &mut self.sides[own];
        if !std::mem::take(&mut side.open) {
            return;
        }
        side.outcome = how;
        // What was read just before is still acted on.
        let is_read = |message: &Message| matches!(message, Message::Ready | Message::ReadySent);
        side.inbox.retain(is_read);
        side.inbox.push_back(Message::Gone);
        // What was on its way may arrive before, or not at all.
        if self.is_abrupt && self.sides[1 - own].open {
            self.sides[1 - own].inbox.clear();
        }
        self.send(1 - own, Message::Closed(code));
    }

    /// A message is on its way to a side.
    pub(super) fn send(&mut self, to: usize, message: Message) {
        if self.sides[to].open {
            self.sides[to].inbox.push_back(message);
        }
    }

    /// A node is no more, nor its sides of the connection.
    pub(super) fn vanish(&mut self, node: usize) {
        for own in 0..2 {
            if self.sides[own].node != node {
                continue;
            }
            if self.sides[own].open {
                self.send(1 - own, Message::Closed(None));
            }
            self.sides[own] = Side {
                open: false,
                ..Side::new(node)
            };
        }
    }
}

impl Side {
    pub(super) fn new(node: usize) -> Self {
        Self {
            node,
            open: true,
            known: false,
            up: false,
            evicted: false,
            number: LinkNumber::default(),
            peer: None,
            outcome: DialOutcome::Failed,
            inbox: VecDeque::new(),
        }
    }
}

pub(super) fn outcome(code: Option<CloseCode>, peer: &NodeId) -> DialOutcome {
    match code {
        Some(CloseCode::Duplicate | CloseCode::Abandoned | CloseCode::Replaced) => {
            DialOutcome::Superseded(peer.clone())
        }
        _ => DialOutcome::Failed,
    }
}
