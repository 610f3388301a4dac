use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Member, MemberId, Scope, View};
use tidings_transport::{Answering, Budget, Credit, Peer, Receive, Violation};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::answers::Asked;
use crate::assurance::Assurance;
use crate::counters::Counters;
use crate::departed::Departed;
use crate::envelope::{Aim, Envelope, Origin};
use crate::holds::Holds;
use crate::leg::To;
use crate::mailbox::{Pushed, Subscriber};
use crate::mailroom::{Arrival, Mailroom, everybody, ignore};
use crate::outcome::AssuredOptions;
use crate::outgoing::{Outgoing, Publisher};
use crate::outstanding::{Begun, Full, Outstanding};
use crate::receipt::Receipt;
use crate::received::{FromNode, Received};
use crate::registry::SessionId;
use crate::route::Remote;
use crate::routes::{Matching, Routes};
use crate::scopes::{HeldRoutes, Scopes};
use crate::source::Source;
use crate::waits::Filling;
use crate::{Message, envelope};

/// Brings messages to the mailboxes of this node and to the links of others.
///
/// The way from a publisher to the mailboxes is a direct call on the publisher's own thread: it
/// takes no lock on the routes and waits for nothing. A peer gets one frame, however many members
/// it has; what comes from a peer goes to local subscribers only.
#[derive(Debug)]
pub(crate) struct Broker {
    node: NodeId,
    scopes: Arc<Scopes>,
    remotes: papaya::HashMap<NodeId, Arc<Remote>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) holds: Arc<Holds>,
    /// The assured messages of this node's sessions.
    pub(crate) outstanding: Arc<Outstanding>,
    /// Those of them that were delivered here.
    here: Arc<FromNode>,
    /// Those of peers.
    received: Received,
    /// The members whose sessions have ended.
    pub(crate) departed: Arc<Departed>,
    mailroom: Mailroom,
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

/// How far a broadcast goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    Everywhere,
    ThisNode,
}

impl Broker {
    /// The broker of this node, and what it leaves to others.
    pub(crate) fn new(node: NodeId, holds: Holds, budget: &Arc<Budget>) -> (Self, Errands) {
        let counters = Arc::new(Counters::new());
        let (mailroom, cut_off_sessions) = Mailroom::new(Arc::clone(&counters));
        let (asked, asked_by_others) = mpsc::unbounded_channel();
        let departed = Arc::<Departed>::default();
        let outstanding = Arc::new(Outstanding::new(budget, Arc::clone(&counters)));
        let (publisher, own) = (Arc::downgrade(&outstanding), node.clone());
        let tell = move |said: &Assurance| {
            if let Some(publisher) = publisher.upgrade() {
                publisher.heard((&own, Incarnation::default()), said);
            }
        };
        let here = FromNode::new(Arc::clone(&departed), Arc::clone(&counters), tell);
        let received = Received::new(Arc::clone(&departed), Arc::clone(&counters));
        let broker = Self {
            node,
            scopes: Arc::default(),
            remotes: papaya::HashMap::new(),
            counters,
            holds: Arc::new(holds),
            outstanding,
            here: Arc::new(here),
            received,
            departed,
            mailroom,
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
        let arrival = Arrival::here(publisher, message);
        let wanted = |own: &Subscriber| !publisher.skips(own.session);
        self.mailroom
            .deliver(&arrival, &matching, wanted, ignore, &mut receipt, pressing);
        if let Reach::Everywhere = reach {
            let mut outgoing = Outgoing::new(publisher, Aim::Topic, &routes.scope, message);
            self.send(&matching, |_| true, &mut outgoing, &mut receipt, pressing);
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
        let mut outgoing = Outgoing::new(publisher, Aim::Topic, &routes.scope, message);
        outgoing.send(remote, &mut receipt, pressing);
        publisher.never_asked(pressing);
        self.counters.sent_remote.fetch_add(1, Relaxed);
        receipt.pressing = !pressing.is_empty();
        self.counters.broadcast(receipt.nodes, started.elapsed());
        receipt
    }

    /// Hands a message to one member of its topic, on this node or on that peer.
    pub(crate) fn send_to(
        &self,
        routes: &Routes,
        publisher: Publisher,
        (member, remote): (MemberId, Option<&Remote>),
        message: &Arc<Message>,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) -> Receipt {
        let started = Instant::now();
        let mut receipt = Receipt::default();
        match remote {
            None => {
                let matching = routes.matching(&message.topic);
                let arrival = Arrival::here(publisher, message);
                let wanted = |own: &Subscriber| own.member == member;
                self.mailroom
                    .deliver(&arrival, &matching, wanted, ignore, &mut receipt, pressing);
            }
            Some(remote) => {
                let aim = Aim::Member(member);
                let mut outgoing = Outgoing::new(publisher, aim, &routes.scope, message);
                outgoing.send(remote, &mut receipt, pressing);
                self.counters.sent_remote.fetch_add(1, Relaxed);
            }
        }
        publisher.never_asked(pressing);
        receipt.pressing = !pressing.is_empty();
        let Receipt { local, nodes, .. } = receipt;
        self.counters.broadcast(local + nodes, started.elapsed());
        receipt
    }

    /// Hands a message to all subscribers, and has its publisher told what becomes of it with these
    /// members.
    pub(crate) fn broadcast_assured(
        &self,
        routes: &Routes,
        publisher: Publisher,
        message: &Arc<Message>,
        options: AssuredOptions,
        (members, view): (Vec<Member>, &View),
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) -> Result<Begun, Full> {
        let started = Instant::now();
        let matching = routes.matching(&message.topic);
        let mut receipt = Receipt::default();
        let shown = view.nodes().into_iter().filter(|node| node.live);
        let runs: HashMap<NodeId, Incarnation> = shown
            .map(|node| (node.run.node, node.run.incarnation))
            .collect();
        let to = |node: &NodeId| match *node == self.node {
            true => Some(To::Here(Arc::clone(&self.here))),
            // Another run than the one that the view shows does not have these members.
            false => self
                .remote(node)
                .filter(|remote| runs.get(node) == Some(&remote.incarnation))
                .map(To::Peer),
        };
        let nodes: HashSet<NodeId> = members.iter().map(|m| m.node.clone()).collect();
        let parts = (publisher, &routes.scope, message);
        let send = |remote: &Remote, numbered| {
            let aim = Aim::Assured(numbered);
            let mut outgoing = Outgoing::new(publisher, aim, &routes.scope, message);
            let before = receipt.nodes;
            outgoing.send(remote, &mut receipt, pressing);
            receipt.nodes > before
        };
        let begun = self.outstanding.begin(parts, options, members, to, send)?;
        // Who has come since the view was made gets it, too, and is not waited for.
        let mut outgoing = Outgoing::new(publisher, Aim::Topic, &routes.scope, message);
        let is_new = |remote: &Remote| !nodes.contains(&remote.node);
        self.send(&matching, is_new, &mut outgoing, &mut receipt, pressing);
        match &begun.here {
            Some((from, numbered)) => {
                from.receive(Incarnation::default(), numbered, |ticket, pushed| {
                    let message = Arc::new(Message {
                        ticket,
                        ..Message::clone(message)
                    });
                    let arrival = Arrival::here(publisher, &message);
                    self.mailroom.deliver(
                        &arrival,
                        &matching,
                        everybody,
                        pushed,
                        &mut receipt,
                        pressing,
                    );
                })
            }
            None => {
                let arrival = Arrival::here(publisher, message);
                self.mailroom.deliver(
                    &arrival,
                    &matching,
                    everybody,
                    ignore,
                    &mut receipt,
                    pressing,
                );
            }
        }
        let Receipt { local, nodes, .. } = receipt;
        self.counters.broadcast(local + nodes, started.elapsed());
        Ok(begun)
    }

    fn send(
        &self,
        matching: &Matching,
        wanted: impl Fn(&Remote) -> bool,
        outgoing: &mut Outgoing<'_>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let peers = matching.routes().flat_map(|route| &route.remote);
        let peers = peers.map(|(peer, _)| peer).filter(|peer| wanted(peer));
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

impl Receive for Broker {
    /// The first frame that is no message ends the link: a peer that sends one is broken or of
    /// another version, and would send as many as the link carries.
    fn frame(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        frame: Bytes,
    ) -> Result<(), Violation> {
        self.counters.received.fetch_add(1, Relaxed);
        let decoded = envelope::decode(frame).map_err(|error| {
            self.counters.dropped_malformed.fetch_add(1, Relaxed);
            Violation::new(error)
        });
        let Envelope {
            origin,
            aim,
            scope,
            mut message,
        } = decoded?;
        let (mut receipt, mut pressing) = Default::default();
        let source = Source::there(from, origin.publisher);
        // Nobody here has a scope that is not known.
        let matching = self.scopes.matching(&scope, &message.topic);
        let (receipt, filled, room) = (&mut receipt, &mut pressing, &self.mailroom);
        if let Aim::Assured(numbered) = aim {
            let deliver = |ticket, pushed: &mut dyn FnMut(&Arc<Subscriber>, Pushed)| {
                message.ticket = ticket;
                let message = Arc::new(message);
                let arrival = Arrival::there(source, &message);
                if let Some(matching) = matching {
                    room.deliver(&arrival, &matching, everybody, pushed, receipt, filled);
                }
            };
            let received = self.received.from(from);
            received.receive(incarnation, &numbered, deliver);
        } else if let Some(matching) = matching {
            let message = Arc::new(message);
            let arrival = Arrival::there(source, &message);
            let wanted = |own: &Subscriber| match aim {
                Aim::Member(member) => own.member == member,
                _ => true,
            };
            room.deliver(&arrival, &matching, wanted, ignore, receipt, filled);
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

    fn assurance(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        message: Bytes,
    ) -> Result<(), Violation> {
        match Assurance::decode(&message).map_err(Violation::new)? {
            Assurance::Ask { number, members } => {
                self.received.from(from).asked(incarnation, number, members);
            }
            Assurance::Settled { number } => self.received.from(from).settled(incarnation, number),
            said => self.outstanding.heard((from.name(), incarnation), &said),
        }
        Ok(())
    }
}
