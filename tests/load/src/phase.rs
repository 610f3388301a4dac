use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::clock::Clock;

/// How far one run is, for all its clients: the ways open, there is load, it is all read.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) clock: Clock,
    /// Pairs of a publisher and a subscriber that is to hear it.
    ways: usize,
    open: AtomicUsize,
    /// Set when nobody publishes any more: how many messages each publisher has sent.
    pub(crate) published: OnceLock<Vec<u64>>,
    drained: AtomicBool,
    /// Set when the bystander has sent its last: how many those were.
    pub(crate) bystander_sent: OnceLock<u64>,
}

impl Phase {
    /// Of a run with so many pairs of a publisher and one of its subscribers.
    pub(crate) fn new(clock: Clock, ways: usize) -> Self {
        Self {
            clock,
            ways,
            open: AtomicUsize::new(0),
            published: OnceLock::new(),
            drained: AtomicBool::new(false),
            bystander_sent: OnceLock::new(),
        }
    }

    /// Says that a subscriber has heard of one more of its publishers.
    pub(crate) fn open_one(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether every subscriber has heard of all its publishers. What is published from now on and
    /// does not come is lost.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.ways
    }

    /// Says that the subscribers have read all that there was.
    pub(crate) fn drain(&self) {
        self.drained.store(true, Ordering::Relaxed);
    }

    /// Whether they have.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// How many messages these publishers have sent, once that is known.
    pub(crate) fn sent_by(&self, publishers: &[u32]) -> Option<u64> {
        let published = self.published.get()?;
        Some(publishers.iter().map(|p| published[*p as usize]).sum())
    }
}
