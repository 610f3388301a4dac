use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Gossip messages that wait for a link, or for a link to come up.
///
/// Gossip repeats itself and the newest message says the most, so when the queue is full the
/// oldest is dropped.
#[derive(Debug, Default)]
pub(crate) struct GossipQueue {
    messages: Mutex<VecDeque<Bytes>>,
    /// Wakes whoever empties the queue.
    pub(crate) filled: Notify,
}

impl GossipQueue {
    /// Returns how many messages were dropped to make room.
    pub(crate) fn push(&self, message: Bytes) -> u64 {
        let mut messages = self.messages();
        let full = messages.len() == MESSAGES_MAX;
        if full {
            messages.pop_front();
        }
        messages.push_back(message);
        drop(messages);
        self.filled.notify_one();
        full.into()
    }

    pub(crate) fn pop(&self) -> Option<Bytes> {
        self.messages().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages().is_empty()
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
    fn a_full_queue_drops_the_oldest() {
        let queue = GossipQueue::default();
        for n in 0..MESSAGES_MAX {
            assert_eq!(queue.push(vec![n as u8].into()), 0);
        }
        assert_eq!(queue.push(Bytes::from_static(b"new")), 1);
        assert_eq!(queue.pop().unwrap(), vec![1]);
        assert_eq!(queue.clear(), MESSAGES_MAX as u64 - 1);
        assert!(queue.is_empty());
    }
}
