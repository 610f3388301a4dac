mod admission;
mod allowed;
mod finish;
mod leftovers;
mod many;
mod other_nodes;
mod presence;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub use self::finish::Observer;
use tidings_identity::NodeId;
use tidings_membership::{
    AgentName, MemberId, MemberIds, Membership, Metadata, Pattern, Profile, QueueGroup, Scope,
    Share,
};
use tidings_transport::{Budget, Held, Transport};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::access::{Access, Grant, Seat, SeatError};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::homes::is_private;
use crate::inbox::Inbox;
use crate::mailbox::{Leftovers, Mailbox, MailboxConfig};
use crate::mailroom::Errand;
use crate::registry::{OpenError, Registry, SessionId};
use crate::route::RouteChange;
use crate::schemas::Schemas;
use crate::scopes::HeldRoutes;
use crate::session_error::{SubscribeError, UnsubscribeError};
use crate::streams::streams_shared::StreamsShared;
use crate::waits::Waits;
use crate::{Congestion, Limits, RecvError};

/// How a session is opened.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// The scope of all its topics.
    pub scope: Scope,
    /// What the agent calls itself; shown with its members.
    pub agent: Option<AgentName>,
    /// The bounds of its mailbox.
    pub mailbox: MailboxConfig,
    /// What becomes of its messages where there is no room to spare.
    pub congestion: Congestion,
    /// What it may do. Default everything.
    pub access: Access,
}

/// How a session subscribes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// A tag of the caller's own, which comes back with every delivery and means nothing to the node.
    pub tag: u64,
    /// The queue group that the membership is in. Of all that are in a group of this name, whatever pattern each
    /// subscribed to, one gets each message: one on the node where it is published, if there is one with room,
    /// or else one on another node, the more often the more are there. By default it is in none, and gets each
    /// message.
    pub queue: Option<QueueGroup>,
    /// What the membership says of itself from the first: nobody sees it without.
    pub metadata: Metadata,
}

/// What an agent does through its node: the only door to topics, for gateways and embedders alike.
///
/// A session comes with an [`Inbox`], in which everything arrives that it subscribes to. Messages
/// that one session publishes reach every subscriber in the order in which they were published,
/// over all topics; none is delivered twice. Nothing is promised of the order of messages from
/// different sessions: they take turns on the way. Dropping the session ends its memberships; what still
/// waits in the inbox is then lost, and counted as such. Up to 256 memberships are out of this
/// node's view when the call returns. More are ended by a task of the node, which takes milliseconds
/// and holds up nobody, neither who drops the session nor other agents.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidings::{AgentName, Config, Message, Node, Scope, SessionOptions};
///
/// let node = Node::start(Config::default(), None).await?;
/// let (session, _inbox) = node.session(SessionOptions {
///     agent: Some(AgentName::parse("planner")?),
///     ..SessionOptions::default()
/// })?;
/// let member = session.subscribe(&"kb.*".parse()?)?;
/// assert_eq!(node.members(&Scope::default(), &"kb.updates".parse()?).len(), 1);
///
/// let receipt = session.broadcast(Message::new("kb.updates".parse()?, "rebuilt"))?;
/// assert_eq!(receipt.local, 1);
/// let others = session.broadcast_from(Message::new("kb.updates".parse()?, "again"))?;
/// assert_eq!(others.local, 0);
///
/// session.unsubscribe(member)?;
/// assert!(node.topics().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    pub(crate) state: Arc<SessionState>,
}

/// The sessions of a node, and what they share.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) node: NodeId,
    pub(crate) broker: Arc<Broker>,
    pub(crate) membership: Membership,
    /// None of a node on its own.
    transport: Option<Transport>,
    pub(crate) limits: Limits,
    pub(crate) budget: Arc<Budget>,
    pub(crate) clock: Clock,
    pub(crate) schemas: Schemas,
    open: Registry<SessionState>,
    members: Mutex<MemberIds>,
    pub(crate) streams: StreamsShared,
    /// Where sessions go that have ended and have so many memberships that ending them takes time.
    ended: mpsc::UnboundedSender<Ended>,
}

/// A session that has ended, the memberships that it still has, and what others can have of its messages.
type Ended = (Arc<SessionState>, HashMap<MemberId, Subscribed>, Leftovers);

/// The sessions that a task of the node has to end. No more wait than there are sessions, because
/// a session keeps its place until it is done.
#[derive(Debug)]
pub(crate) struct Endings {
    ended: mpsc::UnboundedReceiver<Ended>,
    errands: mpsc::UnboundedReceiver<Errand>,
}

/// The part of a session that its node can end.
#[derive(Debug)]
pub(crate) struct SessionState {
    pub(crate) id: SessionId,
    pub(crate) node: Arc<Sessions>,
    pub(crate) routes: HeldRoutes,
    agent: Option<AgentName>,
    mailbox: Arc<Mailbox>,
    pub(crate) congestion: Congestion,
    /// Whether it has ended: it subscribes to nothing and publishes nothing any more.
    pub(crate) ended: AtomicBool,
    subscriptions: Mutex<Subscriptions>,
    /// What its messages have filled to where it is to wait.
    pub(crate) waits: Waits,
    /// What its inboxes for answers have in common, once it has asked anything, and how many it has had.
    pub(crate) inbox: OnceLock<MemberId>,
    pub(crate) asked: AtomicU64,
    /// What it may do; none if that is everything.
    pub(crate) grant: Option<Arc<Grant>>,
    pub(crate) access: Access,
    /// Among the sessions of its access.
    seat: Option<Seat>,
}

/// What a session has subscribed to, and what that takes of the node's room for memberships.
#[derive(Debug)]
struct Subscriptions {
    made: HashMap<MemberId, Subscribed>,
    /// What those memberships say of themselves that say anything.
    metadata: HashMap<MemberId, Metadata>,
    share: Share,
}

/// To what a membership is, and in which queue group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subscribed {
    pattern: Pattern,
    queue: Option<QueueGroup>,
}

/// What was admitted of a list of subscriptions and is not made yet.
#[derive(Debug, Default)]
struct Pending {
    count: usize,
    bytes: usize,
}

impl Sessions {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of the node, and whoever makes it has them all at hand"
    )]
    pub(crate) fn new(
        node: NodeId,
        broker: Arc<Broker>,
        membership: Membership,
        transport: Option<Transport>,
        limits: Limits,
        budget: Arc<Budget>,
        clock: Clock,
        errands: mpsc::UnboundedReceiver<Errand>,
        streams: StreamsShared,
    ) -> (Self, Endings) {
        let (sender, ended) = mpsc::unbounded_channel();
        let sessions = Self {
            streams,
            node,
            broker,
            membership,
            transport,
            open: Registry::new(limits.sessions_max.get()),
            limits,
            budget,
            clock,
            schemas: Schemas::default(),
            members: Mutex::default(),
            ended: sender,
        };
        (sessions, Endings { ended, errands })
    }

    pub(crate) fn open(
        self: &Arc<Self>,
        options: SessionOptions,
    ) -> Result<(Session, Inbox), OpenError> {
        let SessionOptions {
            scope,
            agent,
            mailbox,
            congestion,
            access,
        } = options;
        let seat = access.seat().map_err(|error| match error {
            SeatError::TooMany { max } => OpenError::TooManyOfIdentity { max },
            SeatError::Withdrawn => OpenError::Withdrawn,
        })?;
        let counters = &self.broker.counters;
        let grant = Grant::new(&access, counters);
        let mailbox = Arc::new(Mailbox::new(mailbox, &self.budget));
        let state = self.open.open(|id| SessionState {
            id,
            node: Arc::clone(self),
            routes: self.broker.routes(&scope),
            agent,
            mailbox: Arc::clone(&mailbox),
            congestion,
            ended: AtomicBool::new(false),
            subscriptions: Mutex::new(Subscriptions {
                made: HashMap::new(),
                metadata: HashMap::new(),
                share: self.membership.share(),
            }),
            waits: Waits::default(),
            inbox: OnceLock::new(),
            asked: AtomicU64::new(0),
            grant: grant.clone(),
            access,
            seat,
        })?;
        state.sit()?;
        let inbox = Inbox::new(mailbox, &self.broker, (state.id, scope), grant);
        Ok((Session { state }, inbox))
    }

    /// How many sessions are open.
    pub(crate) fn count(&self) -> usize {
        self.open.count()
    }

    /// Whether the node leaves.
    pub(crate) fn has_stopped(&self) -> bool {
        self.open.is_stopped()
    }

    /// Lets no session receive anything more than what waits for it already.
    pub(crate) fn stop(&self) {
        for session in self.open.stop() {
            session.mailbox.close(RecvError::NodeStopped);
        }
    }

    /// Ends the sessions that the broker has cut off, and those with many memberships, and hands over what
    /// waited in inboxes. That takes time for each membership and message, which no publisher and no other
    /// agent is to spend.
    pub(crate) async fn end(self: Arc<Self>, mut endings: Endings) {
        loop {
            let (session, memberships, leftovers) = tokio::select! {
                Some(ended) = endings.ended.recv() => ended,
                Some(errand) = endings.errands.recv() => {
                    let (Errand::CutOff(id) | Errand::Abandoned(id)) = errand;
                    // If it is not open any more, it has ended by itself meanwhile.
                    let Some(session) = self.open.get(id) else {
                        continue;
                    };
                    if let Errand::Abandoned(_) = errand {
                        session.hand_over_all(session.mailbox.leftovers()).await;
                        continue;
                    }
                    match session.close(RecvError::Ended) {
                        Some((memberships, leftovers)) => (session, memberships, leftovers),
                        None => continue,
                    }
                }
                else => return,
            };
            session.withdraw_all(memberships, leftovers).await;
        }
    }

    /// Keeps what is demanded of payloads as the cluster tells it.
    pub(crate) async fn follow_schemas(self: Arc<Self>) {
        let mut topics = self.membership.watch_topics();
        loop {
            topics.changed().await;
            self.schemas.follow(&self.membership.view());
            // However often it changes.
            sleep(SCHEMAS_PAUSE).await;
        }
    }

    pub(crate) fn next_member(&self) -> MemberId {
        let unix_ms = self.clock.unix_ms();
        lock(&self.members).next(unix_ms)
    }
}

impl Session {
    /// Makes the session a member of this topic or pattern, and returns the new membership's id.
    /// Subscribing n times makes n memberships, each of which gets every message. It is visible on
    /// this node at once and on connected nodes within milliseconds.
    ///
    /// An *inbox*, which is a topic or pattern that begins with `_INBOX.`, is for answers to what the session
    /// asks: it is no member and seen by nobody else. A message on it comes to the session from whatever node, at
    /// once and as long as it was named as [`reply_to`](crate::Message::reply_to) of one that was published here.
    ///
    /// # Errors
    /// See [`SubscribeError`]; nothing has changed then.
    pub fn subscribe(&self, pattern: &Pattern) -> Result<MemberId, SubscribeError> {
        self.subscribe_tagged(pattern, 0)
    }

    /// Subscribes with a [tag](SubscribeOptions::tag).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_tagged(
        &self,
        pattern: &Pattern,
        tag: u64,
    ) -> Result<MemberId, SubscribeError> {
        self.subscribe_with(
            pattern,
            SubscribeOptions {
                tag,
                ..SubscribeOptions::default()
            },
        )
    }

    /// Subscribes with a tag, in a queue group, with metadata, as these options say.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidings::{Config, Message, Node, SessionOptions, SubscribeOptions};
    ///
    /// let node = Node::start(Config::default(), None).await?;
    /// let (workers, _inbox) = node.session(SessionOptions::default())?;
    /// for tag in 0..3 {
    ///     let options = SubscribeOptions {
    ///         tag,
    ///         queue: Some("workers".parse()?),
    ///         ..SubscribeOptions::default()
    ///     };
    ///     workers.subscribe_with(&"jobs.*".parse()?, options)?;
    /// }
    /// let receipt = workers.broadcast(Message::new("jobs.7".parse()?, "index"))?;
    /// assert_eq!(receipt.local, 1, "one of the three gets it");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with(
        &self,
        pattern: &Pattern,
        options: SubscribeOptions,
    ) -> Result<MemberId, SubscribeError> {
        self.state.subscribe(pattern, options)
    }

    /// Ends one membership. Messages that wait in the inbox are still delivered.
    ///
    /// # Errors
    /// When the session has no such membership; nothing has changed then.
    pub fn unsubscribe(&self, member: MemberId) -> Result<(), UnsubscribeError> {
        let state = &self.state;
        let subscribed = state.take(member).ok_or(UnsubscribeError { member })?;
        let pattern = subscribed.pattern.clone();
        state.withdraw_members(&[(subscribed, member)]);
        // Whether or not the cluster's side still had it, it has it no more.
        let _ = state
            .node
            .membership
            .leave(&state.routes.scope, &pattern, member);
        Ok(())
    }

    /// A part of what may wait on the node (`waiting_bytes_max` of [`Limits`]), for whoever keeps something
    /// in memory for the session besides its mailbox, as a gateway its buffers.
    pub fn hold(&self) -> Held {
        self.state.node.budget.part()
    }

    /// The scope of the session.
    pub fn scope(&self) -> &Scope {
        &self.state.routes.scope
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        SessionState::end(&self.state);
    }
}

impl SessionState {
    fn subscribe(
        &self,
        pattern: &Pattern,
        options: SubscribeOptions,
    ) -> Result<MemberId, SubscribeError> {
        let SubscribeOptions {
            tag,
            queue,
            metadata,
        } = options;
        let profile = Profile {
            agent: self.agent.clone(),
            queue,
            metadata,
        };
        let mut subscriptions = lock(&self.subscriptions);
        let pending = &mut Pending::default();
        let member = self.admit(&subscriptions, pending, pattern, &profile)?;
        let subscribed = Subscribed {
            pattern: pattern.clone(),
            queue: profile.queue.clone(),
        };
        let queue = subscribed.queue.clone();
        let subscriber = Arc::new(self.subscriber(pattern, member, tag, queue));
        // First the route, then the membership: whoever sees the member must reach it.
        self.routes
            .change(pattern, RouteChange::AddLocal(subscriber));
        let (scope, share) = (&self.routes.scope, &mut subscriptions.share);
        let membership = &self.node.membership;
        let is_told = !is_private(pattern, profile.queue.as_ref());
        if !is_told {
            share.take(scope, pattern, &profile);
        } else if let Err(error) = membership.join_within(share, scope, pattern, member, &profile) {
            self.withdraw_members(&[(subscribed, member)]);
            return Err(error.into());
        }
        subscriptions.made.insert(member, subscribed);
        if !profile.metadata.is_empty() {
            subscriptions.metadata.insert(member, profile.metadata);
        }
        Ok(member)
    }

    /// Takes a subscription out, and gives back its room.
    fn take(&self, member: MemberId) -> Option<Subscribed> {
        let mut subscriptions = lock(&self.subscriptions);
        let subscribed = subscriptions.made.remove(&member)?;
        let profile = Profile {
            agent: self.agent.clone(),
            queue: subscribed.queue.clone(),
            metadata: subscriptions.metadata.remove(&member).unwrap_or_default(),
        };
        let (scope, share) = (&self.routes.scope, &mut subscriptions.share);
        share.give_back(scope, &subscribed.pattern, &profile);
        Some(subscribed)
    }

    /// Ends the session. Doing so again does nothing.
    fn end(self: &Arc<Self>) {
        self.end_for(RecvError::Ended);
    }

    /// Ends the session for this reason, if it has not ended.
    fn end_for(self: &Arc<Self>, reason: RecvError) {
        let Some((memberships, leftovers)) = self.close(reason) else {
            return;
        };
        if memberships.len().max(leftovers.len()) > ENDED_AT_ONCE_MAX {
            // Nobody listens only when the node has stopped, and all of this with it.
            let ended = (Arc::clone(self), memberships, leftovers);
            let _ = self.node.ended.send(ended);
            return;
        }
        self.withdraw_routes(&Self::distinct(&memberships));
        self.hand_over(&leftovers);
        let scope = &self.routes.scope;
        for (member, own) in &memberships {
            // Whether or not the cluster's side still had it, it has it no more.
            let _ = self.node.membership.leave(scope, &own.pattern, *member);
        }
        self.node.open.remove(self.id);
    }

    /// Ends the mailbox and lets no subscription be made any more. Returns the memberships that are
    /// to be ended now, and the messages that are then to be handed over; none if that was done before.
    fn close(&self, reason: RecvError) -> Option<(HashMap<MemberId, Subscribed>, Leftovers)> {
        let mut subscriptions = lock(&self.subscriptions);
        if self.ended.swap(true, Relaxed) {
            return None;
        }
        let memberships = std::mem::take(&mut subscriptions.made);
        drop(subscriptions);
        let lost = self.mailbox.end(reason);
        let broker = &self.node.broker;
        broker.departed.add(memberships.keys().copied());
        let counters = &broker.counters;
        counters.dropped_session_ended.fetch_add(lost, Relaxed);
        Some((memberships, self.mailbox.leftovers()))
    }

    /// Ends these memberships, however many, and lets other tasks run in between.
    async fn withdraw_all(&self, memberships: HashMap<MemberId, Subscribed>, leftovers: Leftovers) {
        for some in Self::distinct(&memberships).chunks(ENDED_AT_ONCE_MAX) {
            self.withdraw_routes(some);
            yield_now().await;
        }
        self.hand_over_all(leftovers).await;
        let scope = &self.routes.scope;
        let memberships = memberships
            .into_iter()
            .map(|(member, own)| (scope.clone(), own.pattern, member));
        self.node.membership.leave_all(memberships).await;
        self.node.open.remove(self.id);
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        self.node.broker.publisher_gone(self.id);
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held, so the state behind a poisoned one is whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long what is demanded of payloads is not looked at again.
const SCHEMAS_PAUSE: Duration = Duration::from_millis(10);

/// How many memberships are ended at a time: some hundred microseconds of work.
const ENDED_AT_ONCE_MAX: usize = 256;
