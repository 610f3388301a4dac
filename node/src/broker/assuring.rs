use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Member, MemberId, View};
use tokio::time::Instant;

use super::Broker;
use crate::Message;
use crate::envelope::Aim;
use crate::leg::To;
use crate::limits::CHOSEN_MAX;
use crate::mailbox::Subscriber;
use crate::mailroom::{Arrival, ignore};
use crate::open_message::Parcel;
use crate::outcome::AssuredOptions;
use crate::outgoing::{Outgoing, Publisher};
use crate::outstanding::{Begun, Full};
use crate::queues::{Chosen, one_of_each};
use crate::receipt::Receipt;
use crate::remote::Remote;
use crate::routes::Routes;
use crate::waits::Filling;

impl Broker {
    /// Hands a message to all these members, of each queue group to one, and has its publisher told what
    /// becomes of it with them.
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
        let (members, chosen) = one_of_each(members, &self.node, &self.dice);
        let (groups, max) = (most_of_one_peer(&chosen, &self.node), CHOSEN_MAX);
        if groups > max {
            return Err(Full::Groups { groups, max });
        }
        let nodes: HashSet<NodeId> = members.iter().map(|m| m.node.clone()).collect();
        let parcel = Parcel {
            publisher,
            scope: routes.scope.clone(),
            home: self.home(routes, message),
            message: Arc::clone(message),
            chosen,
        };
        let scope = &routes.scope;
        let send = |parcel: &Parcel, remote: &Remote, aim: Aim| {
            let home = parcel.home.clone();
            let mut outgoing = Outgoing::new(publisher, aim, scope, home, message);
            let before = receipt.nodes;
            outgoing.send(remote, &mut receipt, pressing);
            receipt.nodes > before
        };
        let chosen: HashSet<_> = parcel.chosen.iter().map(|(_, member)| *member).collect();
        let home = parcel.home.clone();
        let begun = self.outstanding.begin(parcel, options, members, to, send)?;
        // Who has come since the view was made gets it, too, and is not waited for.
        let mut outgoing = Outgoing::new(publisher, Aim::Topic, scope, home, message);
        let is_new = |remote: &Remote| !nodes.contains(&remote.node);
        let none = Chosen::default();
        self.send(
            &matching,
            is_new,
            none,
            &mut outgoing,
            &mut receipt,
            pressing,
        );
        let is_chosen = |own: &&Arc<Subscriber>| chosen.contains(&own.member);
        let grouped = matching.all_here().filter(|own| own.queue.is_some());
        let here = matching.here().chain(grouped.filter(is_chosen));
        match &begun.here {
            Some((from, numbered)) => {
                from.receive(Incarnation::default(), numbered, |ticket, pushed| {
                    let message = Arc::new(Message {
                        ticket,
                        ..Message::clone(message)
                    });
                    let arrival = Arrival::here(publisher, &message);
                    let room = &self.mailroom;
                    room.deliver(&arrival, here, pushed, &mut receipt, pressing);
                })
            }
            None => {
                let arrival = Arrival::here(publisher, message);
                let room = &self.mailroom;
                room.deliver(&arrival, here, ignore, &mut receipt, pressing);
            }
        }
        let Receipt { local, nodes, .. } = receipt;
        self.counters.broadcast(local + nodes, started.elapsed());
        Ok(begun)
    }
}

/// How many of these members are on the peer that has the most.
fn most_of_one_peer(chosen: &[(NodeId, MemberId)], own: &NodeId) -> usize {
    let mut counts = HashMap::<_, usize>::new();
    for (node, _) in chosen.iter().filter(|(node, _)| node != own) {
        *counts.entry(node).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}
