//! Nodes with real certificates on loopback.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod log;
pub(crate) mod raw;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{
    Authority, Identity, Incarnation, NodeCertificate, NodeId, NodeRun, Validity,
};
use tidings_transport::{
    Answering, Budget, Config, Credit, Frame, GossipReceiver, LinkInfo, LinkUp, Local, Net, Peer,
    Receive, SystemNet, Transport, Violation,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct Cluster {
    pub(crate) authority: Authority,
}

pub(crate) struct Node {
    pub(crate) transport: Transport,
    pub(crate) gossip: GossipReceiver,
    pub(crate) received: Arc<Received>,
    pub(crate) tasks: TaskTracker,
    pub(crate) token: CancellationToken,
}

/// Frames as they arrived, by sender and its incarnation.
#[derive(Default)]
pub(crate) struct Received {
    frames: Mutex<BTreeMap<(String, Incarnation), Vec<Bytes>>>,
    credits: Mutex<Vec<Credit>>,
    /// Questions that are not answered yet.
    held: Mutex<Vec<Answering>>,
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        let authority = Authority::create(&name.parse().unwrap(), hour()).unwrap();
        Self { authority }
    }

    pub(crate) fn certificate(&self, node: &str) -> NodeCertificate {
        self.authority.issue(&name(node), hour()).unwrap()
    }

    pub(crate) fn identity(&self, node: &str) -> Identity {
        self.identity_of(&self.certificate(node))
    }

    pub(crate) fn identity_of(&self, node: &NodeCertificate) -> Identity {
        let ca = self.authority.certificate_pem();
        Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).unwrap()
    }

    pub(crate) fn start(&self, node: &str) -> Node {
        self.start_at(node, local())
    }

    pub(crate) fn start_at(&self, node: &str, local: Local) -> Node {
        Node::start(self.identity(node), Config::default(), local)
    }

    pub(crate) fn start_with(&self, node: &str, config: Config) -> Node {
        Node::start(self.identity(node), config, local())
    }
}

impl Node {
    pub(crate) fn start(identity: Identity, config: Config, local: Local) -> Self {
        let received = Arc::new(Received::default());
        let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
        let (transport, gossip) = Transport::start(
            config,
            local,
            identity,
            Arc::new(SystemNet),
            received.clone(),
            tasks.clone(),
            token.clone(),
        )
        .unwrap();
        Self {
            transport,
            gossip,
            received,
            tasks,
            token,
        }
    }

    /// The usual run of it.
    pub(crate) fn run(&self) -> NodeRun {
        let (name, addr) = (self.transport.name().clone(), self.transport.advertise());
        NodeRun::new(name, INCARNATION, addr)
    }

    pub(crate) fn keep(&self, peer: &Node) {
        self.transport.keep(&peer.run());
    }

    pub(crate) fn keep_run(&self, peer: &Node, incarnation: Incarnation) {
        let run = NodeRun {
            incarnation,
            ..peer.run()
        };
        self.transport.keep(&run);
    }

    /// Sends a frame on the lane of `key`.
    pub(crate) fn send(&self, to: &Node, key: u64, payload: impl Into<Bytes>) {
        let frame = Frame::new(&[], payload.into());
        self.transport
            .peer(to.transport.name())
            .send(key, &frame)
            .unwrap();
    }

    pub(crate) fn linked(&self, peer: &Node) -> bool {
        self.link_to(peer).is_some_and(|link| link.up.is_some())
    }

    pub(crate) fn link_to(&self, peer: &Node) -> Option<LinkInfo> {
        let mut links = self.transport.links().into_iter();
        links.find(|link| link.peer == *peer.transport.name())
    }

    /// The links that are up.
    pub(crate) fn links_up(&self) -> Vec<LinkUp> {
        let links = self.transport.links().into_iter();
        links.filter_map(|link| link.up).collect()
    }

    /// What arrived from the usual run of `peer`.
    pub(crate) fn frames_from(&self, peer: &Node) -> Vec<Bytes> {
        self.received
            .from(peer.transport.name().as_str(), INCARNATION)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Received {
    pub(crate) fn credits(&self) -> Vec<Credit> {
        self.credits.lock().unwrap().clone()
    }

    /// How many questions are not answered yet.
    pub(crate) fn holds(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    pub(crate) fn answer_all(&self, answer: &[u8]) {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let answer = Bytes::copy_from_slice(answer);
        held.into_iter().for_each(|one| one.answer(answer.clone()));
    }

    pub(crate) fn forget_all(&self) {
        self.held.lock().unwrap().clear();
    }

    pub(crate) fn from(&self, peer: &str, incarnation: Incarnation) -> Vec<Bytes> {
        let frames = self.frames.lock().unwrap();
        let key = (peer.to_owned(), incarnation);
        frames.get(&key).cloned().unwrap_or_default()
    }
}

impl Receive for Received {
    fn frame(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        frame: Bytes,
    ) -> Result<(), Violation> {
        if frame == UNFIT {
            return Err(Violation::new("this is unfit"));
        }
        let mut frames = self.frames.lock().unwrap();
        let key = (from.name().to_string(), incarnation);
        frames.entry(key).or_default().push(frame);
        Ok(())
    }

    fn credit(&self, _: &Arc<Peer>, _: Incarnation, credit: Credit) {
        self.credits.lock().unwrap().push(credit);
    }

    fn question(&self, from: &Arc<Peer>, _: Incarnation, question: Bytes, answering: Answering) {
        if question == HOLD {
            return self.held.lock().unwrap().push(answering);
        }
        let answer = [from.name().as_str().as_bytes(), b" asks ", &question].concat();
        answering.answer(answer.into());
    }
}

/// A question that is not answered at once.
pub(crate) const HOLD: &[u8] = b"hold";

/// What no receiver of these tests takes.
pub(crate) const UNFIT: &[u8] = b"unfit";

pub(crate) const INCARNATION: Incarnation = Incarnation::new(1);

/// Longer than anything here takes, unless it fails.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn name(text: &str) -> NodeId {
    text.parse().unwrap()
}

/// A node on any free port of loopback.
pub(crate) fn local() -> Local {
    Local {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        incarnation: INCARNATION,
        frame_bytes_max: (1 << 20) + (64 << 10),
        budget: Arc::new(Budget::new(usize::MAX)),
    }
}

/// The second run of a node.
pub(crate) fn later() -> Local {
    Local {
        incarnation: INCARNATION.next(),
        ..local()
    }
}

/// A node on all addresses of the machine, of which all of 127.0.0.0/8 lead to it.
pub(crate) fn everywhere(port: u16) -> Local {
    Local {
        listen: ([0, 0, 0, 0], port).into(),
        advertise: Some(([127, 0, 0, 1], port).into()),
        ..local()
    }
}

pub(crate) fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

pub(crate) fn hour() -> Validity {
    Validity::starting(SystemNet.unix_time(), Duration::from_secs(3600)).unwrap()
}

/// A frame that says which number it is, `bytes` long.
pub(crate) fn numbered(number: u32, bytes: usize) -> Bytes {
    let mut frame = number.to_be_bytes().to_vec();
    frame.resize(bytes.max(4), 0);
    frame.into()
}

pub(crate) fn number(frame: &Bytes) -> u32 {
    u32::from_be_bytes(frame[..4].try_into().unwrap())
}

pub(crate) async fn linked(a: &Node, b: &Node) {
    eventually("the two nodes have a link", || a.linked(b) && b.linked(a)).await;
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
