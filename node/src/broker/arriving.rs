use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidings_identity::Incarnation;
use tidings_transport::{Answering, Credit, Peer, Receive, Violation};

use super::Broker;
use crate::answers::Asked;
use crate::assurance::Assurance;
use crate::changes;
use crate::envelope::{self, Aim, Envelope, Origin};
use crate::homes::{Home, is_inbox};
use crate::mailbox::{Pushed, Subscriber};
use crate::mailroom::{Arrival, ignore};
use crate::queues::Group;
use crate::receipt::Receipt;
use crate::registry::SessionId;
use crate::remote::Remote;
use crate::source::Source;
use crate::waits::Filling;

/// How often a message for a queue group is passed on by nodes where there is nobody of it any more.
const PASSED_MAX: u8 = 3;

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
        let mut envelope = decoded?;
        changes::check_number(&mut envelope.message, from.name(), incarnation);
        self.learn_home(from, &mut envelope);
        let (mut receipt, mut pressing) = Default::default();
        let origin = envelope.origin;
        self.deliver(from, incarnation, envelope, &mut receipt, &mut pressing);
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

impl Broker {
    /// Remembers where the inbox is that a message names, by what its sender says.
    fn learn_home(&self, from: &Arc<Peer>, envelope: &mut Envelope) {
        let Some(reply_to) = envelope.message.reply_to.as_ref() else {
            return;
        };
        if !is_inbox(reply_to) {
            return;
        }
        if envelope.home == Home::Sender {
            envelope.home = Home::Node(from.name().clone());
        }
        if let Home::Node(node) = &envelope.home
            && *node != self.node
        {
            self.homes.learn(&envelope.scope, reply_to, node);
        }
    }

    /// Hands a message of a peer to those on this node that it is for.
    fn deliver(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        envelope: Envelope,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let Envelope {
            origin,
            aim,
            scope,
            home,
            mut message,
        } = envelope;
        let source = Source::there(from, origin.publisher);
        let is_for_node = aim == Aim::Node;
        // Nobody here has a scope that is not known.
        let matching = self.scopes.matching(&scope, &message.topic);
        let room = &self.mailroom;
        if let Aim::Assured { numbered, chosen } = &aim {
            let is_chosen = |own: &&Arc<Subscriber>| match own.queue {
                None => true,
                Some(_) => chosen.contains(&own.member),
            };
            let deliver = |ticket, pushed: &mut dyn FnMut(&Arc<Subscriber>, Pushed)| {
                message.ticket = ticket;
                let message = Arc::new(message);
                let arrival = Arrival::there(source, &message);
                if let Some(matching) = &matching {
                    let here = matching.all_here().filter(is_chosen);
                    room.deliver(&arrival, here, pushed, receipt, pressing);
                }
            };
            let received = self.received.from(from);
            received.receive(incarnation, numbered, deliver);
            return;
        }
        let Some(matching) = matching else {
            let lost = match aim {
                Aim::Queues(queues) => queues.len() as u64,
                Aim::Passed { .. } => 1,
                _ => 0,
            };
            self.counters.dropped_queue_empty.fetch_add(lost, Relaxed);
            return;
        };
        let message = Arc::new(message);
        let arrival = Arrival::there(source, &message);
        let (queues, times) = match aim {
            Aim::Member(member) => {
                let here = matching.all_here().filter(|own| own.member == member);
                room.deliver(&arrival, here, ignore, receipt, pressing);
                return;
            }
            Aim::Topic | Aim::Node | Aim::Assured { .. } => (Vec::new(), None),
            Aim::Queues(mut queues) => {
                // A peer that names one twice is not to have it get the message twice.
                queues.sort_unstable();
                queues.dedup();
                (queues, None)
            }
            Aim::Passed { queue, times } => (vec![queue], Some(times)),
        };
        if times.is_none() {
            room.deliver(&arrival, matching.here(), ignore, receipt, pressing);
        }
        if queues.is_empty() && !is_for_node {
            return;
        }
        let groups = matching.groups();
        if is_for_node {
            for group in &groups {
                self.to_group_here(group, &arrival, receipt, pressing);
            }
        }
        let by_name: HashMap<_, _> = match queues.is_empty() {
            true => HashMap::new(),
            false => groups.iter().map(|group| (group.name, group)).collect(),
        };
        for queue in queues {
            let group = by_name.get(&queue).copied();
            if group.is_some_and(|own| self.to_group_here(own, &arrival, receipt, pressing)) {
                continue;
            }
            let others = |remote: &Remote| remote.node != *from.name();
            let peer = group.and_then(|group| group.peer(&self.dice, others));
            let times = times.unwrap_or(0);
            let Some(remote) = peer.filter(|_| times < PASSED_MAX) else {
                self.counters.dropped_queue_empty.fetch_add(1, Relaxed);
                continue;
            };
            let aim = Aim::Passed {
                queue,
                times: times + 1,
            };
            let origin = Origin::passing_on(origin.publisher);
            let frame = envelope::encode(origin, &aim, &scope, &home, &message);
            // What has no room there is counted there.
            let _ = remote.peer.send(origin.publisher, &frame);
            self.counters.passed_on.fetch_add(1, Relaxed);
            self.counters.sent_remote.fetch_add(1, Relaxed);
        }
    }

    /// Hands a message to one of a queue group on this node. False if nobody of it is here.
    fn to_group_here(
        &self,
        group: &Group<'_>,
        arrival: &Arrival<'_>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) -> bool {
        let (room, here) = (&self.mailroom, group.local(&self.dice));
        if room.deliver_to_one(arrival, here.clone(), receipt, pressing) {
            return true;
        }
        // Nobody has room, so one loses it, as its mailbox does; unless nobody is there to have it.
        let topic = arrival.topic();
        let mut first = here.filter(|own| own.may_have(topic)).take(1).peekable();
        let is_here = first.peek().is_some();
        room.deliver(arrival, first, ignore, receipt, pressing);
        is_here
    }
}
