use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidings_identity::{
    ClusterName, Identity, Incarnation, NodeId, NodeRun, Revocations, Validity,
};
use tidings_membership::{
    ClientDoor, DescribeError, DoorWatch, EventSink, GossipError, Handover, Inbound, Member,
    Membership, NodeSummary, Pattern, Pipe, Scope, Topic, TopicInfo, TopicRecord, TopicSummary,
    View, Watch, Watched,
};
use tidings_transport::{Budget, Gossiped, LinkInfo, Local, Net, SystemNet, Transport};
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::access::{Access, Denied};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::Config;
use crate::explanation::{self, Explanation};
use crate::holds::Holds;
use crate::inbox::Inbox;
use crate::node_error::{RenewError, StartError};
use crate::registry::OpenError;
use crate::session::{Session, SessionOptions, Sessions};
use crate::streams::streams_shared::StreamsShared;
use crate::{Stats, answers, expiry, incarnation, revoked, schemas, seeds, wiring};

/// One node of a cluster: it keeps the memberships of its sessions, knows those of all others, and
/// delivers broadcasts among them.
///
/// Cheap to clone; all clones are the same node. Dropping the last one without
/// [`leave`](Self::leave) is a crash as far as others can tell: they notice after the failure
/// detector's time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidings::{Config, Node, Scope, SessionOptions};
///
/// // On its own. With an identity, and the address of a seed, it would join a cluster.
/// let node = Node::start(Config::default(), None).await?;
/// let (session, _inbox) = node.session(SessionOptions::default())?;
/// session.subscribe(&"tool:llm:*".parse()?)?;
/// assert_eq!(node.members(&Scope::default(), &"tool:llm:req-123".parse()?).len(), 1);
/// assert_eq!(node.topics()[0].pattern.as_str(), "tool:llm:*");
/// node.leave().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    name: NodeId,
    cluster: ClusterName,
    incarnation: Incarnation,
    clock: Clock,
    sessions: Arc<Sessions>,
    transport: Option<Transport>,
    net: Arc<dyn Net>,
    tasks: TaskTracker,
    /// Those of the tasks that a graceful leave waits for.
    draining: TaskTracker,
    /// Cancelled when the node begins to leave.
    leaving: CancellationToken,
    /// Set when it has left.
    left: OnceCell<()>,
    token: CancellationToken,
}

impl Node {
    /// Starts a node on the machine's own network. Without an identity it runs alone.
    ///
    /// # Errors
    /// As [`start_on`](Self::start_on).
    pub async fn start(config: Config, identity: Option<Identity>) -> Result<Self, StartError> {
        Self::start_on(config, identity, Arc::new(SystemNet)).await
    }

    /// Starts a node with this identity on this network; without an identity it runs alone.
    ///
    /// Returns when the node serves its sessions and has begun to look for its seeds; it may not
    /// have found them ([`is_ready`](Self::is_ready)). Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start_on(
        config: Config,
        identity: Option<Identity>,
        net: Arc<dyn Net>,
    ) -> Result<Self, StartError> {
        config.check(identity.as_ref())?;
        let name = config.name_with(identity.as_ref());
        let cluster = config.cluster_with(identity.as_ref());
        let clock = Clock::start(&*net);
        let least = clock.unix_ms().max(config.incarnation_min);
        let incarnation = incarnation::next(config.data_dir.as_deref(), least)?;
        let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
        // Whatever was started ends if the rest does not.
        let unfinished = token.clone().drop_guard();
        let (holds, held) = Holds::new();
        let budget = Arc::new(Budget::new(config.limits.waiting_bytes_max.get()));
        let (broker, errands) = Broker::new(name.clone(), incarnation, holds, &budget);
        let broker = Arc::new(broker);

        let (transport, credentials, inbound): (_, _, Box<dyn Inbound>) = match identity {
            Some(identity) => {
                let identity = revoked::recall(config.data_dir.as_deref(), identity)?;
                let local = Local {
                    listen: config.listen,
                    advertise: config.advertise,
                    incarnation,
                    frame_bytes_max: config.limits.frame_bytes_max(),
                    budget: Arc::clone(&budget),
                };
                let links = config.links.clone();
                let receive = Arc::clone(&broker);
                let (signer, trust) = (identity.signer(), identity.trust()?);
                let (clock, tasks, token) = (net.clone(), tasks.clone(), token.clone());
                let (transport, inbound) =
                    Transport::start(links, local, identity, clock, receive, tasks, token)?;
                let credentials = wiring::credentials(signer, trust, &transport, &net);
                let inbound = Box::new(wiring::Arriving(inbound));
                (Some(transport), Some(credentials), inbound)
            }
            // Nothing is ever received: the sender is gone at once.
            None => (None, None, Box::new(mpsc::channel(1).1)),
        };
        let advertise = transport
            .as_ref()
            .map_or(config.listen, Transport::advertise);
        let own = NodeRun::new(name.clone(), incarnation, advertise);
        let (seed_addrs, seeds) =
            watch::channel(seeds::literal(&config.seeds).into_iter().collect());
        let carrier = transport.clone();
        let outbound = Arc::new(move |to, message| match &carrier {
            Some(transport) => match transport.gossip(to, message) {
                Gossiped::Sent => Handover::Sent,
                Gossiped::Waiting => Handover::Waiting,
                Gossiped::Dropped => Handover::Dropped,
            },
            None => Handover::Dropped,
        });
        let carrier = transport.clone();
        let blame = Box::new(move |run: &NodeRun, reason: String| {
            if let Some(transport) = &carrier {
                transport.blame(run, &reason);
            }
        });
        let pipe = Pipe {
            outbound,
            inbound,
            blame,
        };
        let events: EventSink = match &transport {
            Some(transport) => {
                let window_bytes = config.limits.publish_window_bytes.get();
                wiring::events(Arc::clone(&broker), transport.clone(), window_bytes)
            }
            None => Box::new(|_| {}),
        };
        let membership = Membership::start(
            config.gossip.clone(),
            own,
            cluster.clone(),
            credentials,
            pipe,
            seeds,
            events,
            |task| net.spawn(Box::pin(tasks.track_future(task))),
            token.clone(),
        )
        .await?;

        let (streams, for_streams) = StreamsShared::new(name.clone(), incarnation, &config.limits);
        let (sessions, endings) = Sessions::new(
            name.clone(),
            Arc::clone(&broker),
            membership.clone(),
            transport.clone(),
            config.limits.clone(),
            budget,
            clock.clone(),
            errands.of_sessions,
            streams,
        );
        let sessions = Arc::new(sessions);
        let seeds = config.seeds.clone();
        let inner = Inner {
            config,
            name,
            cluster,
            incarnation,
            clock,
            sessions: Arc::clone(&sessions),
            transport,
            net,
            tasks,
            draining: TaskTracker::new(),
            leaving: token.child_token(),
            left: OnceCell::new(),
            token: unfinished.disarm(),
        };
        let node = Self {
            inner: Arc::new(inner),
        };
        node.spawn(sessions.end(endings));
        let wait_max = node.config().limits.publish_wait_max.get();
        node.spawn(Arc::clone(&broker.holds).give(held, wait_max));
        node.spawn(Arc::clone(&broker.outstanding).pursue());
        node.spawn(seeds::follow(seeds, seed_addrs));
        node.spawn(Arc::clone(&node.inner.sessions).follow_schemas());
        if let Some(transport) = node.inner.transport.clone() {
            let membership = node.inner.sessions.membership.clone();
            node.spawn(expiry::tell(transport.clone(), node.inner.net.clone()));
            if let Some(data_dir) = node.config().data_dir.clone() {
                node.spawn(revoked::keep(data_dir, transport.revocations().clone()));
            }
            let (of_streams, asked) = mpsc::unbounded_channel();
            node.spawn(for_streams.run(asked, transport.clone()));
            node.spawn(answers::answer(
                errands.asked,
                membership.clone(),
                Arc::clone(&broker.changes),
                of_streams,
            ));
            node.spawn(wiring::know_peers(transport.clone(), membership.clone()));
            node.spawn(wiring::know_doors(broker, membership.clone()));
            node.spawn(wiring::tell_gaps(transport, membership));
        }
        Ok(node)
    }

    /// The node's name.
    pub fn name(&self) -> &NodeId {
        &self.inner.name
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &ClusterName {
        &self.inner.cluster
    }

    /// The number of this run of the node; it grows from run to run.
    pub fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    /// The address that peers use; none for a node on its own.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.inner.transport.as_ref().map(Transport::advertise)
    }

    /// What the node was started with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// From when until when the node's certificate is valid; none for a node on its own.
    pub fn certificate(&self) -> Option<Validity> {
        self.inner.transport.as_ref().map(Transport::validity)
    }

    /// What the node knows to be revoked; none for a node on its own. A list that is
    /// [learnt](Revocations::learn) there is told to all other nodes, and kept in the data directory.
    pub fn revocations(&self) -> Option<&Revocations> {
        self.inner.transport.as_ref().map(Transport::revocations)
    }

    /// Goes on with another certificate, key and authorities, which must be of the same node and
    /// cluster. Handshakes from now on use them. Links that are up stay, but for those whose peers
    /// would not be let in any more, which are closed within a second; where this node's old
    /// certificate runs out, peers close the link and another one takes its place.
    ///
    /// # Errors
    /// See [`RenewError`]; the node goes on as before then.
    pub fn renew(&self, identity: &Identity) -> Result<(), RenewError> {
        let transport = self.inner.transport.as_ref().ok_or(RenewError::Alone)?;
        let (signer, trust) = (identity.signer(), identity.trust()?);
        transport.renew(identity)?;
        let credentials = wiring::credentials(signer, trust, transport, &self.inner.net);
        self.inner.sessions.membership.renew(credentials);
        Ok(())
    }

    /// When the node started, since the Unix epoch.
    pub fn started_unix(&self) -> Duration {
        self.inner.clock.unix_at_start()
    }

    /// The time since the Unix epoch, which never steps back while the node runs.
    pub fn unix_time(&self) -> Duration {
        self.inner.clock.unix()
    }

    /// Opens a session, and its inbox.
    ///
    /// # Errors
    /// When there are too many, or the node leaves.
    pub fn session(&self, options: SessionOptions) -> Result<(Session, Inbox), OpenError> {
        self.inner.sessions.open(options)
    }

    /// Whether who has this access and is in the scope `own` may see what is in `scope`; without one, what is
    /// in all. For who shows the [view](Self::view) to others.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub fn shows(&self, access: &Access, own: &Scope, scope: Option<&Scope>) -> Result<(), Denied> {
        access.sees(own, scope, &self.inner.sessions.broker.counters)
    }

    /// Whether who has this access and is in the scope `own` may publish in `scope`. Who may do everything may,
    /// others in their own scope alone. For who publishes in place of others.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub fn lets_enter(&self, access: &Access, own: &Scope, scope: &Scope) -> Result<(), Denied> {
        access.enters(own, scope, &self.inner.sessions.broker.counters)
    }

    /// Whether who has this access may [describe](Self::describe_topic) this topic, for who does so in place of
    /// others.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub fn lets_describe(&self, access: &Access, topic: &Topic) -> Result<(), Denied> {
        access.describes(topic, &self.inner.sessions.broker.counters)
    }

    /// Everyone whom a broadcast on this topic would reach, as far as this node knows; of a pattern
    /// with wildcards, everyone who subscribed to just that pattern. In no order; an unknown scope
    /// or topic has nobody.
    pub fn members(&self, scope: &Scope, pattern: &Pattern) -> Vec<Member> {
        self.view().members(scope, pattern)
    }

    /// Those of [`members`](Self::members) that are on this node.
    pub fn local_members(&self, scope: &Scope, pattern: &Pattern) -> Vec<Member> {
        self.view().local_members(scope, pattern)
    }

    /// All topics and patterns that have members.
    pub fn topics(&self) -> Vec<TopicSummary> {
        self.view().topics()
    }

    /// Those of [`topics`](Self::topics) that have members on this node.
    pub fn local_topics(&self) -> Vec<TopicSummary> {
        self.view().local_topics()
    }

    /// Tells the cluster this of a topic, in the place of what is known of it; nothing, if it is empty.
    /// Topics need no members for it.
    ///
    /// This node shows it at once, connected nodes within milliseconds. Where several set it at the same
    /// time, all come to show the same, the one with the greater [`Stamp`](crate::Stamp). It is told for as
    /// long as one of the nodes runs at which something of this topic was set; nothing is kept on disk.
    ///
    /// With a schema, each node refuses to publish what does not fit, from when it knows of it. Preparing
    /// one takes some milliseconds, here and once on each node that publishes.
    ///
    /// # Errors
    /// When a part of it is too long or has control characters, the schema cannot be used, or this node
    /// tells of 256 topics already, each counted once, or half a MiB of them. Nothing has changed then.
    pub fn describe_topic(
        &self,
        scope: &Scope,
        topic: &Topic,
        info: TopicInfo,
    ) -> Result<(), DescribeError> {
        if let Some(schema) = &info.json_schema {
            let usable = schemas::prove_usable(schema);
            usable.map_err(|problem| DescribeError::Schema { problem })?;
        }
        let unix_ms = self.inner.clock.unix_ms();
        let Sessions {
            membership,
            schemas,
            ..
        } = &*self.inner.sessions;
        membership.describe(scope, topic, info, unix_ms)?;
        // Who publishes next finds it in force.
        schemas.follow(&membership.view());
        Ok(())
    }

    /// What the cluster tells of a topic, if it tells anything, and who set it when.
    pub fn topic_info(&self, scope: &Scope, topic: &Topic) -> Option<Arc<TopicRecord>> {
        self.view().topic_info(scope, topic)
    }

    /// What this node knows of a topic and how, and whether the others see the same, who are asked and have
    /// so long to answer. Also of a pattern with wildcards, of which it is who subscribed to just that.
    ///
    /// First it waits until this node has told what it has. Nobody else waits for it, and nothing changes by it.
    pub fn explain(
        &self,
        scope: Scope,
        pattern: Pattern,
        limit: Duration,
    ) -> impl Future<Output = Explanation> + Send + use<> {
        let membership = self.inner.sessions.membership.clone();
        let transport = self.inner.transport.clone();
        explanation::explain(membership, transport, scope, pattern, limit)
    }

    /// This node, its live peers, and those that died not long ago.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        self.view().nodes()
    }

    /// Lets this node say where its clients connect, in place of what it said before. It is in the
    /// [summaries](NodeSummary::door) of this node when this returns, and in those of others soon after.
    pub fn open_door(&self, door: ClientDoor) {
        self.inner.sessions.membership.open_door(door);
    }

    /// Tells where the clients of all live nodes connect, whenever that changes.
    pub fn watch_doors(&self) -> DoorWatch {
        self.inner.sessions.membership.watch_doors()
    }

    /// The present view of the cluster, together with the stream of changes that continues it.
    pub fn watch(&self) -> (Arc<View>, Watch) {
        self.inner.sessions.membership.watch()
    }

    /// Like [`watch`](Self::watch), but the stream tells of this part of the cluster only. The view has
    /// everything; [`Joins`](crate::Joins) picks out of it what is watched.
    pub fn watch_only(&self, watched: Watched) -> (Arc<View>, Watch) {
        self.inner.sessions.membership.watch_only(watched)
    }

    /// The present view of the cluster.
    pub fn view(&self) -> Arc<View> {
        self.inner.sessions.membership.view()
    }

    /// Whether the node has found a peer, or has nobody to find.
    pub fn is_ready(&self) -> bool {
        let is_peer = |node: &NodeSummary| node.live && !node.is_self;
        self.inner.config.seeds.is_empty() || self.nodes().iter().any(is_peer)
    }

    /// The links to other nodes that are up; none for a node on its own.
    pub fn links(&self) -> Vec<LinkInfo> {
        let transport = self.inner.transport.as_ref();
        transport.map(Transport::links).unwrap_or_default()
    }

    /// What the node has done since it started.
    pub fn stats(&self) -> Stats {
        let Inner {
            sessions,
            transport,
            ..
        } = &*self.inner;
        Stats {
            sessions: sessions.count(),
            waiting_bytes: sessions.budget.held(),
            membership: sessions.membership.stats(),
            transport: transport.as_ref().map(Transport::stats),
            ..sessions.broker.counters.snapshot()
        }
    }

    /// Leaves the cluster: what was published is sent, agents get what waits for them, the others
    /// see the node go at once, and all tasks end, at the latest after the configured `drain` time.
    /// Who calls it again waits for the same end, or for nothing if it has come.
    pub async fn leave(&self) {
        self.inner.left.get_or_init(|| self.inner.leave()).await;
    }

    /// Waits until the node cannot go on, which it does only when something in it has broken.
    pub async fn failed(&self) -> GossipError {
        self.inner.sessions.membership.failed().await
    }

    /// Resolves when a later run of this node is known and has ended, so that peers take this one for old:
    /// the clock was ahead in that run, or has stepped back since, and there is no data directory. The
    /// node is of no use then. It should be ended and started again with an
    /// [`incarnation_min`](Config::incarnation_min) that is greater than what this returns.
    pub async fn outdated(&self) -> Incarnation {
        let membership = self.inner.sessions.membership.outdated();
        match &self.inner.transport {
            Some(transport) => tokio::select! {
                later = membership => later,
                later = transport.outdated() => later,
            },
            None => membership.await,
        }
    }

    /// Cancelled when the node begins to leave: nobody new is to be let in from then on.
    pub fn leaving(&self) -> &CancellationToken {
        &self.inner.leaving
    }

    /// Cancelled when the node stops.
    pub fn token(&self) -> &CancellationToken {
        &self.inner.token
    }

    /// Runs a task that ends with the node.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.inner.token.clone();
        let task = self.inner.tasks.track_future(async move {
            token.run_until_cancelled_owned(task).await;
        });
        self.inner.net.spawn(Box::pin(task));
    }

    /// Runs a task that a graceful [`leave`](Self::leave) waits for, such as that of a gateway's
    /// client. It should end by itself once its session's inbox says that the node has stopped; it
    /// is ended when the `drain` time is over.
    pub fn spawn_draining(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(self.inner.draining.track_future(task));
    }
}

impl Inner {
    async fn leave(&self) {
        let Self {
            sessions,
            transport,
            tasks,
            draining,
            leaving,
            token,
            config,
            ..
        } = self;
        let drain = config.drain.get();
        leaving.cancel();
        sessions.stop();
        draining.close();
        let goodbye = async {
            sessions.membership.depart(drain / 2).await;
            // The others know, and keep their links until they have what was published here.
            if let Some(transport) = transport {
                transport.close(drain / 2).await;
            }
        };
        // Clients that do not take what waits for them are closed regardless.
        let _ = tokio::join!(timeout(drain, draining.wait()), goodbye);
        token.cancel();
        tasks.close();
        if timeout(TASKS_END, tasks.wait()).await.is_err() {
            warn!("some tasks did not end in time");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// How long tasks may take to notice that they are cancelled.
const TASKS_END: Duration = Duration::from_secs(1);
