use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a transport has done since it started. All counts only grow, except `links`.
        ///
        /// The numbers are read one by one, so they may be off against each other by what
        /// happened in between.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Stats {
            /// Links that are up now.
            pub links: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The numbers behind [`Stats`]. They order nothing, so relaxed access is enough.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                let mut stats = Stats {
                    links: 0,
                    $($name: self.$name.load(Relaxed),)*
                };
                stats.links = stats.links_opened.saturating_sub(stats.links_closed);
                stats
            }
        }
    };
}

stats! {
    /// Links that have come up.
    links_opened,
    /// Links that have ended.
    links_closed,
    /// Handshakes of peers that were begun.
    handshakes_admitted,
    /// First packets of peers answered with a Retry, because many handshakes were under way and the
    /// sender had not shown yet that it receives what is sent to its address.
    handshakes_retried,
    /// First packets of peers that got no answer, because too many handshakes were under way.
    handshakes_ignored,
    /// Handshakes that failed because one side refused the other.
    handshakes_refused,
    /// Dials that brought no link, because nobody answered or one side refused the other.
    dials_failed,
    /// Dials made because an earlier one failed or a link was lost.
    redials,
    /// Links closed because the peer broke the protocol.
    violations,
    /// Frames handed to QUIC.
    frames_sent,
    /// Bytes of those frames, with their length prefixes.
    frame_bytes_sent,
    /// Frames handed to the receiver.
    frames_received,
    /// Bytes of those frames, without their length prefixes.
    frame_bytes_received,
    /// Frames not sent because the lane's outbound buffer was full.
    dropped_outbound_full,
    /// Frames not sent because they are larger than `frame_bytes_max`.
    dropped_too_large,
    /// Frames not sent because their publisher would rather drop than wait.
    dropped_congested,
    /// Frames not sent because membership called the peer gone.
    dropped_peer_forgotten,
    /// Frames not sent because they were meant for an earlier run of the peer.
    dropped_peer_restarted,
    /// Frames that peers have sent to us and that were lost with a link.
    dropped_link_lost,
    /// Gossip messages handed to QUIC.
    gossip_sent,
    /// Bytes of those messages.
    gossip_bytes_sent,
    /// Gossip messages received.
    gossip_received,
    /// Bytes of those messages.
    gossip_bytes_received,
    /// Gossip messages dropped. To be sent: no link came up, a queue was full, or too large. Received:
    /// the link ended before there was room.
    gossip_dropped,
}
