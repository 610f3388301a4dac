//! Where membership, transport and broker meet: gossip goes over links, links follow membership,
//! and the broker learns which peers have members.

use std::sync::Arc;

use tidings_identity::NodeRun;
use tidings_membership::{Event, Follower};
use tidings_transport::Transport;
use tracing::info;

use crate::broker::Broker;
use crate::route::Remote;

/// Makes links and routes follow membership.
pub(crate) fn follower(broker: Arc<Broker>, transport: Transport) -> Follower {
    Box::new(move |events| {
        for event in events {
            follow(&broker, &transport, event);
        }
    })
}

fn follow(broker: &Broker, transport: &Transport, event: Event) {
    match event {
        Event::NodeUp {
            node,
            incarnation,
            addr,
        } => {
            info!(%node, %incarnation, %addr, "node is up");
            transport.keep(&NodeRun::new(node.clone(), incarnation, addr));
            let peer = transport.peer(&node);
            broker.add_remote(Arc::new(Remote { node, peer }));
        }
        Event::NodeDown {
            node,
            incarnation,
            left,
        } => {
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
        } => broker.add_interest(&scope, &pattern, &node),
        Event::Left {
            scope,
            pattern,
            node,
            ..
        } => broker.remove_interest(&scope, &pattern, &node),
    }
}
