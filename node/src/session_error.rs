use tidings_identity::NodeId;
use tidings_membership::{JoinError, MemberId, Topic, UpdateError};

use crate::access::Denied;
use crate::outstanding::Full;

/// Why a subscription was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic or pattern is longer than `topic_bytes_max`.
    #[error("the topic has {bytes} bytes, the limit (topic_bytes_max) is {max}")]
    TopicTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The metadata is longer than `metadata_bytes_max`.
    #[error("the metadata has {bytes} bytes, the limit (metadata_bytes_max) is {max}")]
    MetadataTooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The permissions of the session do not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The limit `subscriptions_per_session_max` is reached, or the one of the session's permissions.
    #[error("the session has {max} subscriptions, which is its limit")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The limit `membership_bytes_per_session_max` would be exceeded.
    #[error(
        "the memberships of the session would have {bytes} bytes, \
         the limit (membership_bytes_per_session_max) is {max}"
    )]
    TooManyBytes {
        /// What they would have.
        bytes: usize,
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

/// Why memberships were not given other metadata. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The metadata is longer than `metadata_bytes_max`.
    #[error("the metadata has {bytes} bytes, the limit (metadata_bytes_max) is {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The session has no such membership.
    #[error("the session has no such subscription")]
    NotSubscribed,
    /// The limit `membership_bytes_per_session_max` would be exceeded.
    #[error(
        "with this metadata the memberships of the session would have {bytes} bytes, \
         the limit (membership_bytes_per_session_max) is {max}"
    )]
    TooManyBytes {
        /// What they would have.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The metadata cannot be told to the cluster.
    #[error("the node cannot take this metadata")]
    Update(#[from] UpdateError),
    /// The session was cut off.
    #[error("the session has ended")]
    Ended,
}

/// The session has no such subscription. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session has no subscription {member}")]
pub struct UnsubscribeError {
    /// What was to be ended.
    pub member: MemberId,
}

/// Why a message was not accepted. Nobody has got it then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The permissions of the session do not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Payload and headers are larger than `payload_bytes_max`, of the node or of the session's permissions.
    #[error("payload and headers have {bytes} bytes, the limit (payload_bytes_max) is {max}")]
    PayloadTooLarge {
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
    /// The payload is not what the schema of its topic demands.
    #[error("the payload does not fit the schema of its topic, at {pointer:?}: {problem}")]
    Payload {
        /// Where in the payload, a JSON pointer; empty for the whole.
        pointer: String,
        /// What is wrong there.
        problem: String,
    },
    /// The topic has a schema that cannot be used.
    #[error("the schema of the topic cannot be used: {problem}")]
    Schema {
        /// Why.
        problem: String,
    },
    /// No live node has this name.
    #[error("no live node is called {node}")]
    UnknownNode {
        /// The name.
        node: NodeId,
    },
    /// This node shows no such member of the topic.
    #[error("no member {member} of {topic} is known: it has left, or never was")]
    UnknownMember {
        /// The member.
        member: MemberId,
        /// The topic.
        topic: Topic,
    },
    /// Too many assured messages are open, of the session or of the node.
    #[error("{max} assured messages are open, which is the limit")]
    TooManyAssured {
        /// The limit.
        max: usize,
    },
    /// The assured messages that are open would have too many members.
    #[error(
        "with {members} members more than {max} would be waited for, the limit of all assured messages"
    )]
    TooManyMembers {
        /// The members of the message.
        members: usize,
        /// The limit of all messages that are open.
        max: usize,
    },
    /// The assured message is for members of too many queue groups on one other node.
    #[error("{groups} queue groups on one node would get the assured message, the limit is {max}")]
    TooManyGroups {
        /// How many they are.
        groups: usize,
        /// The limit.
        max: usize,
    },
    /// The assured messages that are open have their share of what may wait on the node.
    #[error("assured messages have their share of what may wait (waiting_bytes_max)")]
    NoRoom,
    /// The session was cut off, or the node has stopped.
    #[error("the session has ended")]
    Ended,
}

impl From<Full> for BroadcastError {
    fn from(full: Full) -> Self {
        match full {
            Full::Messages { max } => Self::TooManyAssured { max },
            Full::Members { members, max } => Self::TooManyMembers { members, max },
            Full::Groups { groups, max } => Self::TooManyGroups { groups, max },
            Full::Bytes => Self::NoRoom,
        }
    }
}
