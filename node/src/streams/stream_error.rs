use std::time::Duration;

use tidings_identity::NodeId;

use super::stream_id::StreamId;
use crate::access::Denied;

/// Why a stream was not begun, or goes on no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// So many are kept on the node, and none of them has ended.
    #[error(
        "the node has {max} streams, which is its limit (streams_max), and none of them has ended"
    )]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The session may not publish on the topic of the stream. What was pushed is not written.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The session has ended, or the node leaves. A stream of it has ended as aborted.
    #[error("the session has ended")]
    Ended,
}

/// Why there is nothing to read of a stream now. It can be followed again from where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Its node does not have it: it never was, it is of another scope, or it ended too long ago.
    #[error("there is no stream {id} any more, or there never was")]
    NoSuchStream {
        /// The stream.
        id: StreamId,
    },
    /// Its node has not answered for so long, and is not taken for dead. Whoever asks again goes on waiting.
    #[error("{node}, which has the stream, has not answered for {} s", silence.as_secs())]
    Unreachable {
        /// The node.
        node: NodeId,
        /// How long.
        silence: Duration,
    },
    /// Its node runs a version that knows no streams.
    #[error("{node}, which is to have the stream, knows no streams")]
    NotUnderstood {
        /// The node.
        node: NodeId,
    },
    /// So many follow streams of other nodes on this one.
    #[error("{max} follow streams on this node, which is the limit")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The session may not subscribe to the topic of the stream.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The session has ended, or the node leaves.
    #[error("the session has ended")]
    Ended,
}
