//! Where membership, transport and broker meet: gossip goes over links, links follow membership,
//! and the broker learns which peers have members.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_identity::NodeRun;
use tidings_membership::{Event, EventSink, Pattern, Scope};
use tidings_transport::Transport;
use tracing::info;

use crate::broker::Broker;
use crate::route::{Remote, RouteChange};

/// Makes links and routes follow membership.
pub(crate) fn events(broker: Arc<Broker>, transport: Transport, window_bytes: usize) -> EventSink {
    Box::new(move |events| {
        let mut interests = Interests::default();
        for event in events {
            follow(&broker, &transport, window_bytes, event, &mut interests);
        }
        interests.take_effect(&broker);
    })
}

/// Who has come to have members of what, or has them no more, not yet told to the routes: all of a
/// scope are told at once.
#[derive(Default)]
struct Interests(BTreeMap<Scope, Vec<(Pattern, RouteChange)>>);

impl Interests {
    fn add(&mut self, scope: Scope, pattern: Pattern, change: RouteChange) {
        self.0.entry(scope).or_default().push((pattern, change));
    }

    fn take_effect(&mut self, broker: &Broker) {
        for (scope, changes) in std::mem::take(&mut self.0) {
            let changes = changes
                .iter()
                .map(|(pattern, change)| (pattern, change.clone()));
            broker.routes(&scope).change_all(changes);
        }
    }
}

fn follow(
    broker: &Broker,
    transport: &Transport,
    window_bytes: usize,
    event: Event,
    interests: &mut Interests,
) {
    match event {
        Event::NodeUp { run } => {
            let NodeRun { node, .. } = &run;
            info!(%node, incarnation = %run.incarnation, addr = %run.addr, "node is up");
            transport.keep(&run);
            let peer = transport.peer(node);
            // What an earlier run of it had is taken back before.
            interests.take_effect(broker);
            broker.add_remote(Arc::new(Remote::new(peer, window_bytes)));
        }
        Event::NodeDown {
            run: NodeRun {
                node, incarnation, ..
            },
            left,
        } => {
            interests.take_effect(broker);
            broker.remove_remote(&node);
            if left {
                info!(%node, %incarnation, "node has left");
                transport.departed(&node);
            } else {
                info!(%node, %incarnation, "node is down");
                transport.forget(&node);
            }
        }
        Event::Joined {
            scope,
            pattern,
            node,
            ..
        } => {
            if let Some(remote) = broker.remote(&node) {
                interests.add(scope, pattern, RouteChange::AddRemote(remote));
            }
        }
        Event::Left {
            scope,
            pattern,
            node,
            ..
        } => interests.add(scope, pattern, RouteChange::RemoveRemote(node)),
        // What is new to membership concerns neither links nor routes.
        _ => {}
    }
}
