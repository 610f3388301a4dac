use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings::{
    Access, AgentName, Delivery, Inbox, Message, Node, RecvError, Scope, Session, SessionOptions,
    Topic,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, timeout_at};

use super::config::McpConfig;
use super::inbox_error::InboxError;
use super::last_message::LastMessage;
use crate::caller::Caller;

/// The inboxes of agents, by the handles that they have of them.
///
/// A request of MCP belongs to no session, and agents make several at once. So inboxes are kept here, for whoever shows
/// both the handle and the identity that it was given to. That of another identity is as unknown as one that
/// never was.
#[derive(Debug)]
pub(super) struct Inboxes {
    node: Node,
    config: McpConfig,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    agents: HashMap<Handle, Arc<AgentInbox>>,
    last: Vec<Arc<LastMessage>>,
}

/// By what an agent names its inbox: nobody can guess it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Handle(u128);

/// What an agent has subscribed to, and what has come of it.
#[derive(Debug)]
pub(super) struct AgentInbox {
    pub(super) session: Session,
    inbox: Mutex<Inbox>,
    /// Who receives: one at a time, or else messages would be out of order.
    turn: Semaphore,
    used: Mutex<Instant>,
}

/// What was received at a time.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Arc<Message>>,
    /// How many messages were lost before the last of these.
    pub(super) missed: u64,
    /// Whether it ended because it was long enough.
    pub(super) more: bool,
}

impl Inboxes {
    pub(super) fn new(node: &Node, config: McpConfig) -> Arc<Self> {
        let inboxes = Arc::new(Self {
            node: node.clone(),
            config,
            open: Mutex::default(),
        });
        node.spawn(Arc::clone(&inboxes).expire());
        inboxes
    }

    /// Opens an inbox for an agent, without subscriptions.
    pub(super) fn open(
        &self,
        caller: &Caller,
        scope: Scope,
        agent: Option<AgentName>,
    ) -> Result<(Handle, Arc<AgentInbox>), InboxError> {
        let options = SessionOptions {
            scope,
            agent,
            mailbox: self.config.mailbox.clone(),
            access: caller.access.clone(),
            ..SessionOptions::default()
        };
        let mut open = lock(&self.open);
        self.room(&mut open, caller)?;
        let (session, inbox) = self.node.session(options)?;
        let own = Arc::new(AgentInbox {
            session,
            inbox: Mutex::new(inbox),
            turn: Semaphore::new(1),
            used: Mutex::new(Instant::now()),
        });
        let handle = Handle(rand::random());
        open.agents.insert(handle, Arc::clone(&own));
        Ok((handle, own))
    }

    /// The inbox that goes by this handle, for those with this access.
    pub(super) fn find(&self, handle: Handle, access: &Access) -> Option<Arc<AgentInbox>> {
        let open = lock(&self.open);
        let own = open.agents.get(&handle)?;
        let is_its = own.session.access().is_same(access);
        is_its.then(|| Arc::clone(own))
    }

    /// Ends the inbox that goes by this handle, for those with this access; false if there is none.
    pub(super) fn end(&self, handle: Handle, access: &Access) -> bool {
        let is_known = self.find(handle, access).is_some();
        is_known && lock(&self.open).agents.remove(&handle).is_some()
    }

    /// What is published last on a topic, from when it is first asked for. It is kept while somebody listens to
    /// it, and as long afterwards as an inbox is.
    pub(super) fn last_message(
        &self,
        caller: &Caller,
        scope: &Scope,
        topic: &Topic,
    ) -> Result<Arc<LastMessage>, InboxError> {
        let access = &caller.access;
        let mut open = lock(&self.open);
        open.last.retain(|own| !own.has_ended());
        let own = open.last.iter().find(|own| own.is_of(access, scope, topic));
        if let Some(own) = own {
            own.touch();
            return Ok(Arc::clone(own));
        }
        self.room(&mut open, caller)?;
        let own = Arc::new(LastMessage::follow(&self.node, access, scope, topic)?);
        open.last.push(Arc::clone(&own));
        Ok(own)
    }

    /// Makes sure that there may be one more.
    fn room(&self, open: &mut Open, caller: &Caller) -> Result<(), InboxError> {
        open.agents
            .retain(|_, own| !own.session.access().is_withdrawn());
        let max = self.config.inboxes_max.get();
        if open.count() >= max {
            return Err(InboxError::TooMany { max });
        }
        let max = self.config.inboxes_per_identity_max.get();
        if !caller.is_anybody && open.count_of(&caller.access) >= max {
            return Err(InboxError::TooManyOfIdentity { max });
        }
        Ok(())
    }

    /// Ends those that nobody has used for long, as long as the node runs.
    async fn expire(self: Arc<Self>) {
        let expiry = self.config.inbox_expiry.get();
        let mut looks = interval(expiry / 4);
        while (self.node.token())
            .run_until_cancelled(looks.tick())
            .await
            .is_some()
        {
            let Some(since) = Instant::now().checked_sub(expiry) else {
                continue;
            };
            let mut open = lock(&self.open);
            let mut ended = Vec::new();
            open.agents.retain(|_, own| {
                let is_used = own.is_used_since(since);
                if !is_used {
                    ended.push(Arc::clone(own));
                }
                is_used
            });
            open.last
                .retain(|own| Arc::strong_count(own) > 1 || own.is_used_since(since));
            // What ends with them takes time, which nobody is to wait for.
            drop(open);
            drop(ended);
        }
    }
}

impl Open {
    fn count(&self) -> usize {
        self.agents.len() + self.last.len()
    }

    fn count_of(&self, access: &Access) -> usize {
        let agents = self.agents.values().map(|own| own.session.access());
        let last = self.last.iter().map(|own| own.access());
        agents.chain(last).filter(|own| own.is_same(access)).count()
    }
}

impl AgentInbox {
    /// Waits until this for a message, and returns it with those that are there besides, up to so many. None if
    /// there is none. Cancelling it loses nothing.
    pub(super) async fn receive(&self, until: Instant, max: usize) -> Result<Batch, RecvError> {
        let mut batch = Batch::default();
        // It never closes, so who does not get it was too late.
        let Ok(Ok(_turn)) = timeout_at(until, self.turn.acquire()).await else {
            return Ok(batch);
        };
        self.touch();
        let first = timeout_at(until, poll_fn(|cx| lock(&self.inbox).poll_recv(cx)));
        let mut next = first.await.ok().transpose()?;
        let mut bytes = 0;
        while let Some(delivery) = next {
            match delivery {
                Delivery::Missed(count) => batch.missed += count,
                Delivery::Message { message, .. } => {
                    bytes += message.size_bytes();
                    batch.messages.push(message);
                }
            }
            batch.more = batch.messages.len() >= max || bytes >= BATCH_BYTES;
            if batch.more {
                break;
            }
            // An error is told when nothing else is left.
            next = lock(&self.inbox).try_recv().unwrap_or_default();
        }
        self.touch();
        Ok(batch)
    }

    fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    /// Whether somebody receives now or has done so since then.
    fn is_used_since(&self, since: Instant) -> bool {
        self.turn.available_permits() == 0 || *lock(&self.used) >= since
    }
}

impl FromStr for Handle {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok();
        number.filter(|_| is_hex).map(Self).ok_or(())
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a lock is held, so what is behind a poisoned one is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes of messages are received at a time, besides the last one of them: what a model reads in one
/// go, and what an answer takes of memory that nobody counts.
const BATCH_BYTES: usize = 64 << 10;
