use tidings_identity::{Incarnation, NodeId};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::LinkNumber;

/// What a transport has done since it started. All counts only grow, except `links`.
///
/// The numbers are read one by one, so they may be off against each other by what happened in
/// between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Links that are up now.
    pub links: u64,
    /// Links that have come up.
    pub links_opened: u64,
    /// Links that have ended.
    pub links_closed: u64,
    /// Handshakes that failed because one side refused the other.
    pub handshakes_refused: u64,
    /// Dials that brought no link, because nobody answered or one side refused the other.
    pub dials_failed: u64,
    /// Dials made because an earlier one failed or a link was lost.
    pub redials: u64,
    /// Links closed because the peer broke the protocol.
    pub violations: u64,
    /// Frames handed to QUIC.
    pub frames_sent: u64,
    /// Bytes of those frames, with their length prefixes.
    pub frame_bytes_sent: u64,
    /// Frames handed to the receiver.
    pub frames_received: u64,
    /// Bytes of those frames, without their length prefixes.
    pub frame_bytes_received: u64,
    /// Frames not sent because the lane's outbound buffer was full.
    pub dropped_outbound_full: u64,
    /// Frames not sent because they are larger than `frame_bytes_max`.
    pub dropped_too_large: u64,
    /// Frames not sent because membership called the peer gone.
    pub dropped_peer_forgotten: u64,
    /// Frames not sent because they were meant for an earlier run of the peer.
    pub dropped_peer_restarted: u64,
    /// Frames that peers have sent to us and that were lost with a link.
    pub dropped_link_lost: u64,
    /// Gossip messages handed to QUIC.
    pub gossip_sent: u64,
    /// Bytes of those messages.
    pub gossip_bytes_sent: u64,
    /// Gossip messages received.
    pub gossip_received: u64,
    /// Bytes of those messages.
    pub gossip_bytes_received: u64,
    /// Gossip messages dropped on either way: no link came up, a queue was full, or too large.
    pub gossip_dropped: u64,
}

/// A link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// The peer, by its certificate.
    pub peer: NodeId,
    /// The peer's run, by its Hello.
    pub incarnation: Incarnation,
    /// Which of the links that the two nodes have had this is.
    pub number: LinkNumber,
    /// The address the peer advertises.
    pub advertised: SocketAddr,
    /// The address its packets come from.
    pub remote: SocketAddr,
    /// Whether we dialled.
    pub dialled: bool,
    /// Estimated time to the peer and back.
    pub round_trip: Duration,
}

/// One number of [`Stats`] that is still being counted.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The numbers behind [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                let mut stats = Stats {
                    $($name: self.$name.get(),)*
                    links: 0,
                };
                stats.links = stats.links_opened.saturating_sub(stats.links_closed);
                stats
            }
        }
    };
}

counters!(
    links_opened,
    links_closed,
    handshakes_refused,
    dials_failed,
    redials,
    violations,
    frames_sent,
    frame_bytes_sent,
    frames_received,
    frame_bytes_received,
    dropped_outbound_full,
    dropped_too_large,
    dropped_peer_forgotten,
    dropped_peer_restarted,
    dropped_link_lost,
    gossip_sent,
    gossip_bytes_sent,
    gossip_received,
    gossip_bytes_received,
    gossip_dropped,
);
