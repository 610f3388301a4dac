use std::sync::Arc;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Pattern, Scope};
use tidings_transport::Receive;
use tokio::time::Instant;
use tracing::warn;

use crate::mailbox::{Pushed, Subscriber};
use crate::metrics::Metrics;
use crate::route::{Remote, RouteChange};
use crate::routes::{Matching, Routes};
use crate::{Message, envelope};

/// Brings messages to the mailboxes of this node and to the links of others.
///
/// The way from a publisher to the mailboxes is a direct call on the publisher's own thread: it
/// takes no lock on the routes and waits for nothing. A peer gets one frame, however many members
/// it has; what comes from a peer goes to local subscribers only.
#[derive(Debug)]
pub(crate) struct Broker {
    scopes: papaya::HashMap<Scope, Arc<Routes>>,
    remotes: papaya::HashMap<NodeId, Arc<Remote>>,
    pub(crate) metrics: Metrics,
}

/// To how many a message was handed. Being handed over is not yet being received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Subscriptions on this node whose mailbox took it.
    pub local: usize,
    /// Other nodes whose link took it.
    pub nodes: usize,
}

/// Who publishes, as far as delivery goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher {
    /// Decides the lane: all messages of one publisher take the same.
    pub(crate) lane_key: u64,
    /// The session whose own subscriptions are left out.
    pub(crate) skip_session: Option<u64>,
}

/// How far a broadcast goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    Everywhere,
    ThisNode,
}

impl Broker {
    pub(crate) fn new() -> Self {
        let (scopes, remotes) = (papaya::HashMap::new(), papaya::HashMap::new());
        Self {
            scopes,
            remotes,
            metrics: Metrics::new(),
        }
    }

    /// The routes of a scope, made when first asked for.
    pub(crate) fn routes(&self, scope: &Scope) -> Arc<Routes> {
        let make = || Arc::new(Routes::new(scope.clone()));
        Arc::clone(self.scopes.pin().get_or_insert_with(scope.clone(), make))
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

    /// A peer has one member more for this pattern.
    pub(crate) fn add_interest(&self, scope: &Scope, pattern: &Pattern, node: &NodeId) {
        if let Some(remote) = self.remote(node) {
            self.routes(scope)
                .change(pattern, &RouteChange::AddRemote(remote));
        }
    }

    /// A peer has one member less for this pattern.
    pub(crate) fn remove_interest(&self, scope: &Scope, pattern: &Pattern, node: &NodeId) {
        self.routes(scope)
            .change(pattern, &RouteChange::RemoveRemote(node.clone()));
    }

    /// Hands a message to all subscribers within reach.
    pub(crate) fn broadcast(
        &self,
        routes: &Routes,
        publisher: Publisher,
        reach: Reach,
        message: &Arc<Message>,
    ) -> Receipt {
        let started = Instant::now();
        let matching = routes.matching(&message.topic);
        let local = self.deliver(&matching, publisher.skip_session, message);
        let nodes = match reach {
            Reach::Everywhere => self.send(&matching, &routes.scope, publisher.lane_key, message),
            Reach::ThisNode => 0,
        };
        let receipt = Receipt { local, nodes };
        self.count(started, receipt);
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
        self.metrics.sent_remote.inc();
        let sent = remote.peer.send(publisher.lane_key, &frame);
        let receipt = Receipt {
            local: 0,
            nodes: usize::from(sent.is_ok()),
        };
        self.count(started, receipt);
        receipt
    }

    fn count(&self, started: Instant, receipt: Receipt) {
        self.metrics.broadcasts.inc();
        self.metrics
            .duration
            .observe(started.elapsed().as_secs_f64());
        self.metrics
            .subscribers
            .observe((receipt.local + receipt.nodes) as f64);
    }

    fn deliver(&self, matching: &Matching, skip: Option<u64>, message: &Arc<Message>) -> usize {
        let (mut kept, mut pushed) = (0, 0);
        let mut cut_off: Vec<&Arc<Subscriber>> = Vec::new();
        for subscriber in matching.routes().flat_map(|route| &route.local) {
            if skip == Some(subscriber.session) {
                continue;
            }
            pushed += 1;
            match subscriber.mailbox.push(subscriber, message) {
                Pushed::Kept => kept += 1,
                Pushed::KeptLosing(lost) => {
                    kept += 1;
                    self.metrics.dropped.mailbox_full.inc_by(lost);
                }
                Pushed::Lost => {
                    self.metrics.dropped.mailbox_full.inc();
                }
                Pushed::CutOff(lost) => {
                    self.metrics.dropped.slow_subscriber.inc_by(lost);
                    cut_off.push(subscriber);
                }
                Pushed::Closed => pushed -= 1,
            }
        }
        self.metrics.sent_local.inc_by(pushed);
        for subscriber in cut_off {
            subscriber.end_session();
        }
        kept
    }

    fn send(&self, matching: &Matching, scope: &Scope, lane: u64, message: &Message) -> usize {
        let mut peers = matching
            .routes()
            .flat_map(|route| &route.remote)
            .map(|(peer, _)| peer);
        let Some(first) = peers.next() else { return 0 };
        let frame = envelope::encode(scope, message);
        let (mut handed, mut tried) = (0, 0);
        let mut send = |remote: &Remote| {
            tried += 1;
            handed += usize::from(remote.peer.send(lane, &frame).is_ok());
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
        self.metrics.sent_remote.inc_by(tried);
        handed
    }
}

impl Receive for Broker {
    fn frame(&self, from: &NodeId, _: Incarnation, frame: Bytes) {
        self.metrics.received.inc();
        match envelope::decode(frame) {
            Ok((scope, message)) => {
                // Nobody here has a scope that is not known.
                if let Some(routes) = self.scopes.pin().get(&scope) {
                    let matching = routes.matching(&message.topic);
                    self.deliver(&matching, None, &Arc::new(message));
                }
            }
            Err(error) => {
                self.metrics.dropped.malformed.inc();
                warn!(peer = %from, %error, "left out a frame that is not a message");
            }
        }
    }
}
