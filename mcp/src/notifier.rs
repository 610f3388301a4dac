use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tidings::{
    AgentName, BroadcastError, Count, MailboxConfig, Node, NotEverywhere, OpenError, Overflow,
    Receipt, Scope, Session, SessionOptions, SubscribeError, Time, Watched,
};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hearing::Hearing;
use crate::hub::{Bounds, Full, Hub, Id};
use crate::listening::{Listening, lock};
use crate::{Change, ServerName, Uri, UriError};

/// Tells the clients of one replica of an MCP server what has changed at any of its replicas.
///
/// What is promised: a client whose `subscriptions/listen` was acknowledged is told after each change that is
/// published from then on, on whatever node, as long as its stream lasts. The messages between nodes are
/// delivered at most once; when one may have been lost on its way here (a link broke, a node stood still or
/// was thought dead, a partition, a mailbox that was full), all nodes are asked what was published on them since,
/// and the client is told of that. Of all that it listens for it is told when nobody can say: when a node was killed
/// and runs again, or is away for longer than the [options](NotifierOptions::absence_max) say. So a change can be told
/// more than once, and no client goes on with what is old without knowing it.
///
/// What is not promised: replay to those who did not listen, any order between two resources, as many
/// notifications as there were changes. A burst on one resource is told at once, and once more when it is over;
/// a client that does not read holds up nobody, and is told each thing once when it reads on.
///
/// Cheap to clone; all clones are the same replica. It goes on until it is [closed](Self::close), or the node
/// leaves: then all listeners get their final result. Dropping all clones closes it. The [crate] shows how a server
/// uses it.
#[derive(Debug, Clone)]
pub struct Notifier {
    pub(crate) replica: Arc<Replica>,
}

/// How a [`Notifier`] is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NotifierOptions {
    /// The scope in which changes are published. Default the default scope.
    pub scope: Scope,
    /// How long [`start`](Notifier::start_with) waits until all live nodes know this replica. Default 10 s,
    /// 1 ms to 10 min. With longer it waits for a node that cannot be reached until that is taken for dead.
    pub everywhere_within: Time<1, 600_000>,
    /// How many clients may listen. Default 10,000, 1 to 10 million. More are refused with an error.
    pub listeners_max: Count<1, 10_000_000>,
    /// How many URIs one client may listen for. Default 1,000, 1 to 1 million. Of more the first are accepted,
    /// as the acknowledgement says.
    pub uris_per_listener_max: Count<1, 1_000_000>,
    /// What all that is listened for may take of memory, in bytes: 128 and its length for each URI of each client.
    /// Default 64 MiB, at least 1. Whoever would exceed it is refused with an error.
    pub listening_bytes_max: Count<1, { isize::MAX as usize }>,
    /// How long what was told is not told again. Default 20 ms, 1 ms to 10 s. Longer spares clients that are told
    /// of the same again and again, and tells them the last time so much later.
    pub pause: Time<1, 10_000>,
    /// How long a node that cannot be reached is waited for, which may come back and say what was published there. After
    /// that all that is listened for is told. Default 30 s, 1 ms to 1 day.
    pub absence_max: Time<1, 86_400_000>,
}

impl Default for NotifierOptions {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            everywhere_within: Time::of_ms::<10_000>(),
            listeners_max: Count::of::<10_000>(),
            uris_per_listener_max: Count::of::<1_000>(),
            listening_bytes_max: Count::of::<{ 64 << 20 }>(),
            pause: Time::of_ms::<20>(),
            absence_max: Time::of_ms::<30_000>(),
        }
    }
}

/// Why there is no notifier. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node takes no session.
    #[error("the notifier cannot open a session on the node")]
    Open(#[from] OpenError),
    /// The node takes no subscription.
    #[error("the notifier cannot subscribe to the server's changes")]
    Subscribe(#[from] SubscribeError),
    /// Not all live nodes know this replica in time, so changes published there could be missed.
    #[error("not all nodes know this replica of the MCP server")]
    NotEverywhere(#[from] NotEverywhere),
}

/// Why a change was not published. Nobody has heard of it, in this replica neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The URI cannot be told.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The message was not published.
    #[error("the change was not published")]
    Publish(#[from] BroadcastError),
}

/// What a notifier has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NotifierStats {
    /// How many clients listen.
    pub listeners: usize,
    /// Changes that were published and arrived here.
    pub changes: u64,
    /// Messages on the topics of changes that were none.
    pub malformed: u64,
    /// How often changes may have been lost on their way here, so that all nodes were asked for them.
    pub recalls: u64,
    /// How often it could not be known what was lost, so that all that is listened for was told.
    pub losses: u64,
    /// Notifications that were handed to streams of clients.
    pub told: u64,
    /// Clients that were refused, because there was no room for them.
    pub refused: u64,
}

/// What the clones of a notifier share with its task.
#[derive(Debug)]
pub(crate) struct Replica {
    server: ServerName,
    session: Arc<Session>,
    listening: Arc<Listening>,
    /// Whom the SDK has acknowledged and not let listen yet, by the task that serves it.
    #[cfg(feature = "rmcp")]
    pub(crate) promised: Mutex<crate::promised::Promised<tokio::task::Id>>,
    #[cfg(feature = "rmcp")]
    pub(crate) sessions: Mutex<crate::sessions::Sessions>,
    #[cfg(feature = "rmcp")]
    pub(crate) uris_per_listener_max: usize,
    /// Ends the task with the last clone.
    _ends: tokio_util::sync::DropGuard,
}

/// A client that listens; dropped, it does no more.
#[derive(Debug)]
pub struct Listener {
    id: Id,
    wake: Arc<Notify>,
    listening: Arc<Listening>,
}

/// From when on somebody was promised to hear of everything.
#[derive(Debug, Clone, Copy)]
pub struct Promise(pub(crate) Instant);

/// Why nobody else can listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ListenError(Full);

impl Notifier {
    /// Makes this node a replica of the MCP server with this name. When it returns, every live node knows
    /// that: what is published from then on is heard here, or its loss is.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(node: &Node, server: ServerName) -> Result<Self, StartError> {
        Self::start_with(node, server, NotifierOptions::default()).await
    }

    /// [Starts](Self::start) with these options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        node: &Node,
        server: ServerName,
        options: NotifierOptions,
    ) -> Result<Self, StartError> {
        // Before it subscribes, so that no loss is known before it is watched.
        let (_, watch) = node.watch_only(Watched::Nodes);
        let (session, inbox) = node.session(SessionOptions {
            scope: options.scope,
            agent: AgentName::parse(&format!("mcp/{server}")).ok(),
            mailbox: MailboxConfig {
                overflow: Overflow::DropOldest,
                ..MailboxConfig::default()
            },
            ..SessionOptions::default()
        })?;
        session.subscribe(&Change::pattern(&server))?;
        session.everywhere(options.everywhere_within.get()).await?;
        let listening = Arc::new(Listening {
            hub: Mutex::new(Hub::new(Bounds {
                listeners_max: options.listeners_max.get(),
                bytes_max: options.listening_bytes_max.get(),
                recent_max: RECENT_MAX,
                pause: options.pause.get(),
            })),
            closed: CancellationToken::new(),
            changes: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            recalls: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            told: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let session = Arc::new(session);
        let hearing = Hearing::new(
            node,
            &server,
            Arc::clone(&session),
            inbox,
            watch,
            &listening,
            options.absence_max.get(),
        );
        let hearing = hearing.begin(options.everywhere_within.get()).await;
        let ends = listening.closed.clone().drop_guard();
        node.spawn_draining(hearing.run());
        Ok(Self {
            replica: Arc::new(Replica {
                server,
                session,
                listening,
                #[cfg(feature = "rmcp")]
                promised: Mutex::new(crate::promised::Promised::new(PROMISED_MAX)),
                #[cfg(feature = "rmcp")]
                sessions: Mutex::default(),
                #[cfg(feature = "rmcp")]
                uris_per_listener_max: options.uris_per_listener_max.get(),
                _ends: ends,
            }),
        })
    }

    /// Since when somebody hears of everything who is promised that now, and [listens](Self::listener) later.
    pub fn promise(&self) -> Promise {
        Promise(Instant::now())
    }

    /// Begins to listen for these changes, on behalf of a client that was promised that it would. What has changed
    /// since the promise is told first; without one, all that may have.
    ///
    /// # Errors
    /// When as many listen as may, or for as much.
    pub fn listener(
        &self,
        changes: impl IntoIterator<Item = Change>,
        since: Option<Promise>,
    ) -> Result<Listener, ListenError> {
        let listening = Arc::clone(&self.replica.listening);
        let begun = lock(&listening.hub).listen(changes, since.map(|Promise(since)| since));
        let (id, wake) = begun.map_err(|full| {
            listening.refused.fetch_add(1, Relaxed);
            ListenError(full)
        })?;
        Ok(Listener {
            id,
            wake,
            listening,
        })
    }

    /// Publishes that a resource has changed. To be called when whoever reads it gets what is new.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn resource_updated(&self, uri: &str) -> Result<Receipt, NotifyError> {
        self.publish(&Change::Resource(Uri::parse(uri)?))
    }

    /// Publishes that there are other tools.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn tools_changed(&self) -> Result<Receipt, NotifyError> {
        self.publish(&Change::Tools)
    }

    /// Publishes that there are other prompts.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn prompts_changed(&self) -> Result<Receipt, NotifyError> {
        self.publish(&Change::Prompts)
    }

    /// Publishes that there are other resources.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn resources_changed(&self) -> Result<Receipt, NotifyError> {
        self.publish(&Change::Resources)
    }

    /// What it has done.
    pub fn stats(&self) -> NotifierStats {
        let listening = self.listening();
        NotifierStats {
            listeners: lock(&listening.hub).listeners(),
            changes: listening.changes.load(Relaxed),
            malformed: listening.malformed.load(Relaxed),
            recalls: listening.recalls.load(Relaxed),
            losses: listening.losses.load(Relaxed),
            told: listening.told.load(Relaxed),
            refused: listening.refused.load(Relaxed),
        }
    }

    /// Ends all listeners with their final result, so that their clients listen at another replica. Whoever
    /// stops the server does this first, and lets its streams end.
    pub fn close(&self) {
        self.listening().closed.cancel();
    }

    fn listening(&self) -> &Listening {
        &self.replica.listening
    }

    fn publish(&self, change: &Change) -> Result<Receipt, NotifyError> {
        let Replica {
            session, server, ..
        } = &*self.replica;
        Ok(session.broadcast(change.message(server))?)
    }
}

impl Listener {
    /// What is to be told next; waits until there is something. None when the notifier is closed. Whatever changes
    /// while nobody asks waits once. Nothing is lost when the call is cancelled.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if self.listening.closed.is_cancelled() {
                return None;
            }
            let next = lock(&self.listening.hub).take(self.id);
            if next.is_some() {
                self.listening.told.fetch_add(1, Relaxed);
                return next;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.listening.closed.cancelled() => {}
            }
        }
    }
}

#[cfg(feature = "rmcp")]
impl Listener {
    pub(crate) fn id(&self) -> Id {
        self.id
    }
}

#[cfg(feature = "rmcp")]
impl Notifier {
    /// Lets a listener listen for this, too. False if it does already, or is gone.
    pub(crate) fn listen_also(&self, listener: Id, change: Change) -> Result<bool, ListenError> {
        let added = lock(&self.listening().hub).add(listener, change);
        added.map_err(ListenError)
    }

    /// Lets it do so no more. False if it did not.
    pub(crate) fn listen_no_more(&self, listener: Id, change: &Change) -> bool {
        lock(&self.listening().hub).remove(listener, change)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.listening.hub).leave(self.id);
    }
}

/// How many things that changed are remembered for those who are about to listen.
const RECENT_MAX: usize = 4_096;
#[cfg(feature = "rmcp")]
/// How many clients may be acknowledged and not listen yet, without being told of all.
const PROMISED_MAX: usize = 1_024;
