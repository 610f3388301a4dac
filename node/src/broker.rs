mod arriving;
mod assuring;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{MemberId, QueueGroup, Scope, Topic};
use tidings_transport::Budget;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Message;
use crate::answers::Asked;
use crate::assurance::Assurance;
use crate::changes::Changes;
use crate::counters::Counters;
use crate::departed::Departed;
use crate::envelope::{self, Aim, Origin};
use crate::holds::Holds;
use crate::homes::{Home, Homes, is_inbox};
use crate::mailbox::Subscriber;
use crate::mailroom::{Arrival, Errand, Mailroom, ignore};
use crate::outgoing::{Outgoing, Publisher};
use crate::outstanding::Outstanding;
use crate::queues::{Chosen, Dice};
use crate::receipt::Receipt;
use crate::received::{FromNode, Received};
use crate::registry::SessionId;
use crate::remote::Remote;
use crate::routes::{Matching, Routes};
use crate::scopes::{HeldRoutes, Scopes};
use crate::source::Source;
use crate::waits::Filling;

/// Brings messages to the mailboxes of this node and to the links of others.
///
/// The way from a publisher to the mailboxes is a direct call on the publisher's own thread: it
/// takes no lock on the routes and waits for nothing. A peer gets one frame, however many members
/// it has; what comes from a peer goes to local subscribers only, but for a message to a queue group that
/// has nobody left here.
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
    pub(crate) mailroom: Mailroom,
    /// What is published here on topics of changes.
    pub(crate) changes: Arc<Changes>,
    /// Where the inboxes of other nodes are.
    homes: Homes,
    /// Who gets what a queue group gets once.
    dice: Dice,
    /// Where questions of other nodes go, to be answered.
    asked: mpsc::UnboundedSender<Asked>,
}

/// What a broker leaves to tasks of the node.
#[derive(Debug)]
pub(crate) struct Errands {
    /// What is to be done for sessions. No more of it waits than twice as many as there are sessions.
    pub(crate) of_sessions: mpsc::UnboundedReceiver<Errand>,
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
    pub(crate) fn new(
        node: NodeId,
        incarnation: Incarnation,
        holds: Holds,
        budget: &Arc<Budget>,
    ) -> (Self, Errands) {
        let counters = Arc::new(Counters::new());
        let (mailroom, of_sessions) = Mailroom::new(Arc::clone(&counters));
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
        let changes = Changes::new(node.clone(), incarnation);
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
            changes: Arc::new(changes),
            homes: Homes::default(),
            dice: Dice::default(),
            asked,
        };
        let errands = Errands {
            of_sessions,
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
        let wanted = |own: &&Arc<Subscriber>| !publisher.skips(own.session);
        let (room, here) = (&self.mailroom, matching.here().filter(wanted));
        room.deliver(&arrival, here, ignore, &mut receipt, pressing);
        let is_everywhere = matches!(reach, Reach::Everywhere);
        let mut chosen = Chosen::default();
        if matching.has_groups() {
            for group in matching.groups() {
                let here = group.local(&self.dice).filter(wanted);
                if room.deliver_to_one(&arrival, here.clone(), &mut receipt, pressing) {
                    continue;
                }
                match group.peer(&self.dice, |_| is_everywhere) {
                    Some(remote) => chosen.add(remote, group.name),
                    // Nobody has room, so one loses it, as its mailbox does.
                    None => room.deliver(
                        &arrival,
                        here.filter(|own| own.may_have(&message.topic)).take(1),
                        ignore,
                        &mut receipt,
                        pressing,
                    ),
                }
            }
        }
        let leaves = || matching.is_elsewhere() || !chosen.is_empty() || is_inbox(&message.topic);
        if is_everywhere && leaves() {
            let home = self.home(routes, message);
            let mut outgoing = Outgoing::new(publisher, Aim::Topic, &routes.scope, home, message);
            let mut inbox = self.inbox(routes, &matching, &message.topic);
            // Whoever was chosen for a group there gets it with that.
            inbox.retain(|remote| !chosen.has(remote));
            self.send(
                &matching,
                |_| true,
                chosen,
                &mut outgoing,
                &mut receipt,
                pressing,
            );
            for remote in inbox {
                outgoing.send(&remote, &mut receipt, pressing);
                self.counters.sent_remote.fetch_add(1, Relaxed);
            }
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
        let home = self.home(routes, message);
        let mut outgoing = Outgoing::new(publisher, Aim::Node, &routes.scope, home, message);
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
                let here = matching.all_here().filter(|own| own.member == member);
                self.mailroom
                    .deliver(&arrival, here, ignore, &mut receipt, pressing);
            }
            Some(remote) => {
                let aim = Aim::Member(member);
                let home = self.home(routes, message);
                let mut outgoing = Outgoing::new(publisher, aim, &routes.scope, home, message);
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

    /// Hands a message, which waited for this session as one of a queue group, to another of the group.
    pub(crate) fn hand_over(
        &self,
        routes: &Routes,
        from: SessionId,
        queue: &QueueGroup,
        message: &Arc<Message>,
    ) {
        let counted = match self.give_to_another(routes, from, queue, message) {
            true => &self.counters.handed_over,
            false => &self.counters.dropped_session_ended,
        };
        counted.fetch_add(1, Relaxed);
    }

    /// Gives a message to another of a queue group. False if none is known that has room.
    pub(crate) fn give_to_another(
        &self,
        routes: &Routes,
        from: SessionId,
        queue: &QueueGroup,
        message: &Arc<Message>,
    ) -> bool {
        let matching = routes.matching(&message.topic);
        let groups = matching.groups();
        let group = groups.iter().find(|group| group.name == queue);
        let arrival = Arrival::there(Source::here(from), message);
        // Nobody is to wait for it.
        let (mut receipt, mut pressing) = Default::default();
        let is_here = group.is_some_and(|group| {
            let here = group.local(&self.dice);
            let room = &self.mailroom;
            room.deliver_to_one(&arrival, here, &mut receipt, &mut pressing)
        });
        is_here
            || group
                .and_then(|group| group.peer(&self.dice, |_| true))
                .is_some_and(|remote| {
                    let home = self.home(routes, message);
                    let aim = Aim::Passed {
                        queue: queue.clone(),
                        times: 1,
                    };
                    let origin = Origin::passing_on(from.number());
                    let frame = envelope::encode(origin, &aim, &routes.scope, &home, message);
                    self.counters.sent_remote.fetch_add(1, Relaxed);
                    remote.peer.send(origin.publisher, &frame).is_ok()
                })
    }

    /// Sends a message to all peers that have subscribers and are wanted, and to those that were chosen
    /// for queue groups.
    fn send(
        &self,
        matching: &Matching,
        wanted: impl Fn(&Remote) -> bool,
        mut chosen: Chosen,
        outgoing: &mut Outgoing<'_>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let peers = matching.everybody().flat_map(|those| &those.remote);
        let peers = peers.map(|(peer, _)| peer).filter(|peer| wanted(peer));
        let mut tried = 0;
        let mut send = |remote: &Arc<Remote>| {
            tried += 1;
            match chosen.take(remote) {
                None => outgoing.send(remote, receipt, pressing),
                Some(queues) => outgoing.send_to_queues(remote, queues, receipt, pressing),
            }
        };
        if matching.is_single() {
            peers.for_each(send);
        } else {
            let mut once: Vec<&Arc<Remote>> = peers.collect();
            once.sort_unstable_by(|a, b| a.node.cmp(&b.node));
            once.dedup_by(|a, b| a.node == b.node);
            once.into_iter().for_each(&mut send);
        }
        for (remote, queues) in chosen.into_rest() {
            tried += 1;
            outgoing.send_to_queues(&remote, queues, receipt, pressing);
        }
        if tried > 0 {
            self.counters.sent_remote.fetch_add(tried, Relaxed);
        }
    }

    /// Where the inbox is that a message names for its answers: here, if somebody here has it.
    fn home(&self, routes: &Routes, message: &Message) -> Home {
        match &message.reply_to {
            Some(inbox) if is_inbox(inbox) => {
                let is_here = || routes.matching(inbox).here().any(|own| own.is_private);
                let homes = self.homes.find(&routes.scope, inbox);
                match homes.into_iter().next() {
                    _ if is_here() => Home::Sender,
                    Some(node) => Home::Node(node),
                    None => Home::Unknown,
                }
            }
            _ => Home::Unknown,
        }
    }

    /// The peers that a message goes to besides those that have subscribers, if it is for an inbox: those
    /// where it may be. If none is known, or one drains, whose clients go to nobody knows where, it goes to all,
    /// unless it is here.
    fn inbox(&self, routes: &Routes, matching: &Matching, topic: &Topic) -> Vec<Arc<Remote>> {
        if !is_inbox(topic) {
            return Vec::new();
        }
        let others = || matching.everybody().flat_map(|those| &those.remote);
        let lacks_it = |peer: &&Arc<Remote>| others().all(|(own, _)| own.node != peer.node);
        let remotes = self.remotes.pin();
        let is_here = || matching.here().any(|own| own.is_private);
        let homes = self.homes.find(&routes.scope, topic);
        let homes: Vec<_> = homes.iter().filter_map(|node| remotes.get(node)).collect();
        let mut drains = homes.iter().map(|home| home.is_draining.load(Relaxed));
        let is_anywhere = homes.is_empty() || drains.any(|drains| drains);
        if is_anywhere && !is_here() {
            return remotes.values().filter(lacks_it).cloned().collect();
        }
        homes.into_iter().filter(lacks_it).cloned().collect()
    }
}
