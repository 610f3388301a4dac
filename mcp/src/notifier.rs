use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::SubscriptionFilter;
use rmcp::service::{SubscriptionContext, SubscriptionSendError, SubscriptionSink};
use tidings::{
    AgentName, BroadcastError, Count, Delivery, Event, Inbox, MailboxConfig, Node, NodeId,
    NotEverywhere, OpenError, Overflow, Receipt, Scope, Session, SessionOptions, SubscribeError,
    Time, Watch, Watched,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::hub::{Bounds, Full, Hub, Id};
use crate::promised::Promised;
use crate::{Change, ServerName, Uri, UriError};

/// Tells the clients of one replica of an MCP server what has changed at any of its replicas.
///
/// What is promised: a client whose `subscriptions/listen` was acknowledged is told after each change that is
/// published from then on, on whatever node, as long as its stream lasts. The messages between nodes are
/// delivered at most once; when one may have been lost on its way here (a link broke, a node stood still or
/// was thought dead, a partition, a mailbox that was full), the client is told of all that it listens for, since
/// it is not known what was in them. So a change can be told more than once, and no client goes on with what is
/// old without knowing it.
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
    replica: Arc<Replica>,
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
    /// How often it was not known what was lost, so that all that is listened for was told.
    pub losses: u64,
    /// Notifications that were handed to streams of clients.
    pub told: u64,
    /// Clients that were refused, because there was no room for them.
    pub refused: u64,
}

/// What the clones of a notifier share with its task.
#[derive(Debug)]
struct Replica {
    server: ServerName,
    session: Session,
    listening: Arc<Listening>,
    uris_per_listener_max: usize,
    /// Ends the task with the last clone.
    _ends: tokio_util::sync::DropGuard,
}

#[derive(Debug)]
struct Listening {
    hub: Mutex<Hub>,
    promised: Mutex<Promised<tokio::task::Id>>,
    /// Cancelled when nobody is told anything any more.
    closed: CancellationToken,
    changes: AtomicU64,
    malformed: AtomicU64,
    losses: AtomicU64,
    told: AtomicU64,
    refused: AtomicU64,
}

/// A client that listens; dropped, it does no more.
struct Listener<'a> {
    id: Id,
    wake: Arc<tokio::sync::Notify>,
    listening: &'a Listening,
}

/// What hears of changes and of losses.
struct Hearing {
    server: ServerName,
    node: NodeId,
    inbox: Inbox,
    watch: Watch,
    listening: Arc<Listening>,
    /// Until when losses are gathered, and whether there was one.
    losses_until: Instant,
    has_lost: bool,
    /// When it was last said that a message was malformed.
    complained: Option<Instant>,
}

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
            promised: Mutex::new(Promised::new(PROMISED_MAX)),
            closed: CancellationToken::new(),
            changes: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            told: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let hearing = Hearing {
            server: server.clone(),
            node: node.name().clone(),
            inbox,
            watch,
            listening: Arc::clone(&listening),
            losses_until: Instant::now(),
            has_lost: false,
            complained: None,
        };
        let ends = listening.closed.clone().drop_guard();
        node.spawn_draining(hearing.run());
        Ok(Self {
            replica: Arc::new(Replica {
                server,
                session,
                listening,
                uris_per_listener_max: options.uris_per_listener_max.get(),
                _ends: ends,
            }),
        })
    }

    /// What of this a client is told of: for the server's `accepted_subscription_filter`, which is to return this or
    /// less of it. From here on nothing is missed that the client will [listen](Self::listen) for.
    ///
    /// It has no URI that is too long, and no more than the options allow.
    pub fn accept(&self, asked: &SubscriptionFilter) -> SubscriptionFilter {
        if let Some(task) = tokio::task::try_id() {
            lock(&self.listening().promised).add(task, Instant::now());
        }
        let mut accepted = asked.clone();
        if let Some(uris) = &mut accepted.resource_subscriptions {
            let mut seen = std::collections::HashSet::new();
            uris.retain(|uri| Uri::parse(uri).is_ok() && seen.insert(uri.clone()));
            uris.truncate(self.replica.uris_per_listener_max);
        }
        accepted
    }

    /// Tells a client of changes until it goes, or the notifier is closed: for the server's `listen`.
    ///
    /// # Errors
    /// When as many listen as may, or for as much.
    pub async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let listening = self.listening();
        let since = tokio::task::try_id().and_then(|task| lock(&listening.promised).take(task));
        let listener = listening.listen(context.accepted(), since);
        let listener = listener.map_err(|full| {
            listening.refused.fetch_add(1, Relaxed);
            ErrorData::internal_error(full.to_string(), None)
        })?;
        tokio::select! {
            () = context.cancelled() => {}
            () = listening.closed.cancelled() => {}
            _ = listener.tell(context.sink()) => {}
        }
        Ok(())
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

impl Listening {
    fn listen(
        &self,
        accepted: &SubscriptionFilter,
        since: Option<Instant>,
    ) -> Result<Listener<'_>, Full> {
        let lists = [
            (accepted.tools_list_changed, Change::Tools),
            (accepted.prompts_list_changed, Change::Prompts),
            (accepted.resources_list_changed, Change::Resources),
        ];
        let lists = lists.into_iter();
        let lists = lists.filter_map(|(asked, change)| (asked == Some(true)).then_some(change));
        let uris = accepted.resource_subscriptions.iter().flatten();
        let uris = uris
            .filter_map(|uri| Uri::parse(uri).ok())
            .map(Change::Resource);
        let (id, wake) = lock(&self.hub).listen(lists.chain(uris), since)?;
        Ok(Listener {
            id,
            wake,
            listening: self,
        })
    }
}

impl Listener<'_> {
    /// Tells what there is to tell, as fast as the client takes it. Returns when its stream has ended.
    async fn tell(&self, sink: &SubscriptionSink) -> SubscriptionSendError {
        loop {
            let next = lock(&self.listening.hub).take(self.id);
            let Some(change) = next else {
                self.wake.notified().await;
                continue;
            };
            let sent = match &change {
                Change::Tools => sink.notify_tool_list_changed().await,
                Change::Prompts => sink.notify_prompt_list_changed().await,
                Change::Resources => sink.notify_resource_list_changed().await,
                Change::Resource(uri) => sink.notify_resource_updated(uri.as_str()).await,
            };
            match sent {
                Ok(()) => self.listening.told.fetch_add(1, Relaxed),
                Err(error) => return error,
            };
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        lock(&self.listening.hub).leave(self.id);
    }
}

impl Hearing {
    async fn run(mut self) {
        let closed = self.listening.closed.clone();
        closed.run_until_cancelled(self.hear()).await;
        // When the node leaves, the listeners end, too.
        closed.cancel();
    }

    async fn hear(&mut self) {
        loop {
            let due = lock(&self.listening.hub).next_due();
            let losses = self.has_lost.then_some(self.losses_until);
            tokio::select! {
                delivery = self.inbox.recv() => {
                    let more = delivery.is_ok_and(|delivery| self.deliveries(delivery));
                    if !more {
                        return;
                    }
                }
                events = self.watch.next() => match events {
                    Some(events) => self.events(&events),
                    None => return,
                },
                () = at(due) => {}
                () = at(losses) => {}
            }
            let now = Instant::now();
            if self.has_lost && now >= self.losses_until {
                self.has_lost = false;
                self.losses_until = now + LOSSES_PAUSE;
                self.listening.losses.fetch_add(1, Relaxed);
                lock(&self.listening.hub).lost(now);
            }
            lock(&self.listening.hub).tell_due(now);
        }
    }

    /// Takes what has come, and what has come besides, up to a bound. False if nothing will come any more.
    fn deliveries(&mut self, first: Delivery) -> bool {
        self.delivery(first);
        for _ in 1..BATCH_MAX {
            match self.inbox.try_recv() {
                Ok(Some(next)) => self.delivery(next),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Message { message, .. } => self.message(&message),
            Delivery::Missed(_) => self.has_lost = true,
        }
    }

    fn message(&mut self, message: &tidings::Message) {
        match Change::of(message, &self.server) {
            Ok(Some(change)) => {
                self.listening.changes.fetch_add(1, Relaxed);
                lock(&self.listening.hub).changed(&change, Instant::now());
            }
            // Something else that the server's parts tell each other.
            Ok(None) => {}
            Err(error) => {
                self.listening.malformed.fetch_add(1, Relaxed);
                let now = Instant::now();
                if self
                    .complained
                    .is_none_or(|at| now >= at + COMPLAINTS_PAUSE)
                {
                    self.complained = Some(now);
                    let topic = message.topic.as_str();
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        topic,
                        error,
                        "a message about a change at an MCP server is malformed"
                    );
                }
            }
        }
    }

    fn events(&mut self, events: &[Event]) {
        let lost = |event: &Event| matches!(event, Event::Gap { to, .. } if *to == self.node);
        if events.iter().any(lost) {
            self.has_lost = true;
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many things that changed are remembered for those who are about to listen.
const RECENT_MAX: usize = 4_096;
/// How many clients may be acknowledged and not listen yet, without being told of all.
const PROMISED_MAX: usize = 1_024;
/// How many messages are looked at before anything else is.
const BATCH_MAX: usize = 256;
/// How often all is told, if messages are lost all the time.
const LOSSES_PAUSE: Duration = Duration::from_secs(1);
/// How often it is said that messages are malformed.
const COMPLAINTS_PAUSE: Duration = Duration::from_secs(10);
