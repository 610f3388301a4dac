//! Who has been sent the farewell of a node that leaves.
//!
//! It marks its state as left, then gossips with every live peer. The mark travels in the delta of
//! this node's SynAck or Ack to what the peer says it knows. Messages are made one after the
//! other, so a delta made after the first Syn since the mark carries it, and any before may not.
//! What is not on a link that is up may still get lost, so it does not count.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::message_kind::MessageKind;
use crate::pipe::Handover;

/// The peers that are still to be sent the mark.
#[derive(Debug)]
pub(crate) struct Farewell {
    pending: BTreeSet<SocketAddr>,
    /// Whether a Syn was made since the mark.
    syn_made: bool,
}

impl Farewell {
    /// Begins when the mark is set.
    pub(crate) fn new(peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            pending: peers.into_iter().collect(),
            syn_made: false,
        }
    }

    /// Records a message that was made, and what became of it.
    pub(crate) fn record(
        &mut self,
        to: SocketAddr,
        kind: MessageKind,
        bytes: usize,
        handover: Handover,
    ) {
        let carries_mark = kind.carries_delta() && self.syn_made && bytes <= WHOLE_BYTES_MAX;
        if carries_mark && handover == Handover::Sent {
            self.pending.remove(&to);
        }
        // Also if it was dropped: what is made from now on was made after the mark.
        self.syn_made |= kind == MessageKind::Syn;
    }

    /// Who is still to be sent the mark.
    pub(crate) fn pending(&self) -> impl Iterator<Item = SocketAddr> {
        self.pending.iter().copied()
    }

    /// Whether everyone has been sent the mark.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }
}

/// A longer delta may have been truncated before it came to the mark, which is the newest key.
const WHOLE_BYTES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell() -> (SocketAddr, SocketAddr, Farewell) {
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        (a, b, Farewell::new([a, b]))
    }

    #[test]
    fn only_a_whole_delta_after_a_syn_counts() {
        let (a, b, mut farewell) = farewell();
        let mut sent = |to, kind, bytes| {
            farewell.record(to, kind, bytes, Handover::Sent);
            farewell.pending().collect::<Vec<_>>()
        };
        assert_eq!(sent(a, MessageKind::SynAck, 100), [a, b]);
        assert_eq!(sent(b, MessageKind::Syn, 100), [a, b]);
        assert_eq!(sent(a, MessageKind::BadCluster, 4), [a, b]);
        assert_eq!(sent(a, MessageKind::SynAck, 60_000), [a, b]);
        assert_eq!(sent(b, MessageKind::Ack, 100), [a]);
        assert_eq!(sent(a, MessageKind::SynAck, 100), []);
        assert!(farewell.is_complete());
    }

    #[test]
    fn what_is_not_on_a_link_does_not_count() {
        let (a, b, mut farewell) = farewell();
        // That the mark came first holds whatever became of the Syn.
        farewell.record(a, MessageKind::Syn, 100, Handover::Dropped);
        for lost in [Handover::Dropped, Handover::Waiting] {
            farewell.record(a, MessageKind::Ack, 100, lost);
            assert_eq!(farewell.pending().collect::<Vec<_>>(), [a, b], "{lost:?}");
        }
        farewell.record(a, MessageKind::Ack, 100, Handover::Sent);
        assert_eq!(farewell.pending().collect::<Vec<_>>(), [b]);
    }
}
