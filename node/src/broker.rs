use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::Scope;
use tidings_transport::{Receive, Violation};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::counters::Counters;
use crate::mailbox::{Mailbox, Pushed};
use crate::registry::SessionId;
use crate::route::Remote;
use crate::routes::{Matching, Routes};
use crate::scopes::{HeldRoutes, Scopes};
use crate::{Message, envelope};

/// Brings messages to the mailboxes of this node and to the links of others.
///
/// The way from a publisher to the mailboxes is a direct call on the publisher's own thread: it
/// takes no lock on the routes and waits for nothing. A peer gets one frame, however many members
/// it has; what comes from a peer goes to local subscribers only.
#[derive(Debug)]
pub(crate) struct Broker {
    scopes: Arc<Scopes>,
    remotes: papaya::HashMap<NodeId, Arc<Remote>>,
    pub(crate) counters: Arc<Counters>,
    /// Where sessions go whose mailbox overflowed, to be ended.
    cut_off: mpsc::UnboundedSender<SessionId>,
}

/// To how many a message was handed. Being handed over is not yet being received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Subscriptions on this node whose mailbox took it.
    pub local: usize,
    /// Other nodes whose link took it.
    pub nodes: usize,
    /// Subscriptions on this node, and other nodes, that it was dropped for, because there was no
    /// room. It has been counted.
    pub dropped: usize,
    /// Whether to wait for [room](crate::Session::room) before the next message, so that none has to
    /// be dropped.
    pub pressing: bool,
}

/// Who publishes, as far as delivery goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher {
    /// Decides the lane: all messages of one publisher take the same.
    pub(crate) lane_key: u64,
    /// The session whose own subscriptions are left out.
    pub(crate) skip_session: Option<SessionId>,
}

/// How far a broadcast goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    Everywhere,
    ThisNode,
}

impl Broker {
    /// A broker, and the sessions that it cuts off. Each is told once, so no more of them wait
    /// than there are sessions.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<SessionId>) {
        let (cut_off, cut_off_sessions) = mpsc::unbounded_channel();
        let broker = Self {
            scopes: Arc::default(),
            remotes: papaya::HashMap::new(),
            counters: Arc::new(Counters::new()),
            cut_off,
        };
        (broker, cut_off_sessions)
    }

    /// The routes of a scope, to change them or to publish to them.
    pub(crate) fn routes(&self, scope: &Scope) -> HeldRoutes {
        self.scopes.hold(scope)
    }

    /// A peer went up, or is known by a new handle.
    pub(crate) fn add_remote(&self, remote: Arc<Remote>) {
        self.remotes.pin().insert(remote.node.clone(), remote);
    }

    /// A peer went down. The caller has taken its interests back before.
    pub(crate) fn remove_remote(&self, node: &NodeId) {
        self.remotes.pin().remove(node);
    }

    /// The live peer of this name.
    pub(crate) fn remote(&self, node: &NodeId) -> Option<Arc<Remote>> {
        self.remotes.pin().get(node).map(Arc::clone)
    }

    /// Hands a message to all subscribers within reach. Adds the mailboxes for whose room the
    /// publisher is to wait to `pressing`.
    pub(crate) fn broadcast(
        &self,
        routes: &Routes,
        publisher: Publisher,
        reach: Reach,
        message: &Arc<Message>,
        pressing: &mut Vec<Arc<Mailbox>>,
    ) -> Receipt {
        let started = Instant::now();
        let matching = routes.matching(&message.topic);
        let mut receipt = Receipt::default();
        self.deliver(
            &matching,
            publisher.skip_session,
            message,
            &mut receipt,
            pressing,
        );
        if let Reach::Everywhere = reach {
            let lane = publisher.lane_key;
            self.send(&matching, &routes.scope, lane, message, &mut receipt);
        }
        let Receipt { local, nodes, .. } = receipt;
        self.counters.broadcast(local + nodes, started.elapsed());
        receipt
    }

    /// Hands a message to the subscribers on one peer only, whether it is known to have some or not.
    pub(crate) fn direct(
        &self,
        routes: &Routes,
        publisher: Publisher,
        remote: &Remote,
        message: &Message,
    ) -> Receipt {
        let started = Instant::now();
        let frame = envelope::encode(&routes.scope, message);
        self.counters.sent_remote.fetch_add(1, Relaxed);
        let sent = remote.peer.send(publisher.lane_key, &frame);
        let nodes = usize::from(sent.is_ok());
        self.counters.broadcast(nodes, started.elapsed());
        Receipt {
            nodes,
            dropped: 1 - nodes,
            ..Receipt::default()
        }
    }

    fn deliver(
        &self,
        matching: &Matching,
        skip: Option<SessionId>,
        message: &Arc<Message>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<Mailbox>>,
    ) {
        let counters = &self.counters;
        let mut pushed = 0;
        for subscriber in matching.routes().flat_map(|route| &route.local) {
            if skip == Some(subscriber.session) {
                continue;
            }
            pushed += 1;
            match subscriber.mailbox.push(subscriber, message) {
                Pushed::Kept => receipt.local += 1,
                Pushed::KeptPressing => {
                    receipt.local += 1;
                    receipt.pressing = true;
                    pressing.push(Arc::clone(&subscriber.mailbox));
                }
                Pushed::KeptLosing(lost) => {
                    receipt.local += 1;
                    counters.dropped_mailbox_full.fetch_add(lost, Relaxed);
                }
                Pushed::Lost => {
                    receipt.dropped += 1;
                    counters.dropped_mailbox_full.fetch_add(1, Relaxed);
                }
                Pushed::CutOff(lost) => {
                    receipt.dropped += 1;
                    counters.dropped_slow_subscriber.fetch_add(lost, Relaxed);
                    // Nobody listens only when the node has stopped, and its sessions with it.
                    let _ = self.cut_off.send(subscriber.session);
                }
                Pushed::Closed => pushed -= 1,
            }
        }
        counters.sent_local.fetch_add(pushed, Relaxed);
    }

    fn send(
        &self,
        matching: &Matching,
        scope: &Scope,
        lane: u64,
        message: &Message,
        receipt: &mut Receipt,
    ) {
        let mut peers = matching
            .routes()
            .flat_map(|route| &route.remote)
            .map(|(peer, _)| peer);
        let Some(first) = peers.next() else { return };
        let frame = envelope::encode(scope, message);
        let mut tried = 0;
        let mut send = |remote: &Remote| {
            tried += 1;
            match remote.peer.send(lane, &frame) {
                Ok(_) => receipt.nodes += 1,
                Err(_) => receipt.dropped += 1,
            }
        };
        if matching.is_single() {
            send(first);
            peers.for_each(|remote| send(remote));
        } else {
            let mut once: Vec<&Arc<Remote>> = std::iter::once(first).chain(peers).collect();
            once.sort_unstable_by(|a, b| a.node.cmp(&b.node));
            once.dedup_by(|a, b| a.node == b.node);
            once.into_iter().for_each(|remote| send(remote));
        }
        self.counters.sent_remote.fetch_add(tried, Relaxed);
    }
}

impl Receive for Broker {
    /// The first frame that is no message ends the link: a peer that sends one is broken or of
    /// another version, and would send as many as the link carries.
    fn frame(&self, _: &NodeId, _: Incarnation, frame: Bytes) -> Result<(), Violation> {
        self.counters.received.fetch_add(1, Relaxed);
        let decoded = envelope::decode(frame).map_err(|error| {
            self.counters.dropped_malformed.fetch_add(1, Relaxed);
            Violation::new(error)
        });
        let (scope, message) = decoded?;
        // Nobody here has a scope that is not known.
        if let Some(matching) = self.scopes.matching(&scope, &message.topic) {
            let (mut receipt, mut pressing) = Default::default();
            self.deliver(
                &matching,
                None,
                &Arc::new(message),
                &mut receipt,
                &mut pressing,
            );
        }
        Ok(())
    }
}
