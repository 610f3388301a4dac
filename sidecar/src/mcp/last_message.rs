use std::sync::{Arc, Mutex, PoisonError};

use tidings::{
    Access, AgentName, Count, Delivery, Held, Inbox, MailboxConfig, Message, Node, Overflow, Scope,
    Session, SessionOptions, Topic,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::inbox_error::InboxError;

/// The last message on a topic that came to this node since somebody asked for it.
///
/// The topic has a member for it, like any subscription: what is published elsewhere comes to this node because it
/// is known to want it. So it begins when it is first asked for, and shows nothing of before.
#[derive(Debug)]
pub(super) struct LastMessage {
    topic: Topic,
    /// Ends what follows the topic.
    session: Session,
    seen: watch::Receiver<Seen>,
    used: Mutex<Instant>,
}

/// What has come so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The last message; none if there was none, or no room for it.
    pub(super) message: Option<Arc<Message>>,
    /// How many have come, or were lost because others came faster than they were looked at.
    pub(super) count: u64,
}

impl LastMessage {
    pub(super) fn follow(
        node: &Node,
        access: &Access,
        scope: &Scope,
        topic: &Topic,
    ) -> Result<Self, InboxError> {
        let (session, inbox) = node.session(SessionOptions {
            scope: scope.clone(),
            agent: AgentName::nearest(AGENT),
            mailbox: MailboxConfig {
                messages_max: Count::of::<1>(),
                overflow: Overflow::DropOldest,
                ..MailboxConfig::default()
            },
            access: access.clone(),
            ..SessionOptions::default()
        })?;
        session.subscribe(&topic.into())?;
        let (sender, seen) = watch::channel(Seen::default());
        node.spawn(take(inbox, session.hold(), sender));
        Ok(Self {
            topic: topic.clone(),
            session,
            seen,
            used: Mutex::new(Instant::now()),
        })
    }

    /// Whether it is that of this topic, for those with this access.
    pub(super) fn is_of(&self, access: &Access, scope: &Scope, topic: &Topic) -> bool {
        self.topic == *topic && self.session.scope() == scope && self.access().is_same(access)
    }

    pub(super) fn access(&self) -> &Access {
        self.session.access()
    }

    /// What has come so far, and whoever keeps it is told of what comes.
    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    /// Whether nothing more will come: the access was withdrawn, or the node stops.
    pub(super) fn has_ended(&self) -> bool {
        self.seen.has_changed().is_err()
    }

    /// It is asked for now.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether it was asked for since then.
    pub(super) fn is_used_since(&self, since: Instant) -> bool {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) >= since
    }
}

/// Keeps what came last, within what may wait on the node.
async fn take(mut inbox: Inbox, mut held: Held, sender: watch::Sender<Seen>) {
    while let Ok(delivery) = inbox.recv().await {
        sender.send_modify(|seen| match delivery {
            Delivery::Missed(count) => seen.count += count,
            Delivery::Message { message, .. } => {
                seen.count += 1;
                held.set(0);
                let bytes = message.size_bytes();
                seen.message = held.admits(bytes).then_some(message);
                held.set(seen.message.as_ref().map_or(0, |_| bytes));
            }
        });
    }
}

/// What the members are called by which nodes get these messages.
const AGENT: &str = "mcp/last-message";
