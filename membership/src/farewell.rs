//! Who has been sent the farewell of a node that leaves.
//!
//! It marks its state as left, then gossips with every live peer. The mark travels in the delta of
//! this node's SynAck or Ack to what the peer says it knows. Messages are made one after the
//! other, so a delta made after the first Syn since the mark carries it, and any before may not.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::message_kind::MessageKind;

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

    /// Records a message that went out.
    pub(crate) fn record(&mut self, to: SocketAddr, kind: MessageKind, bytes: usize) {
        if kind == MessageKind::Syn {
            self.syn_made = true;
        } else if kind.carries_delta() && self.syn_made && bytes <= WHOLE_BYTES_MAX {
            self.pending.remove(&to);
        }
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

    #[test]
    fn only_a_whole_delta_after_a_syn_counts() {
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let mut farewell = Farewell::new([a, b]);
        farewell.record(a, MessageKind::SynAck, 100);
        farewell.record(b, MessageKind::Syn, 100);
        farewell.record(a, MessageKind::BadCluster, 4);
        farewell.record(a, MessageKind::SynAck, 60_000);
        assert_eq!(farewell.pending().collect::<Vec<_>>(), [a, b]);
        farewell.record(b, MessageKind::Ack, 100);
        assert_eq!(farewell.pending().collect::<Vec<_>>(), [a]);
        farewell.record(a, MessageKind::SynAck, 100);
        assert!(farewell.is_complete());
    }
}
