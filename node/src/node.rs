use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidings_identity::{Identity, Incarnation, NameError, NodeId};
use tidings_membership::{
    Follower, GossipFailed, Member, Membership, NodeSummary, Pattern, Pipe, Scope, TopicSummary,
    View, Watch,
};
use tidings_transport::{Gossiped, Local, Net, SystemNet, Transport};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::{Config, InvalidConfig};
use crate::inbox::Inbox;
use crate::incarnation::{self, IncarnationError};
use crate::session::{OpenError, Session, SessionOptions, Sessions};
use crate::{Stats, cluster, seeds};

/// The cluster of a node that names none.
const CLUSTER: &str = "tidings";
/// The name of a node that has none, neither configured nor in a certificate.
const NAME: &str = "node";

/// How long tasks may take to notice that they are cancelled.
const TASKS_END: Duration = Duration::from_secs(1);

/// One node of a cluster: it keeps the memberships of its sessions, knows those of all others, and
/// delivers broadcasts among them.
///
/// Cheap to clone; all clones are the same node. Dropping the last one without
/// [`leave`](Self::leave) is a crash as far as others can tell: they notice after the failure
/// detector's time.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    name: NodeId,
    cluster: String,
    incarnation: Incarnation,
    clock: Clock,
    sessions: Arc<Sessions>,
    transport: Option<Transport>,
    tasks: TaskTracker,
    /// Those of the tasks that serve clients.
    clients: TaskTracker,
    /// Cancelled when the node begins to leave.
    leaving: CancellationToken,
    token: CancellationToken,
}

impl Node {
    /// Starts a node on the machine's own network, with the certificates that the config names.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let identity = config.tls_dir.as_deref().map(Identity::load).transpose()?;
        Self::start_on(config, identity, Arc::new(SystemNet)).await
    }

    /// Starts a node with this identity on this network; without an identity it runs alone.
    ///
    /// Returns when the node serves its sessions and has begun to look for its seeds; it may not
    /// have found them ([`is_ready`](Self::is_ready)).
    pub async fn start_on(
        config: Config,
        identity: Option<Identity>,
        net: Arc<dyn Net>,
    ) -> Result<Self, StartError> {
        config.check()?;
        let name = name(&config, identity.as_ref())?;
        let cluster = cluster_name(&config, identity.as_ref())?;
        if identity.is_none() && !config.seeds.is_empty() {
            return Err(StartError::NoCertificates);
        }
        let clock = Clock::start(&*net);
        let incarnation = incarnation::next(config.data_dir.as_deref(), clock.unix_ms())?;
        let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
        let broker = Arc::new(Broker::new());

        let (transport, inbound) = match identity {
            Some(identity) => {
                let local = Local {
                    listen: config.listen,
                    advertise: config.advertise,
                    incarnation,
                    frame_bytes_max: config.limits.frame_bytes_max(),
                };
                let links = config.links.clone();
                let receive = Arc::clone(&broker);
                let (tasks, token) = (tasks.clone(), token.clone());
                let (transport, inbound) =
                    Transport::start(links, local, identity, net, receive, tasks, token)?;
                (Some(transport), inbound)
            }
            // Nothing is ever received: the sender is gone at once.
            None => (None, mpsc::channel(1).1),
        };
        let advertise = transport
            .as_ref()
            .map_or(config.listen, Transport::advertise);
        let settings = membership_config(&config, name.clone(), incarnation, advertise, &cluster);
        let (seed_addrs, seeds) =
            watch::channel(seeds::literal(&config.seeds).into_iter().collect());
        let carrier = transport.clone();
        let outbound = Box::new(move |to, message| match &carrier {
            Some(transport) => transport.gossip(to, message) != Gossiped::Dropped,
            None => false,
        });
        let pipe = Pipe { outbound, inbound };
        let follower: Follower = match &transport {
            Some(transport) => cluster::follower(Arc::clone(&broker), transport.clone()),
            None => Box::new(|_| {}),
        };
        let membership = Membership::start(
            settings,
            pipe,
            seeds,
            follower,
            tasks.clone(),
            token.clone(),
        )
        .await?;

        let sessions = Arc::new(Sessions::new(
            name.clone(),
            Arc::clone(&broker),
            membership.clone(),
            config.limits.clone(),
            clock.clone(),
        ));
        let seeds = config.seeds.clone();
        let inner = Inner {
            config,
            name,
            cluster,
            incarnation,
            clock,
            sessions,
            transport,
            tasks,
            clients: TaskTracker::new(),
            leaving: token.child_token(),
            token,
        };
        let node = Self {
            inner: Arc::new(inner),
        };
        node.spawn(seeds::follow(seeds, seed_addrs));
        Ok(node)
    }

    /// The node's name.
    pub fn name(&self) -> &NodeId {
        &self.inner.name
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
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

    /// When the node started, since the Unix epoch.
    pub fn started_unix(&self) -> Duration {
        self.inner.clock.unix_at_start()
    }

    /// Opens a session, and its inbox.
    pub fn session(&self, options: SessionOptions) -> Result<(Session, Inbox), OpenError> {
        self.inner.sessions.open(options)
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

    /// This node, its live peers, and those that died not long ago.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        self.view().nodes()
    }

    /// The present view of the cluster, together with the stream of changes that continues it.
    pub fn watch(&self) -> (Arc<View>, Watch) {
        self.inner.sessions.membership.watch()
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

    /// What the node has done since it started.
    pub fn stats(&self) -> Stats {
        let Inner {
            sessions,
            transport,
            ..
        } = &*self.inner;
        Stats {
            membership: sessions.membership.stats(),
            transport: transport.as_ref().map(Transport::stats),
            ..Stats::of_broker(&sessions.broker)
        }
    }

    /// Leaves the cluster: what was published is sent, agents get what waits for them, the others
    /// see the node go at once, and all tasks end, at the latest after the configured `drain` time.
    /// Doing so again does nothing.
    pub async fn leave(&self) {
        let Inner {
            sessions,
            transport,
            tasks,
            clients,
            leaving,
            token,
            config,
            ..
        } = &*self.inner;
        leaving.cancel();
        sessions.stop();
        clients.close();
        let goodbye = async {
            sessions.membership.depart(config.drain / 2).await;
            // The others know, and keep their links until they have what was published here.
            if let Some(transport) = transport {
                transport.close(config.drain / 2).await;
            }
        };
        // Clients that do not take what waits for them are closed regardless.
        let _ = tokio::join!(timeout(config.drain, clients.wait()), goodbye);
        token.cancel();
        tasks.close();
        if timeout(TASKS_END, tasks.wait()).await.is_err() {
            warn!("some tasks did not end in time");
        }
    }

    /// Waits until the node cannot go on, which it does only when something in it has broken.
    pub async fn failed(&self) -> GossipFailed {
        self.inner.sessions.membership.failed().await
    }

    /// Cancelled when the node stops.
    pub fn token(&self) -> &CancellationToken {
        &self.inner.token
    }

    /// Runs a task that ends with the node.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.inner.token.clone();
        self.inner.tasks.spawn(async move {
            token.run_until_cancelled_owned(task).await;
        });
    }

    /// Cancelled when the node begins to leave: nobody new is let in from then on.
    pub(crate) fn leaving(&self) -> &CancellationToken {
        &self.inner.leaving
    }

    /// Runs the task of one client. It should end by itself when its session is closed; a graceful
    /// leave waits for that.
    pub(crate) fn spawn_client(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(self.inner.clients.track_future(task));
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    pub(crate) fn transport(&self) -> Option<&Transport> {
        self.inner.transport.as_ref()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

fn name(config: &Config, identity: Option<&Identity>) -> Result<NodeId, StartError> {
    let certified = identity
        .map(|identity| NodeId::parse(identity.name().as_str()))
        .transpose()?;
    match (config.name.clone(), certified) {
        (Some(name), Some(certified)) if name != certified => {
            Err(StartError::NameMismatch { name, certified })
        }
        (name, certified) => match name.or(certified) {
            Some(name) => Ok(name),
            None => Ok(NodeId::parse(NAME)?),
        },
    }
}

fn cluster_name(config: &Config, identity: Option<&Identity>) -> Result<String, StartError> {
    let certified = identity.map(|identity| identity.cluster().as_str().to_owned());
    match (config.cluster.clone(), certified) {
        (Some(cluster), Some(certified)) if cluster != certified => {
            Err(StartError::ClusterMismatch { cluster, certified })
        }
        (cluster, certified) => Ok(cluster.or(certified).unwrap_or_else(|| CLUSTER.into())),
    }
}

fn membership_config(
    config: &Config,
    node: NodeId,
    incarnation: Incarnation,
    advertise: SocketAddr,
    cluster: &str,
) -> tidings_membership::Config {
    let gossip = &config.gossip;
    tidings_membership::Config {
        cluster: cluster.to_owned(),
        buckets: gossip.buckets,
        gossip_interval: gossip.interval,
        coalesce: gossip.coalesce,
        silence_min: gossip.silence_min,
        dead_node_grace: gossip.dead_node_grace,
        rejoin_interval: gossip.rejoin_interval,
        ..tidings_membership::Config::new(node, incarnation, advertise)
    }
}

/// Why a node did not start. Nothing of it is left running then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value in the config.
    #[error("the configuration is not valid")]
    Config(#[from] InvalidConfig),
    /// The certificates.
    #[error("the node has no identity")]
    Identity(#[from] tidings_identity::IdentityError),
    /// A name in a certificate that is no node name.
    #[error("the node name is not valid")]
    Name(#[from] NameError),
    /// The configured name is another than the certificate's.
    #[error("the node is to be called {name}, but its certificate is for {certified}")]
    NameMismatch {
        /// As configured.
        name: NodeId,
        /// As certified.
        certified: NodeId,
    },
    /// The configured cluster is another than the certificate's.
    #[error("the cluster is to be {cluster}, but the certificate is for {certified}")]
    ClusterMismatch {
        /// As configured.
        cluster: String,
        /// As certified.
        certified: String,
    },
    /// Seeds are of no use without certificates.
    #[error(
        "there are seeds but no certificates, without which nodes do not talk to each other; make \
         some with `tidings tls ca create` and `tidings tls cert create`, and name their directory \
         as tls_dir"
    )]
    NoCertificates,
    /// The last incarnation is not known.
    #[error("the incarnation cannot be determined")]
    Incarnation(#[from] IncarnationError),
    /// The address for peers cannot be opened.
    #[error("the transport did not start")]
    Transport(#[from] tidings_transport::StartError),
    /// Gossip did not start.
    #[error("membership did not start")]
    Membership(#[from] tidings_membership::StartError),
}
