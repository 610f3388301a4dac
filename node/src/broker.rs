use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::Scope;
use tidings_transport::{Answering, Credit, Frame, Peer, Receive, Violation};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::answers::Asked;
use crate::counters::Counters;
use crate::envelope::Origin;
use crate::holds::Holds;
use crate::mailbox::Pushed;
use crate::registry::SessionId;
use crate::route::Remote;
use crate::routes::{Matching, Routes};
use crate::scopes::{HeldRoutes, Scopes};
use crate::source::Source;
use crate::waits::Filling;
use crate::window::Sent;
use crate::{Congestion, Message, envelope};

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
    pub(crate) holds: Arc<Holds>,
    /// Where sessions go whose mailbox overflowed, to be ended.
    cut_off: mpsc::UnboundedSender<SessionId>,
    /// Where questions of other nodes go, to be answered.
    asked: mpsc::UnboundedSender<Asked>,
}

/// What a broker leaves to tasks of the node.
#[derive(Debug)]
pub(crate) struct Errands {
    /// The sessions that it cuts off. Each is told once, so no more of them wait than there are
    /// sessions.
    pub(crate) cut_off: mpsc::UnboundedReceiver<SessionId>,
    /// What other nodes ask. No more of it waits than may be open on links.
    pub(crate) asked: mpsc::UnboundedReceiver<Asked>,
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
    pub(crate) session: SessionId,
    /// Whether its own subscriptions are left out.
    pub(crate) skips_itself: bool,
    pub(crate) congestion: Congestion,
    /// How long one that waits waits.
    pub(crate) wait_max: Duration,
}

impl Publisher {
    /// Whether a message is to be dropped rather than put where publishers are asked to wait.
    fn would_rather_drop(&self, filling: &dyn Filling) -> bool {
        let waits = || filling.wait(Instant::now(), self.wait_max).is_some();
        self.congestion == Congestion::Drop && waits()
    }

    fn never_asked(&self, pressing: &mut Vec<Arc<dyn Filling>>) {
        if self.congestion == Congestion::Drop {
            pressing.clear();
        }
    }
}

/// How far a broadcast goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    Everywhere,
    ThisNode,
}

impl Broker {
    /// A broker, and what it leaves to others.
    pub(crate) fn new(holds: Holds) -> (Self, Errands) {
        let (cut_off, cut_off_sessions) = mpsc::unbounded_channel();
        let (asked, asked_by_others) = mpsc::unbounded_channel();
        let broker = Self {
            scopes: Arc::default(),
            remotes: papaya::HashMap::new(),
            counters: Arc::new(Counters::new()),
            holds: Arc::new(holds),
            cut_off,
            asked,
        };
        let errands = Errands {
            cut_off: cut_off_sessions,
            asked: asked_by_others,
        };
        (broker, errands)
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

    /// A session is gone, and publishes no more.
    pub(crate) fn publisher_gone(&self, session: SessionId) {
        for remote in self.remotes.pin().values() {
            remote.close_window(session);
        }
    }

    /// Hands a message to all subscribers within reach. Adds what it has filled, and for whose room
    /// the publisher is to wait, to `pressing`.
    pub(crate) fn broadcast(
        &self,
        routes: &Routes,
        publisher: Publisher,
        reach: Reach,
        message: &Arc<Message>,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) -> Receipt {
        let started = Instant::now();
        let matching = routes.matching(&message.topic);
        let mut receipt = Receipt::default();
        let source = Source::here(publisher.session);
        let own = Some(publisher);
        self.deliver(source, &matching, own, message, &mut receipt, pressing);
        if let Reach::Everywhere = reach {
            let mut outgoing = Outgoing::new(publisher, &routes.scope, message);
            self.send(&matching, &mut outgoing, &mut receipt, pressing);
        }
        publisher.never_asked(pressing);
        receipt.pressing = !pressing.is_empty();
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
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) -> Receipt {
        let started = Instant::now();
        let mut receipt = Receipt::default();
        let mut outgoing = Outgoing::new(publisher, &routes.scope, message);
        outgoing.send(remote, &mut receipt, pressing);
        publisher.never_asked(pressing);
        self.counters.sent_remote.fetch_add(1, Relaxed);
        receipt.pressing = !pressing.is_empty();
        self.counters.broadcast(receipt.nodes, started.elapsed());
        receipt
    }

    fn deliver(
        &self,
        source: Source,
        matching: &Matching,
        publisher: Option<Publisher>,
        message: &Arc<Message>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let counters = &self.counters;
        let skip = publisher.filter(|own| own.skips_itself);
        let skip = skip.map(|own| own.session);
        let mut pushed = 0;
        for subscriber in matching.routes().flat_map(|route| &route.local) {
            if skip == Some(subscriber.session) {
                continue;
            }
            pushed += 1;
            let mailbox = &subscriber.mailbox;
            let outcome = if publisher.is_some_and(|own| own.would_rather_drop(&**mailbox)) {
                mailbox.refuse(source)
            } else {
                mailbox.push(source, subscriber, message)
            };
            match outcome {
                Pushed::Kept => receipt.local += 1,
                Pushed::KeptPressing => {
                    receipt.local += 1;
                    pressing.push(Arc::clone(&subscriber.mailbox) as _);
                }
                Pushed::KeptLosing(lost) => {
                    receipt.local += 1;
                    counters.dropped_mailbox_full.fetch_add(lost, Relaxed);
                }
                Pushed::Lost { pressing: waits } => {
                    receipt.dropped += 1;
                    counters.dropped_mailbox_full.fetch_add(1, Relaxed);
                    if waits {
                        pressing.push(Arc::clone(&subscriber.mailbox) as _);
                    }
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
        outgoing: &mut Outgoing<'_>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let peers = matching.routes().flat_map(|route| &route.remote);
        let peers = peers.map(|(peer, _)| peer);
        let mut tried = 0;
        let mut send = |remote: &Arc<Remote>| {
            tried += 1;
            outgoing.send(remote, receipt, pressing);
        };
        if matching.is_single() {
            peers.for_each(send);
        } else {
            let mut once: Vec<&Arc<Remote>> = peers.collect();
            once.sort_unstable_by(|a, b| a.node.cmp(&b.node));
            once.dedup_by(|a, b| a.node == b.node);
            once.into_iter().for_each(&mut send);
        }
        if tried > 0 {
            self.counters.sent_remote.fetch_add(tried, Relaxed);
        }
    }
}

/// A message on its way to peers, and the frame that most of them get.
struct Outgoing<'a> {
    publisher: Publisher,
    scope: &'a Scope,
    message: &'a Message,
    frame: Option<Frame>,
}

impl<'a> Outgoing<'a> {
    fn new(publisher: Publisher, scope: &'a Scope, message: &'a Message) -> Self {
        Self {
            publisher,
            scope,
            message,
            frame: None,
        }
    }

    fn send(
        &mut self,
        remote: &Remote,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let Self {
            publisher,
            scope,
            message,
            frame,
        } = self;
        let window = remote.window(publisher.session);
        let rather_drops = publisher.would_rather_drop(&*window);
        let publisher = publisher.session.number();
        if rather_drops {
            remote.peer.withhold(publisher);
            receipt.dropped += 1;
            return;
        }
        let sent = window.send(message.size_bytes(), |asks| {
            let encode = || envelope::encode(Origin { publisher, asks }, scope, message);
            match asks {
                None => {
                    let frame = frame.get_or_insert_with(encode);
                    remote.peer.send(publisher, frame)
                }
                Some(_) => remote.peer.send(publisher, &encode()),
            }
        });
        match sent {
            Sent::Kept => receipt.nodes += 1,
            Sent::KeptPressing => {
                receipt.nodes += 1;
                pressing.push(window);
            }
            Sent::Lost => receipt.dropped += 1,
            Sent::LostPressing => {
                receipt.dropped += 1;
                pressing.push(window);
            }
        }
    }
}

impl Receive for Broker {
    /// The first frame that is no message ends the link: a peer that sends one is broken or of
    /// another version, and would send as many as the link carries.
    fn frame(&self, from: &Arc<Peer>, _: Incarnation, frame: Bytes) -> Result<(), Violation> {
        self.counters.received.fetch_add(1, Relaxed);
        let decoded = envelope::decode(frame).map_err(|error| {
            self.counters.dropped_malformed.fetch_add(1, Relaxed);
            Violation::new(error)
        });
        let (origin, scope, message) = decoded?;
        let (mut receipt, mut pressing) = Default::default();
        // Nobody here has a scope that is not known.
        if let Some(matching) = self.scopes.matching(&scope, &message.topic) {
            let message = Arc::new(message);
            let source = Source::there(from, origin.publisher);
            self.deliver(
                source,
                &matching,
                None,
                &message,
                &mut receipt,
                &mut pressing,
            );
        }
        if !pressing.is_empty() || origin.asks.is_some() {
            let Origin { publisher, asks } = origin;
            self.holds.received(from, publisher, pressing, asks);
        }
        Ok(())
    }

    fn credit(&self, from: &Arc<Peer>, _: Incarnation, credit: Credit) {
        let Credit {
            publisher,
            position,
        } = credit;
        if let Some(remote) = self.remote(from.name()) {
            remote.credit(SessionId::new(publisher), position);
        }
    }

    fn question(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        question: Bytes,
        answering: Answering,
    ) {
        // Nobody answers only when the node has stopped.
        let _ = self.asked.send(Asked {
            node: from.name().clone(),
            incarnation,
            question,
            answering,
        });
    }
}
