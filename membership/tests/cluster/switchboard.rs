//! A network in memory: carries the bytes of gossip between memberships by address, and can be cut.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{Authority, ClusterName, Identity, NodeId, NodeRun, Revocations, Validity};
use tidings_membership::{
    AgentName, Config, Credentials, Event, Handover, Member, MemberId, MemberIds, Membership,
    Pattern, Pipe, Scope, View, Watch,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Sides = Box<dyn Fn(usize, usize) -> bool + Send>;
type HandOver = Box<dyn Fn(usize, usize) -> Handover + Send>;

/// The wires between the nodes of one test.
#[derive(Clone, Default)]
pub(crate) struct Switchboard(Arc<Mutex<Wires>>);

#[derive(Default)]
struct Wires {
    ports: BTreeMap<SocketAddr, mpsc::Sender<(NodeRun, Bytes)>>,
    /// Whether a message from one node to another gets through; all do if there is none.
    passes: Option<Sides>,
    /// What becomes of a message from one node to another as it is handed to the pipe. What is not
    /// sent never arrives. All are if there is none.
    handover: Option<HandOver>,
    /// Which runs were blamed for what.
    blamed: Vec<(NodeRun, String)>,
}

impl Switchboard {
    /// A pipe for this run of a node; it takes the place of one there was.
    pub(crate) fn connect(&self, run: NodeRun) -> Pipe {
        let own = run.addr;
        let (outbound, mut sent) = mpsc::channel::<(SocketAddr, Bytes)>(PIPE_MESSAGES);
        let (port, inbound) = mpsc::channel(PIPE_MESSAGES);
        self.0.lock().unwrap().ports.insert(own, port);
        let board = self.clone();
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Some((to, bytes)) = sent.recv().await {
                let (board, run) = (board.clone(), run.clone());
                tasks.spawn(async move {
                    sleep(LATENCY).await;
                    board.deliver(run, to, bytes);
                });
            }
        });
        let board = self.clone();
        let hand_over = move |to, message| match board.handover(own, to) {
            Handover::Sent if outbound.try_send((to, message)).is_ok() => Handover::Sent,
            Handover::Waiting => Handover::Waiting,
            _ => Handover::Dropped,
        };
        let board = self.clone();
        let blame = move |run: &NodeRun, reason| {
            let mut wires = board.0.lock().unwrap();
            wires.blamed.push((run.clone(), reason));
        };
        Pipe {
            outbound: Arc::new(hand_over),
            inbound: Box::new(inbound),
            blame: Box::new(blame),
        }
    }

    /// Puts raw bytes into the pipe of a node, as if they came from this one.
    pub(crate) fn deliver(&self, from: NodeRun, to: SocketAddr, bytes: Bytes) {
        let wires = self.0.lock().unwrap();
        let passes = wires.passes.as_ref();
        if passes.is_none_or(|passes| passes(number(from.addr), number(to)))
            && let Some(port) = wires.ports.get(&to)
        {
            let _ = port.try_send((from, bytes));
        }
    }

    /// From now on only messages for which this holds (from, to) get through.
    pub(crate) fn cut(&self, passes: impl Fn(usize, usize) -> bool + Send + 'static) {
        self.0.lock().unwrap().passes = Some(Box::new(passes));
    }

    /// From now on this says what becomes of the messages (from, to) that are handed to a pipe.
    pub(crate) fn hand_over(&self, handover: impl Fn(usize, usize) -> Handover + Send + 'static) {
        self.0.lock().unwrap().handover = Some(Box::new(handover));
    }

    fn handover(&self, from: SocketAddr, to: SocketAddr) -> Handover {
        let wires = self.0.lock().unwrap();
        let handover = wires.handover.as_ref();
        handover.map_or(Handover::Sent, |handover| {
            handover(number(from), number(to))
        })
    }

    /// Which runs any node has blamed for what.
    pub(crate) fn blamed(&self) -> Vec<(NodeRun, String)> {
        self.0.lock().unwrap().blamed.clone()
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().passes = None;
    }
}

/// What a node is started with.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) run: NodeRun,
    pub(crate) cluster: ClusterName,
}

/// A node of a test. Dropping it is a crash.
pub(crate) struct Node {
    pub(crate) membership: Membership,
    pub(crate) seeds: watch::Sender<Vec<SocketAddr>>,
    pub(crate) token: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// What its event sink was given.
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    /// How many events it was given at once at most.
    pub(crate) events_at_once: Arc<AtomicUsize>,
    ids: Mutex<MemberIds>,
}

impl Node {
    /// Starts node `n`, with these seeds.
    pub(crate) async fn start(board: &Switchboard, n: usize, seeds: &[usize]) -> Self {
        Self::start_with(board, setup(n), seeds).await
    }

    pub(crate) async fn start_with(board: &Switchboard, setup: Setup, seeds: &[usize]) -> Self {
        let Setup {
            config,
            run,
            cluster,
        } = setup;
        let credentials = credentials(&cluster, &run);
        let pipe = board.connect(run.clone());
        let seeds = watch::Sender::new(seeds.iter().copied().map(addr).collect());
        let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        let events_at_once = Arc::new(AtomicUsize::new(0));
        let at_once = events_at_once.clone();
        let sink = move |events: Vec<Event>| {
            at_once.fetch_max(events.len(), Relaxed);
            told.lock().unwrap().extend(events);
        };
        let membership = Membership::start(
            config,
            run,
            cluster,
            Some(credentials),
            pipe,
            seeds.subscribe(),
            Box::new(sink),
            |task| {
                tasks.spawn(task);
            },
            token.clone(),
        )
        .await
        .unwrap();
        Self {
            membership,
            seeds,
            token,
            tasks,
            events,
            events_at_once,
            ids: Mutex::default(),
        }
    }

    pub(crate) fn join(&self, topic: &str) -> MemberId {
        self.join_in(&Scope::default(), topic)
    }

    pub(crate) fn join_in(&self, scope: &Scope, topic: &str) -> MemberId {
        let member = self.ids.lock().unwrap().next(1_700_000_000_000);
        let agent = AgentName::parse("tester").ok();
        self.membership
            .join(scope, &pattern(topic), member, agent)
            .unwrap();
        member
    }

    pub(crate) fn leave(&self, topic: &str, member: MemberId) {
        self.membership
            .leave(&Scope::default(), &pattern(topic), member)
            .unwrap();
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.membership.view()
    }

    /// The names of the live nodes in the view.
    pub(crate) fn live(&self) -> Vec<String> {
        let nodes = self.view().nodes().into_iter().filter(|node| node.live);
        nodes.map(|node| node.run.node.to_string()).collect()
    }
}

/// Starts nodes `0..count`, the first three of them seeds, and waits until all see all.
pub(crate) async fn cluster(board: &Switchboard, count: usize) -> Vec<Node> {
    cluster_with(board, (0..count).map(setup).collect()).await
}

pub(crate) async fn cluster_with(board: &Switchboard, setups: Vec<Setup>) -> Vec<Node> {
    let count = setups.len();
    let seeds: Vec<_> = (0..count.min(3)).collect();
    let mut nodes = Vec::new();
    for setup in setups {
        nodes.push(Node::start_with(board, setup, &seeds).await);
        // So that not all of them gossip at the same moments.
        sleep(Duration::from_millis(37)).await;
    }
    let all_see_all = || nodes.iter().all(|node| node.live().len() == count);
    until(
        "all nodes see each other",
        Duration::from_secs(5),
        all_see_all,
    )
    .await;
    nodes
}

/// The first run of node `n`, with the defaults.
pub(crate) fn setup(n: usize) -> Setup {
    let node = NodeId::parse(&format!("n{n}")).unwrap();
    Setup {
        config: Config::default(),
        run: NodeRun::new(node, 1.into(), addr(n)),
        cluster: ClusterName::default(),
    }
}

pub(crate) fn addr(n: usize) -> SocketAddr {
    ([10, 0, 0, 1], 1000 + n as u16).into()
}

fn number(addr: SocketAddr) -> usize {
    usize::from(addr.port()) - 1000
}

pub(crate) fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// The members of a topic of the default scope, sorted.
pub(crate) fn members(view: &View, topic: &str) -> Vec<MemberId> {
    let found = view.members(&Scope::default(), &pattern(topic));
    let mut ids: Vec<_> = found.into_iter().map(|m: Member| m.member).collect();
    ids.sort();
    ids
}

/// Everything that the views of connected nodes agree on.
pub(crate) fn contents(view: &View) -> Vec<(Scope, Pattern, Vec<MemberId>)> {
    let topics = view.topics().into_iter();
    topics
        .map(|topic| {
            let found = view.members(&topic.scope, &topic.pattern);
            let mut ids: Vec<_> = found.into_iter().map(|m| m.member).collect();
            ids.sort();
            (topic.scope, topic.pattern, ids)
        })
        .collect()
}

/// Waits until something holds; returns how long it took.
pub(crate) async fn until(
    what: &str,
    deadline: Duration,
    mut holds: impl FnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    match timeout(deadline, wait).await {
        Ok(()) => start.elapsed(),
        Err(_) => panic!("not within {deadline:?}: {what}"),
    }
}

/// The next events of a watch, which are to come soon.
pub(crate) async fn next(watch: &mut Watch) -> Vec<Event> {
    let next = timeout(Duration::from_secs(10), watch.next()).await;
    next.expect("it is told something")
        .expect("membership goes on")
}

/// How long a message is under way.
const LATENCY: Duration = Duration::from_millis(1);
/// How many messages a pipe holds in each direction.
const PIPE_MESSAGES: usize = 4096;

/// What the authority of a cluster gives a node.
fn credentials(cluster: &ClusterName, run: &NodeRun) -> Credentials {
    static AUTHORITIES: Mutex<BTreeMap<ClusterName, Authority>> = Mutex::new(BTreeMap::new());
    let validity = Validity::starting(NOW, Duration::from_secs(86_400)).unwrap();
    let mut authorities = AUTHORITIES.lock().unwrap();
    let authority = authorities
        .entry(cluster.clone())
        .or_insert_with(|| Authority::create(cluster, validity).unwrap());
    let node = authority.issue(&run.node, validity).unwrap();
    let ca = authority.certificate_pem();
    let identity = Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).unwrap();
    Credentials {
        signer: identity.signer(),
        trust: identity.trust().unwrap(),
        revocations: Revocations::new(&identity),
        unix_time: Arc::new(|| NOW),
    }
}

/// When it all takes place.
const NOW: Duration = Duration::from_secs(1_800_000_000);
