use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// What became of a gossip message that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the transport does not count what it says it has dropped"]
pub enum Gossiped {
    /// It is queued on a link that is up, and lost only with the link.
    Sent,
    /// It is queued for a link that is being dialled, and lost if that fails or too many newer
    /// ones wait for the same.
    Waiting,
    /// It is dropped: it is too large or addressed to this node itself, the queue of the link is
    /// full, too many addresses are being dialled, or the transport is closing.
    Dropped,
}

/// Gossip messages that wait for the writer of a link.
///
/// When the queue is full, the new message is refused. To drop the oldest would keep what says
/// the most, but it would be the loss of a message that was taken; like this whoever brings one
/// knows at once what becomes of it, and gossip repeats itself anyway.
#[derive(Debug, Default)]
pub(crate) struct GossipQueue {
    messages: Mutex<VecDeque<Bytes>>,
    /// Wakes whoever empties the queue.
    pub(crate) filled: Notify,
}

impl GossipQueue {
    /// False when the queue is full.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let mut messages = self.messages();
        if messages.len() == MESSAGES_MAX {
            return false;
        }
        messages.push_back(message);
        drop(messages);
        self.filled.notify_one();
        true
    }

    pub(crate) fn pop(&self) -> Option<Bytes> {
        self.messages().pop_front()
    }

    /// Returns how many messages were dropped.
    pub(crate) fn clear(&self) -> u64 {
        std::mem::take(&mut *self.messages()).len() as u64
    }

    fn messages(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        // No step on the queue panics half-way.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer that takes no gossip for long is about to be found dead, so few are worth keeping.
const MESSAGES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_the_new_message_and_keeps_the_old() {
        let queue = GossipQueue::default();
        for n in 0..MESSAGES_MAX {
            assert!(queue.push(vec![n as u8].into()));
        }
        assert!(!queue.push(Bytes::from_static(b"new")));
        assert_eq!(queue.pop().unwrap(), vec![0]);
        assert!(queue.push(Bytes::from_static(b"new")));
        assert_eq!(queue.clear(), MESSAGES_MAX as u64);
        assert_eq!(queue.pop(), None);
    }
}
