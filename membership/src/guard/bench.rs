//! Real chitchat behind its guard, as it runs in a node, to be fed what peers may send.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(test)]
use chitchat::ChitchatId;
use chitchat::{ChitchatHandle, spawn_chitchat};
use tidings_identity::{ClusterName, NodeId, NodeRun};
use tokio::sync::{SetOnce, mpsc};
use tokio::task::yield_now;

use super::Guard;
use crate::config::Config;
use crate::fault::Faults;
use crate::membership::gossip_config;
use crate::peer::BUCKETS_KEY;
use crate::pipe::{Handover, Pipe};
use crate::socket::PipeTransport;
use crate::wire::Wire;

/// One node's gossip. It says something only when it is told to.
pub(crate) struct Bench {
    pub(crate) handle: ChitchatHandle,
    pub(crate) addr: SocketAddr,
    wire: Arc<Wire>,
    inbound: mpsc::Sender<(NodeRun, Bytes)>,
    outbound: mpsc::UnboundedReceiver<(SocketAddr, Bytes)>,
}

impl Bench {
    /// Run `incarnation` of node `n`.
    pub(crate) async fn start(n: u8, incarnation: u64) -> Self {
        let config = Config {
            interval: "10s".parse().expect("it is within bounds"),
            ..Config::default()
        };
        let (inbound, messages) = mpsc::channel(16);
        let (sent, outbound) = mpsc::unbounded_channel();
        let hand_over = move |to, message| match sent.send((to, message)) {
            Ok(()) => Handover::Sent,
            Err(_) => Handover::Dropped,
        };
        let pipe = Pipe {
            outbound: Box::new(hand_over),
            inbound: messages,
        };
        let (wire, state) = (Arc::<Wire>::default(), Arc::new(SetOnce::new()));
        let guard = Guard::new(cluster());
        let transport = PipeTransport::new(pipe, wire.clone(), guard, state.clone());
        let initial = vec![(BUCKETS_KEY.to_owned(), "64".to_owned())];
        let gossip = gossip_config(&config, &run(n, incarnation), &cluster());
        let handle = spawn_chitchat(gossip, initial, &transport).await;
        let handle = handle.expect("the pipe is not in use");
        let _ = state.set(handle.chitchat());
        Self {
            handle,
            addr: run(n, incarnation).addr,
            wire,
            inbound,
            outbound,
        }
    }

    /// Delivers a message and returns the answers to it, each with the address it is for.
    ///
    /// # Panics
    /// When gossip has ended.
    pub(crate) async fn receive(
        &mut self,
        from: SocketAddr,
        bytes: impl Into<Bytes>,
    ) -> Vec<(SocketAddr, Bytes)> {
        let _ = self.inbound.send((sender(from), bytes.into())).await;
        self.settle().await
    }

    /// Begins to gossip with the node at this address, and returns what is sent.
    pub(crate) async fn gossip(&mut self, to: SocketAddr) -> Vec<(SocketAddr, Bytes)> {
        let _ = self.handle.gossip(to);
        self.settle().await
    }

    /// Writes a value of its own.
    pub(crate) async fn set(&mut self, key: &str, value: &str) {
        let write = |c: &mut chitchat::Chitchat| c.self_node_state().set(key, value);
        self.handle.with_chitchat(write).await;
    }

    /// What was found in the messages so far.
    pub(crate) fn faults(&self) -> Faults {
        self.wire.counters.faults()
    }

    /// What it knows of a run of a node: its version, and each key with its text.
    #[cfg(test)]
    pub(crate) async fn state_of(&self, node: &ChitchatId) -> Option<(u64, Vec<(String, String)>)> {
        let read = |c: &mut chitchat::Chitchat| {
            let state = c.node_state(node)?;
            let values = state.key_values().map(|(k, v)| (k.into(), v.into()));
            Some((state.max_version(), values.collect()))
        };
        self.handle.with_chitchat(read).await
    }

    async fn settle(&mut self) -> Vec<(SocketAddr, Bytes)> {
        // Gossip runs on the thread of the test, and waits for nothing but messages.
        while self.inbound.capacity() < self.inbound.max_capacity() && !self.inbound.is_closed() {
            yield_now().await;
        }
        for _ in 0..SETTLED_YIELDS {
            yield_now().await;
        }
        let mut ended = pin!(self.handle.termination_watcher());
        tokio::select! {
            biased;
            end = &mut ended => panic!("gossip has ended: {end:?}"),
            () = std::future::ready(()) => {}
        }
        let mut sent = Vec::new();
        while let Ok(message) = self.outbound.try_recv() {
            sent.push(message);
        }
        sent
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Makes it say all that it knows, and write something; what of that a second one refuses, or any
/// panic, is told by a panic. No state that came past the guard may end a node or silence it.
pub(crate) async fn prove_sound(bench: &mut Bench) {
    bench.set("b/0", "after").await;
    let mut other = Bench::start(OTHER, 1).await;
    let (a, b) = (bench.addr, other.addr);
    let mut messages = bench.gossip(b).await;
    messages.extend(other.gossip(a).await);
    for _ in 0..6 {
        let mut answers = Vec::new();
        for (to, bytes) in messages {
            if to == b {
                answers.extend(other.receive(a, bytes).await);
            } else if to == a {
                answers.extend(bench.receive(b, bytes).await);
            }
        }
        messages = answers;
    }
    let faults = other.faults();
    let room = faults.of(crate::fault::Fault::Room);
    assert_eq!(
        faults.total(),
        room,
        "refused what another took: {faults:?}"
    );
}

/// The cluster of all.
pub(crate) fn cluster() -> ClusterName {
    ClusterName::parse("bench").expect("it is a label")
}

/// Run `incarnation` of node `n`, as chitchat names it.
#[cfg(test)]
pub(crate) fn node(n: u8, incarnation: u64) -> ChitchatId {
    let run = run(n, incarnation);
    ChitchatId::new(run.node.as_str(), run.incarnation.get(), run.addr)
}

/// The first run of a node, at this address.
fn sender(addr: SocketAddr) -> NodeRun {
    let n = match addr.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => OTHER,
    };
    NodeRun { addr, ..run(n, 1) }
}

fn run(n: u8, incarnation: u64) -> NodeRun {
    let node = NodeId::parse(&format!("n{n}")).expect("it is a label");
    NodeRun::new(node, incarnation.into(), ([10, 0, 0, n], 4_000).into())
}

/// How often others may run until gossip has done whatever it does next.
const SETTLED_YIELDS: usize = 8;

/// A node that nothing else is called.
const OTHER: u8 = 200;
