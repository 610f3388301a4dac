//! Where membership, transport and broker meet: gossip goes over links, links follow membership,
//! and the broker learns which peers have members.

use std::sync::Arc;

use tidings_identity::NodeRun;
use tidings_membership::{Event, EventSink};
use tidings_transport::Transport;
use tracing::info;

use crate::broker::Broker;
use crate::route::Remote;

/// Makes links and routes follow membership.
pub(crate) fn events(broker: Arc<Broker>, transport: Transport) -> EventSink {
    Box::new(move |events| {
        for event in events {
            follow(&broker, &transport, event);
        }
    })
}

fn follow(broker: &Broker, transport: &Transport, event: Event) {
    match event {
        Event::NodeUp { run } => {
            let NodeRun { node, .. } = &run;
            info!(%node, incarnation = %run.incarnation, addr = %run.addr, "node is up");
            transport.keep(&run);
            let peer = transport.peer(node);
            broker.add_remote(Arc::new(Remote {
                node: node.clone(),
                peer,
            }));
        }
        Event::NodeDown {
            run: NodeRun {
                node, incarnation, ..
            },
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
        // What is new to membership concerns neither links nor routes.
        _ => {}
    }
}
