//! Who has been told goodbye.
//!
//! A node that leaves marks its state as left, then gossips with every live peer. The mark travels
//! in this node's answer (ack or syn-ack) to what the peer says it knows. Messages are made one
//! after the other, so an answer made after the first greeting (syn) that went out since the mark
//! carries it, and any before may not.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A longer answer may have been cut before it came to the mark, which is the newest key.
const WHOLE_BYTES_MAX: usize = 16_384;

/// What a gossip message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Greeting,
    Answer,
    Refusal,
}

/// The peers that are still to be told.
#[derive(Debug)]
pub(crate) struct Farewell {
    waiting: BTreeSet<SocketAddr>,
    greeted: bool,
}

impl Farewell {
    /// Begins when the mark is set.
    pub(crate) fn new(peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            waiting: peers.into_iter().collect(),
            greeted: false,
        }
    }

    /// Takes note of a message that went out.
    pub(crate) fn sent(&mut self, to: SocketAddr, kind: MessageKind, bytes: usize) {
        match kind {
            MessageKind::Greeting => self.greeted = true,
            MessageKind::Answer if self.greeted && bytes <= WHOLE_BYTES_MAX => {
                self.waiting.remove(&to);
            }
            MessageKind::Answer | MessageKind::Refusal => {}
        }
    }

    /// Who is still to be told.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = SocketAddr> {
        self.waiting.iter().copied()
    }

    /// Whether everyone has been told.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_after_a_greeting_tells_a_peer() {
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let mut farewell = Farewell::new([a, b]);
        farewell.sent(a, MessageKind::Answer, 100);
        farewell.sent(b, MessageKind::Greeting, 100);
        farewell.sent(a, MessageKind::Refusal, 4);
        farewell.sent(a, MessageKind::Answer, 60_000);
        assert_eq!(farewell.waiting().collect::<Vec<_>>(), [a, b]);
        farewell.sent(b, MessageKind::Answer, 100);
        assert_eq!(farewell.waiting().collect::<Vec<_>>(), [a]);
        farewell.sent(a, MessageKind::Answer, 100);
        assert!(farewell.is_over());
    }
}
