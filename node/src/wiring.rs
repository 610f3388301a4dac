//! Where membership, transport and broker meet: gossip goes over links, links follow membership,
//! and the broker learns which peers have members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidings_identity::{NodeRun, Signer, Trust};
use tidings_membership::{
    Credentials, Event, EventSink, Inbound, Membership, Pattern, Receiving, Scope,
};
use tidings_transport::{Direction, GossipReceiver, Net, Transport};
use tokio::time::sleep;
use tracing::info;

use crate::broker::Broker;
use crate::remote::Remote;
use crate::route::RouteChange;

/// With what a node vouches for its words.
pub(crate) fn credentials(
    signer: Signer,
    trust: Trust,
    transport: &Transport,
    net: &Arc<dyn Net>,
) -> Credentials {
    let net = Arc::clone(net);
    Credentials {
        signer,
        trust,
        revocations: transport.revocations().clone(),
        unix_time: Arc::new(move || net.unix_time()),
    }
}

/// The gossip that arrives on links, for membership.
pub(crate) struct Arriving(pub(crate) GossipReceiver);

impl Inbound for Arriving {
    fn recv(&mut self) -> Receiving<'_> {
        Box::pin(self.0.recv())
    }
}

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

/// Tells those who watch the node what is missing between it and its peers.
pub(crate) async fn tell_gaps(transport: Transport, membership: Membership) {
    let own = transport.name().clone();
    loop {
        let gaps = transport.gaps().await;
        membership.tell_gaps(gaps.into_iter().map(|gap| {
            let (peer, own) = (gap.peer, own.clone());
            let between = match gap.direction {
                Direction::Inbound => (peer, own),
                Direction::Outbound => (own, peer),
            };
            (between, gap.frames)
        }));
        // However many there are, watchers are not woken for each.
        sleep(GAPS_PACE).await;
    }
}

/// Tells the transport of each peer that the view shows again. Whatever is published from then on is
/// sent to it, since routes are there before they are shown.
pub(crate) async fn know_peers(transport: Transport, membership: Membership) {
    let (view, mut watch) = membership.watch();
    for peer in view.nodes().into_iter().filter(|node| node.live) {
        transport.peer(&peer.run.node).know();
    }
    while let Some(events) = watch.next().await {
        for event in events {
            if let Event::NodeUp { run } = event {
                transport.peer(&run.node).know();
            }
        }
    }
}

/// Lets the broker know of each peer whether it drains.
pub(crate) async fn know_doors(broker: Arc<Broker>, membership: Membership) {
    let mut doors = membership.watch_doors();
    loop {
        for (node, door) in doors.next().await {
            if let Some(remote) = broker.remote(&node) {
                remote.is_draining.store(door.is_draining(), Relaxed);
            }
        }
    }
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
            let remote = Remote::new(peer, run.incarnation, window_bytes);
            broker.add_remote(Arc::new(remote));
        }
        Event::NodeDown {
            run: NodeRun {
                node, incarnation, ..
            },
            left,
        } => {
            interests.take_effect(broker);
            broker.remove_remote(&node);
            broker.outstanding.lost(&node, incarnation);
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
            queue,
            ..
        } => {
            if let Some(remote) = broker.remote(&node) {
                interests.add(scope, pattern, RouteChange::AddRemote(remote, queue));
            }
        }
        Event::Left {
            scope,
            pattern,
            node,
            queue,
            ..
        } => interests.add(scope, pattern, RouteChange::RemoveRemote(node, queue)),
        // What is new to membership concerns neither links nor routes.
        _ => {}
    }
}

/// What is found missing within so long is told together.
const GAPS_PACE: Duration = Duration::from_millis(20);
