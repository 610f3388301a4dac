use std::sync::Arc;

use tidings_membership::{MemberId, QueueGroup};

use crate::{Acknowledger, Message};

/// What a session receives.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A message, for one of the session's subscriptions. A message that two of them match is
    /// delivered twice.
    Message {
        /// Which subscription it is for.
        member: MemberId,
        /// The tag given with that subscription.
        tag: u64,
        /// The queue group in which the subscription is, if it is in one.
        queue: Option<QueueGroup>,
        /// The message, shared with its other subscribers on this node.
        message: Arc<Message>,
    },
    /// So many messages of this session were lost at this point, because the mailbox was full. Whoever
    /// has received a message has been told of all losses before it from the same publisher.
    Missed(u64),
}

impl Delivery {
    /// With what the agent acknowledges the message, if its publisher waits for that
    /// ([`WaitFor::Acknowledged`](crate::WaitFor::Acknowledged)).
    pub fn acknowledger(&self) -> Option<Acknowledger> {
        match self {
            Self::Message {
                member, message, ..
            } => Some(Acknowledger {
                ticket: Arc::clone(message.ticket.0.as_ref()?),
                member: *member,
            }),
            Self::Missed(_) => None,
        }
    }
}

/// Why nothing more will be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The session was dropped.
    #[error("the session has ended")]
    Ended,
    /// The mailbox was full and its policy is to disconnect.
    #[error("the session was cut off: its mailbox was full, and {missed} messages were lost")]
    Overflow {
        /// How many messages were lost with the mailbox.
        missed: u64,
    },
    /// Nothing is allowed to the session any more ([`Access::withdraw`](crate::Access::withdraw)).
    #[error("the session has ended: its access was withdrawn")]
    Withdrawn,
    /// The session was [finished](crate::Session::finish).
    #[error("the session was finished")]
    Finished,
    /// The node has stopped.
    #[error("the node has stopped")]
    NodeStopped,
}
