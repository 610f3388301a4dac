use crate::config::ConfigError;
use crate::topic_info::TopicInfoError;

/// Why membership did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration does not hold.
    #[error("the membership configuration does not hold")]
    Config(#[from] ConfigError),
    /// Gossip did not start.
    #[error("gossip did not start")]
    Gossip(#[source] anyhow::Error),
    /// The pipe did not come back from the gossip that ended.
    #[error("the pipe of gossip is still in use")]
    NoPipe,
    /// The node cannot sign what it says.
    #[error("the node cannot sign what it says about itself")]
    Sign(#[from] tidings_identity::SignError),
}

/// Why a membership was not made. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The same member is already in this topic.
    #[error("this member has joined this topic already")]
    AlreadyMember,
    /// The topics of this node that hash to the same bucket, with their members, have become more
    /// than gossip carries in one piece.
    #[error(
        "with this membership its bucket would have {bytes} bytes, of {bytes_max} that are allowed: \
         configure more buckets, use shorter topic and agent names, or move agents to other nodes"
    )]
    BucketFull {
        /// How long the text of the bucket would be.
        bytes: usize,
        /// How long it may be ([`Config::bucket_bytes_max`](crate::Config::bucket_bytes_max)).
        bytes_max: usize,
    },
    /// Its holder would have more of the bucket than is left for others.
    #[error(
        "with this membership {bytes} bytes of its bucket would be held at once, and {left} left for \
         others, which must not be less: use other topics, or move agents to other nodes"
    )]
    Crowded {
        /// How much of the bucket the holder would have ([`Share`](crate::Share)).
        bytes: usize,
        /// How much would be free.
        left: usize,
    },
}

/// Why a membership was not ended. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// This node has no such membership.
    #[error("there is no such membership on this node")]
    NotAMember,
}

/// Why memberships were not given other metadata. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// This node has no such membership.
    #[error("there is no such membership on this node")]
    NotAMember,
    /// The topics of this node that hash to the same bucket, with their members, would become more
    /// than gossip carries in one piece.
    #[error(
        "with this metadata its bucket would have {bytes} bytes, of {bytes_max} that are allowed: \
         use less metadata, configure more buckets, or move agents to other nodes"
    )]
    BucketFull {
        /// How long the text of the bucket would be.
        bytes: usize,
        /// How long it may be ([`Config::bucket_bytes_max`](crate::Config::bucket_bytes_max)).
        bytes_max: usize,
    },
    /// The holder of the memberships would have more of their bucket than is left for others.
    #[error(
        "with this metadata only {left} bytes of its bucket would be left for others, less than would \
         be held at once, which must not be: use less metadata, or move agents to other nodes"
    )]
    Crowded {
        /// How much would be free.
        left: usize,
    },
}

/// Why a topic was not described. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// A part of it is not as it may be.
    #[error(transparent)]
    Info(#[from] TopicInfoError),
    /// The schema cannot be used.
    #[error("its schema cannot be used: {problem}")]
    Schema {
        /// Why.
        problem: String,
    },
    /// This node tells as much of topics as it may.
    #[error(
        "this node tells of {max} topics, or has {bytes_max} bytes of them, which is all that it may: \
         name a schema by its digest, or use another node"
    )]
    Full {
        /// Of how many it may tell.
        max: usize,
        /// How many bytes that may be.
        bytes_max: usize,
    },
    /// The newest description is of the end of time.
    #[error("the description that is known cannot be replaced: its time is the last there is")]
    Time,
}

/// Gossip has ended by itself. The view no longer follows the cluster, and never will again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// Something in it has broken.
    #[error("gossip has ended by itself")]
    Broken(#[source] anyhow::Error),
}
