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
    /// All memberships of this node together have become what its peers take of a node.
    #[error(
        "with this membership those of this node would have {bytes} bytes in gossip, of {bytes_max} that \
         are allowed: use shorter topic and agent names, or move agents to other nodes"
    )]
    Full {
        /// How many bytes they would have.
        bytes: usize,
        /// How many they may have
        /// ([`Config::memberships_bytes_max`](crate::Config::memberships_bytes_max)).
        bytes_max: usize,
    },
    /// None of the buckets in which the topic may be has room, though the node has. That happens only
    /// when few are configured.
    #[error(
        "the {buckets} buckets that the topic may be in have no room for this membership, of {bytes_max} \
         bytes each: configure more buckets"
    )]
    BucketsFull {
        /// How many buckets that are.
        buckets: usize,
        /// How many bytes the text of each may have.
        bytes_max: usize,
    },
    /// Its holder would have more of the node's room than is left for others.
    #[error(
        "with this membership its holder would have {bytes} bytes of the node's room, and leave {left} for \
         others, which must not be less: move agents to other nodes"
    )]
    Crowded {
        /// How much of it the holder would have ([`Share`](crate::Share)).
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
    /// All memberships of this node together would become more than its peers take of a node.
    #[error(
        "with this metadata the memberships of this node would have {bytes} bytes in gossip, of \
         {bytes_max} that are allowed: use less metadata, or move agents to other nodes"
    )]
    Full {
        /// How many bytes they would have.
        bytes: usize,
        /// How many they may have
        /// ([`Config::memberships_bytes_max`](crate::Config::memberships_bytes_max)).
        bytes_max: usize,
    },
    /// None of the buckets in which the topic may be has room, though the node has. That happens only
    /// when few are configured.
    #[error(
        "the {buckets} buckets that the topic may be in have no room for this metadata, of {bytes_max} \
         bytes each: use less metadata, or configure more buckets"
    )]
    BucketsFull {
        /// How many buckets that are.
        buckets: usize,
        /// How many bytes the text of each may have.
        bytes_max: usize,
    },
    /// The holder of the memberships would have more of the node's room than is left for others.
    #[error(
        "with this metadata only {left} bytes of the node's room would be left for others, less than \
         its holder would have, which must not be: use less metadata, or move agents to other nodes"
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
