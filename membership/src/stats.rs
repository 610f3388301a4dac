use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::fault::{Fault, Faults};

/// What membership has done since it began, and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Gossip messages that the pipe took.
    pub messages_out: u64,
    /// Bytes of gossip messages that the pipe took.
    pub bytes_out: u64,
    /// Gossip messages taken from the pipe.
    pub messages_in: u64,
    /// Bytes of gossip messages taken from the pipe.
    pub bytes_in: u64,
    /// Gossip messages that the pipe dropped at once.
    pub messages_dropped: u64,
    /// What was wrong with gossip messages from peers. Such a one, or that part of it, was not taken.
    pub faults: Faults,
    /// Values in peers' gossip that could not be read. What was known before was kept.
    pub values_malformed: u64,
    /// Changes of this node that were told to its peers at once, after coalescing.
    pub eager_rounds: u64,
    /// How often gossip ended by itself and was begun anew.
    pub restarts: u64,
    /// Live nodes, with this one.
    pub nodes_live: usize,
    /// Known nodes that are not live.
    pub nodes_gone: usize,
    /// Memberships on this node.
    pub memberships_local: usize,
    /// Memberships in the whole cluster.
    pub memberships: usize,
}

/// The counters behind [`Stats`]. Nothing is inferred from one about another, so all access is
/// relaxed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) messages_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) messages_dropped: AtomicU64,
    pub(crate) faults: [AtomicU64; Fault::ALL.len()],
    pub(crate) values_malformed: AtomicU64,
    pub(crate) eager_rounds: AtomicU64,
    pub(crate) restarts: AtomicU64,
}

impl Counters {
    /// What was wrong with gossip messages so far.
    pub(crate) fn faults(&self) -> Faults {
        Faults::count(|fault| self.faults[fault as usize].load(Relaxed))
    }
}
