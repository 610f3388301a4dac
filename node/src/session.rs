use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidings_identity::NodeId;
use tidings_membership::{AgentName, JoinError, MemberId, MemberIds, Membership, Pattern, Scope};

use crate::Message;
use crate::broker::{Broker, Publisher, Reach, Receipt};
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::mailbox::{Closed, Mailbox, MailboxConfig, Subscriber};
use crate::route::RouteChange;
use crate::routes::Routes;

/// How a session is opened.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// The scope of all its topics.
    pub scope: Scope,
    /// What the agent calls itself; shown with its members.
    pub agent: Option<AgentName>,
    /// The bounds of its mailbox.
    pub mailbox: MailboxConfig,
}

/// What an agent does through its node: the only door to topics, for gateways and embedders alike.
///
/// A session comes with an [`Inbox`], in which everything arrives that it subscribes to. Messages
/// that one session publishes reach every subscriber in the order in which they were published,
/// over all topics; none is delivered twice. Dropping the session ends its memberships at once, on
/// every node; what still waits in the inbox is then lost, and counted as such.
#[derive(Debug)]
pub struct Session {
    state: Arc<SessionState>,
}

/// What all sessions of a node share.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) node: NodeId,
    pub(crate) broker: Arc<Broker>,
    pub(crate) membership: Membership,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    book: Mutex<Book>,
    open: AtomicUsize,
    /// Set once the node leaves: no session is opened and nothing broadcast from then on.
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Book {
    members: MemberIds,
    last_session: u64,
    mailboxes: HashMap<u64, Weak<Mailbox>>,
}

/// The part of a session that the broker can end, when the mailbox overflows.
#[derive(Debug)]
pub(crate) struct SessionState {
    id: u64,
    node: Arc<Sessions>,
    routes: Arc<Routes>,
    agent: Option<AgentName>,
    mailbox: Arc<Mailbox>,
    subscriptions: Mutex<Subscriptions>,
}

#[derive(Debug, Default)]
struct Subscriptions {
    patterns: HashMap<MemberId, Pattern>,
    ended: bool,
}

impl Sessions {
    pub(crate) fn new(
        node: NodeId,
        broker: Arc<Broker>,
        membership: Membership,
        limits: Limits,
        clock: Clock,
    ) -> Self {
        let (book, open, stopped) = Default::default();
        Self {
            node,
            broker,
            membership,
            limits,
            clock,
            book,
            open,
            stopped,
        }
    }

    pub(crate) fn open(
        self: &Arc<Self>,
        options: SessionOptions,
    ) -> Result<(Session, Inbox), OpenError> {
        let SessionOptions {
            scope,
            agent,
            mailbox,
        } = options;
        let mailbox = Arc::new(Mailbox::new(mailbox));
        let mut book = self.lock();
        if self.stopped.load(Ordering::Relaxed) {
            return Err(OpenError::NodeStopped);
        }
        if self.open.load(Ordering::Relaxed) >= self.limits.sessions_max {
            return Err(OpenError::TooMany {
                max: self.limits.sessions_max,
            });
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        book.last_session += 1;
        let id = book.last_session;
        book.mailboxes.insert(id, Arc::downgrade(&mailbox));
        drop(book);
        let state = SessionState {
            id,
            node: Arc::clone(self),
            routes: self.broker.routes(&scope),
            agent,
            mailbox: Arc::clone(&mailbox),
            subscriptions: Mutex::default(),
        };
        let delivered = self.broker.metrics.delivered.clone();
        let ended = self.broker.metrics.dropped.session_ended.clone();
        Ok((
            Session {
                state: Arc::new(state),
            },
            Inbox::new(mailbox, delivered, ended),
        ))
    }

    /// How many sessions are open.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets no session receive anything more than what waits for it already.
    pub(crate) fn stop(&self) {
        let book = self.lock();
        self.stopped.store(true, Ordering::Relaxed);
        for mailbox in book.mailboxes.values().filter_map(Weak::upgrade) {
            mailbox.close(Closed::NodeStopped);
        }
    }

    fn next_member(&self) -> MemberId {
        let unix_ms = self.clock.unix_ms();
        self.lock().members.next(unix_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Makes the session a member of this topic or pattern, and returns the new membership's id.
    /// Subscribing n times makes n memberships, each of which gets every message. It is visible on
    /// this node at once and on connected nodes within milliseconds.
    pub fn subscribe(&self, pattern: &Pattern) -> Result<MemberId, SubscribeError> {
        self.subscribe_labelled(pattern, "")
    }

    /// Subscribes with a label of the caller's own, which comes back with every delivery.
    pub fn subscribe_labelled(
        &self,
        pattern: &Pattern,
        label: &str,
    ) -> Result<MemberId, SubscribeError> {
        SessionState::subscribe(&self.state, pattern, label)
    }

    /// Ends one membership. Messages that wait in the inbox are still delivered.
    pub fn unsubscribe(&self, member: MemberId) -> Result<(), NotSubscribed> {
        let state = &self.state;
        let pattern = state
            .lock()
            .patterns
            .remove(&member)
            .ok_or(NotSubscribed { member })?;
        state.withdraw(member, &pattern);
        // Whether or not the cluster's side still had it, it has it no more.
        let _ = state
            .node
            .membership
            .leave(&state.routes.scope, &pattern, member);
        Ok(())
    }

    /// Hands a message to every subscriber of its topic on every node, each membership once.
    pub fn broadcast(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.publish(message, None, Reach::Everywhere)
    }

    /// Like [`broadcast`](Self::broadcast), but this session's own subscriptions get nothing.
    pub fn broadcast_from(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.publish(message, Some(self.state.id), Reach::Everywhere)
    }

    /// Like [`broadcast`](Self::broadcast), but the message never leaves this node.
    pub fn local_broadcast(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.publish(message, None, Reach::ThisNode)
    }

    /// Hands a message to the subscribers on one node only.
    pub fn direct(&self, to: &NodeId, message: Message) -> Result<Receipt, BroadcastError> {
        if *to == self.state.node.node {
            return self.local_broadcast(message);
        }
        let message = self.accept(message)?;
        let SessionState { node, routes, .. } = &*self.state;
        let remote = node.broker.remote(to);
        let remote = remote.ok_or_else(|| BroadcastError::UnknownNode { node: to.clone() })?;
        Ok(node
            .broker
            .direct(routes, self.publisher(None), &remote, &message))
    }

    /// The scope of the session.
    pub fn scope(&self) -> &Scope {
        &self.state.routes.scope
    }

    fn publisher(&self, skip_session: Option<u64>) -> Publisher {
        Publisher {
            lane_key: self.state.id,
            skip_session,
        }
    }

    fn publish(
        &self,
        message: Message,
        skip_session: Option<u64>,
        reach: Reach,
    ) -> Result<Receipt, BroadcastError> {
        let message = self.accept(message)?;
        let SessionState { node, routes, .. } = &*self.state;
        let publisher = self.publisher(skip_session);
        Ok(node.broker.broadcast(routes, publisher, reach, &message))
    }

    fn accept(&self, message: Message) -> Result<Arc<Message>, BroadcastError> {
        let limits = &self.state.node.limits;
        let (bytes, max) = (message.payload.len(), limits.payload_bytes_max);
        if bytes > max {
            return Err(BroadcastError::PayloadTooLarge { bytes, max });
        }
        let (bytes, max) = (message.headers.as_bytes().len(), limits.headers_bytes_max);
        if bytes > max {
            return Err(BroadcastError::HeadersTooLarge { bytes, max });
        }
        let (bytes, max) = (message.topic.as_str().len(), limits.topic_bytes_max);
        if bytes > max {
            return Err(BroadcastError::TopicTooLong { bytes, max });
        }
        let stopped = self.state.node.stopped.load(Ordering::Relaxed);
        if stopped || self.state.lock().ended {
            return Err(BroadcastError::Ended);
        }
        Ok(Arc::new(message))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.state.end();
    }
}

impl SessionState {
    fn subscribe(
        self: &Arc<Self>,
        pattern: &Pattern,
        label: &str,
    ) -> Result<MemberId, SubscribeError> {
        let limits = &self.node.limits;
        let (bytes, max) = (pattern.as_str().len(), limits.topic_bytes_max);
        if bytes > max {
            return Err(SubscribeError::TopicTooLong { bytes, max });
        }
        let mut subscriptions = self.lock();
        if subscriptions.ended || self.mailbox.closed().is_some() {
            return Err(SubscribeError::Ended);
        }
        let max = limits.subscriptions_per_session_max;
        if subscriptions.patterns.len() >= max {
            return Err(SubscribeError::TooMany { max });
        }
        let member = self.node.next_member();
        let subscriber = Arc::new(Subscriber {
            member,
            label: label.into(),
            session: self.id,
            owner: Arc::downgrade(self),
            mailbox: Arc::clone(&self.mailbox),
        });
        // First the route, then the membership: whoever sees the member must reach it.
        self.routes
            .change(pattern, &RouteChange::AddLocal(subscriber));
        let scope = &self.routes.scope;
        if let Err(error) = self
            .node
            .membership
            .join(scope, pattern, member, self.agent.clone())
        {
            self.withdraw(member, pattern);
            return Err(error.into());
        }
        subscriptions.patterns.insert(member, pattern.clone());
        Ok(member)
    }

    /// Ends all memberships and the mailbox. Doing so again does nothing.
    pub(crate) fn end(&self) {
        let mut subscriptions = self.lock();
        if std::mem::replace(&mut subscriptions.ended, true) {
            return;
        }
        let patterns = std::mem::take(&mut subscriptions.patterns);
        drop(subscriptions);
        for (member, pattern) in &patterns {
            self.withdraw(*member, pattern);
        }
        let scope = &self.routes.scope;
        let memberships = patterns
            .into_iter()
            .map(|(m, pattern)| (scope.clone(), pattern, m));
        self.node.membership.leave_all(memberships);
        let lost = self.mailbox.close(Closed::Ended);
        self.node.broker.metrics.dropped.session_ended.inc_by(lost);
        self.node.lock().mailboxes.remove(&self.id);
        self.node.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn withdraw(&self, member: MemberId, pattern: &Pattern) {
        self.routes
            .change(pattern, &RouteChange::RemoveLocal(member));
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a session was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The limit `sessions_max` is reached.
    #[error("the node has {max} sessions open already, its limit (sessions_max)")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The node is leaving or has left.
    #[error("the node has stopped")]
    NodeStopped,
}

/// Why a subscription was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The topic or pattern is longer than `topic_bytes_max`.
    #[error("the topic has {bytes} bytes, the limit (topic_bytes_max) is {max}")]
    TopicTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The limit `subscriptions_per_session_max` is reached.
    #[error("the session has {max} subscriptions, its limit (subscriptions_per_session_max)")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The membership cannot be told to the cluster.
    #[error("the node cannot take this membership")]
    Join(#[from] JoinError),
    /// The session was cut off, or its inbox dropped.
    #[error("the session has ended")]
    Ended,
}

/// The session has no such subscription. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session has no subscription {member}")]
pub struct NotSubscribed {
    /// What was to be ended.
    pub member: MemberId,
}

/// Why a message was not accepted. Nobody has got it then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// The payload is larger than `payload_bytes_max`.
    #[error("the payload has {bytes} bytes, the limit (payload_bytes_max) is {max}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The header lines are larger than `headers_bytes_max`.
    #[error("the headers have {bytes} bytes, the limit (headers_bytes_max) is {max}")]
    HeadersTooLarge {
        /// Their size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The topic is longer than `topic_bytes_max`.
    #[error("the topic has {bytes} bytes, the limit (topic_bytes_max) is {max}")]
    TopicTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No live node has this name.
    #[error("no live node is called {node}")]
    UnknownNode {
        /// The name.
        node: NodeId,
    },
    /// The session was cut off, or the node has stopped.
    #[error("the session has ended")]
    Ended,
}
