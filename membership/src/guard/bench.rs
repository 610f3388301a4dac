//! Real chitchat behind its guard, as it runs in a node, to be fed what peers may send.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chitchat::{ChitchatHandle, ChitchatId, spawn_chitchat};
use tidings_identity::{Authority, ClusterName, Identity, NodeId, NodeRun, Revocations, Validity};
use tokio::sync::{SetOnce, mpsc};
use tokio::task::yield_now;

use super::Guard;
#[cfg(test)]
use super::text;
use crate::author::Author;
use crate::config::Config;
use crate::credentials::{Credentials, Keyring};
use crate::fault::Faults;
use crate::pipe::{Handover, Pipe};
use crate::socket::PipeTransport;
use crate::starter::gossip_config;
use crate::wire::Wire;

/// One node's gossip. It says something only when it is told to.
pub(crate) struct Bench {
    pub(crate) handle: ChitchatHandle,
    pub(crate) run: NodeRun,
    author: Author,
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
            outbound: Arc::new(hand_over),
            inbound: Box::new(messages),
            blame: Box::new(|_, _| ()),
        };
        let (wire, state) = (Arc::<Wire>::default(), Arc::new(SetOnce::new()));
        let gossip = gossip_config(&config, &run(n, incarnation), &cluster());
        let author = author(n, incarnation);
        let guard = guard(n, incarnation, &author);
        let transport =
            PipeTransport::new(pipe, mpsc::channel(1).0, wire.clone(), guard, state.clone());
        let handle = spawn_chitchat(gossip, Vec::new(), &transport).await;
        let handle = handle.expect("the pipe is not in use");
        let begin = |c: &mut chitchat::Chitchat| author.begin(c.self_node_state(), 64);
        let begun = handle.with_chitchat(begin).await;
        begun.expect("the key signs");
        let _ = state.set(handle.chitchat());
        Self {
            handle,
            run: run(n, incarnation),
            author,
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
        from: &NodeRun,
        bytes: impl Into<Bytes>,
    ) -> Vec<(SocketAddr, Bytes)> {
        let _ = self.inbound.send((from.clone(), bytes.into())).await;
        self.settle().await
    }

    /// Begins to gossip with the node at this address, and returns what is sent.
    pub(crate) async fn gossip(&mut self, to: SocketAddr) -> Vec<(SocketAddr, Bytes)> {
        let _ = self.handle.gossip(to);
        self.settle().await
    }

    /// Writes a value of its own.
    pub(crate) async fn set(&mut self, key: &str, value: &str) {
        let author = &self.author;
        let write = |c: &mut chitchat::Chitchat| author.write(c.self_node_state(), key, value);
        let written = self.handle.with_chitchat(write).await;
        written.expect("the key signs");
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
            let values = state.key_values().map(|(k, v)| (k.into(), text(v).into()));
            Some((state.max_version(), values.collect()))
        };
        self.handle.with_chitchat(read).await
    }

    /// The heartbeat of a run, if it is known.
    #[cfg(test)]
    pub(crate) async fn heartbeat_of(&self, node: &ChitchatId) -> Option<u64> {
        let read = |c: &mut chitchat::Chitchat| c.node_state(node).map(|s| s.heartbeat().into());
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
    let (a, b) = (bench.run.clone(), other.run.clone());
    let mut messages = bench.gossip(b.addr).await;
    messages.extend(other.gossip(a.addr).await);
    for _ in 0..6 {
        let mut answers = Vec::new();
        for (to, bytes) in messages {
            if to == b.addr {
                answers.extend(other.receive(&a, bytes).await);
            } else if to == a.addr {
                answers.extend(bench.receive(&b, bytes).await);
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

/// The guard of a run of node `n`, which writes like this.
pub(crate) fn guard(n: u8, incarnation: u64, author: &Author) -> Guard {
    let run = node(n, incarnation);
    Guard::new(cluster(), run, author.pulse(), keyring(n))
}

/// A guard of node `n` that does not make its heart beat, which is quickly made.
#[cfg(fuzzing)]
pub(crate) fn heartless_guard(n: u8) -> Guard {
    Guard::new(cluster(), node(n, 1), None, keyring(n))
}

/// With what node `n` vouches for its words.
pub(crate) fn credentials(n: u8) -> Credentials {
    Credentials {
        signer: identity(n).signer(),
        trust: identity(n).trust().expect("there is an authority"),
        revocations: Revocations::new(&identity(n)),
        unix_time: Arc::new(|| NOW),
    }
}

/// Writes for a run of node `n`.
pub(crate) fn author(n: u8, incarnation: u64) -> Author {
    Author::new(cluster(), node(n, incarnation), keyring(n), TICK).expect("the key signs")
}

fn keyring(n: u8) -> Keyring {
    Keyring::new(Some(credentials(n)))
}

/// Who node `n` is.
pub(crate) fn identity(n: u8) -> Arc<Identity> {
    static ISSUED: Mutex<BTreeMap<u8, Arc<Identity>>> = Mutex::new(BTreeMap::new());
    let mut issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(issued.entry(n).or_insert_with(|| Arc::new(issue(n))))
}

/// A new certificate for node `n`.
pub(crate) fn issue(n: u8) -> Identity {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let validity = Validity::starting(NOW, Duration::from_secs(3_600)).expect("it is not far");
    let authority =
        AUTHORITY.get_or_init(|| Authority::create(&cluster(), validity).expect("it can be made"));
    let node = authority.issue(&run(n, 1).node, validity);
    let node = node.expect("it can be issued");
    let ca = authority.certificate_pem();
    let identity = Identity::from_pem(ca, &node.certificate_pem, &node.key_pem);
    identity.expect("it was just issued")
}

/// Run `incarnation` of node `n`, as chitchat names it.
pub(crate) fn node(n: u8, incarnation: u64) -> ChitchatId {
    let run = run(n, incarnation);
    ChitchatId::new(run.node.as_str(), run.incarnation.get(), run.addr)
}

/// Run `incarnation` of node `n`.
pub(crate) fn run(n: u8, incarnation: u64) -> NodeRun {
    let node = NodeId::parse(&format!("n{n}")).expect("it is a label");
    NodeRun::new(node, incarnation.into(), ([10, 0, 0, n], 4_000).into())
}

/// How often others may run until gossip has done whatever it does next.
const SETTLED_YIELDS: usize = 8;

/// A node that nothing else is called.
const OTHER: u8 = 200;

/// When it all takes place.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// How often a heart beats.
const TICK: Duration = Duration::from_millis(25);
