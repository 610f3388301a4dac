use serde::{Deserialize, Serialize};
use tidings_bounds::{Count, Time};
use tidings_membership::{METADATA_BYTES_MAX, TOPIC_BYTES_MAX};

use crate::assurance::Id;

/// What a session may ask for. What goes beyond is refused with an error that names the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest payload with its headers, in bytes. Default 1 MiB, 1 to 64 MiB. Should be the same on all nodes:
    /// a node closes the link to a peer that sends it a larger one.
    pub payload_bytes_max: Count<1, { 64 << 20 }>,
    /// The longest topic or pattern, in bytes. Default and maximum 4,096.
    pub topic_bytes_max: Count<1, TOPIC_BYTES_MAX>,
    /// Subscriptions of one session. Default 100,000.
    pub subscriptions_per_session_max: Count<1, 100_000_000>,
    /// Metadata of one membership, in bytes of JSON. Default 1 KiB, at most 4 KiB. All nodes hold that of
    /// all members, and whatever changes in a bucket sends all that is in it.
    pub metadata_bytes_max: Count<0, METADATA_BYTES_MAX>,
    /// Bytes that the memberships of one session have in gossip. Each counts as if it were alone in
    /// its topic: 20, the names of scope, topic and agent, and its metadata. Default 2 MiB, some 40,000
    /// topics of 20 letters; at least 1. More lets one session take more of the room that all sessions
    /// of a node share, which is 3,750,000 such bytes. Besides, a session never has more of it than is
    /// left free.
    pub membership_bytes_per_session_max: Count<1, { 1 << 30 }>,
    /// Sessions open at a time, clients of the gateway included. Default 10,000.
    pub sessions_max: Count<1, 100_000_000>,
    /// How long a publisher that waits for room waits for one subscriber that reads too slowly.
    /// Default 5 s, up to 10 min. Longer loses less to subscribers that are slow for a while, and
    /// lets one that stays slow hold up its publishers for longer.
    pub publish_wait_max: Time<0, 600_000>,
    /// Bytes of one publisher that may be under way to one other node, each message with 128 for
    /// itself: from half of it on, the publisher is to wait. Default 2 MiB, 64 KiB to 1 GiB. More
    /// makes a publisher faster where round trips are long: it sends about half of this in one. Less
    /// makes it wait sooner for what is slow, and those who share a link with it wait less for it.
    pub publish_window_bytes: Count<{ 64 << 10 }, { 1 << 30 }>,
    /// Bytes that wait on the node in all: in mailboxes, for links, and in the buffers of clients. A
    /// message in several mailboxes counts once, and each with 128 for itself. Default 256 MiB,
    /// 1 MiB to 1 TiB. When they are many, those who hold the most may not hold more: each of them has
    /// at most as much as is left free, and publishers are slowed at half of that.
    pub waiting_bytes_max: Count<{ 1 << 20 }, { 1 << 40 }>,
    /// Bytes that are kept of one stream, each chunk with 64 for itself. Default 1 MiB, 64 KiB to 1 GiB. A
    /// stream that has more drops its oldest chunks, and whoever has not read them is told so.
    pub stream_bytes_max: Count<{ 64 << 10 }, { 1 << 30 }>,
    /// Bytes that are kept of all streams of the node. Default 64 MiB, 1 MiB to 1 TiB. When there are more,
    /// the stream that ended first is forgotten; if none has ended, the largest drops its oldest chunks.
    pub streams_bytes_max: Count<{ 1 << 20 }, { 1 << 40 }>,
    /// Streams that are kept on the node, those that have ended included. Default 4,096. For one more the one
    /// that ended first is forgotten; if none has ended, it is refused.
    pub streams_max: Count<1, 1_000_000>,
    /// For how long a stream can be read after its end. Default 5 min, up to a day.
    pub stream_kept: Time<0, 86_400_000>,
}

/// How many bytes the names of queue groups may have in one frame, and as many the ids of their members.
pub(crate) const QUEUES_BYTES_MAX: usize = 4096;
/// For how many queue groups of one peer an assured message can be: the ids of their members are in its frame.
pub(crate) const CHOSEN_MAX: usize = QUEUES_BYTES_MAX / size_of::<Id>();

impl Limits {
    /// The largest frame that a message makes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        /// What a frame carries besides payload and headers: topic and reply topic, queue groups, scope,
        /// lengths.
        const ENVELOPE_BYTES_MAX: usize = 2 * TOPIC_BYTES_MAX + QUEUES_BYTES_MAX + 1024;
        self.payload_bytes_max.get() + ENVELOPE_BYTES_MAX
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes_max: Count::of::<{ 1 << 20 }>(),
            topic_bytes_max: Count::MAX,
            subscriptions_per_session_max: Count::of::<100_000>(),
            metadata_bytes_max: Count::of::<1_024>(),
            membership_bytes_per_session_max: Count::of::<{ 2 << 20 }>(),
            sessions_max: Count::of::<10_000>(),
            publish_wait_max: Time::of_ms::<5_000>(),
            publish_window_bytes: Count::of::<{ 2 << 20 }>(),
            waiting_bytes_max: Count::of::<{ 256 << 20 }>(),
            stream_bytes_max: Count::of::<{ 1 << 20 }>(),
            streams_bytes_max: Count::of::<{ 64 << 20 }>(),
            streams_max: Count::of::<4_096>(),
            stream_kept: Time::of_ms::<300_000>(),
        }
    }
}
