use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_identity::{Incarnation, NodeId, NodeRun};
use tokio::sync::{Notify, SetOnce, watch};
use tokio::time::Instant;

use crate::farewell::Farewell;
use crate::message_kind::MessageKind;
use crate::pipe::Handover;
use crate::stats::Counters;

/// What the socket tells the rest of membership.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) counters: Counters,
    /// Gossip has applied a delta: its state may have changed.
    pub(crate) delta_applied: Notify,
    /// This node has another certificate.
    pub(crate) renewed: Notify,
    /// Every peer has been sent the farewell.
    pub(crate) farewell_complete: Notify,
    /// A later run of this node, which has ended.
    pub(crate) outdated_by: watch::Sender<Option<Incarnation>>,
    /// Why gossip has ended for good.
    pub(crate) failure: SetOnce<String>,
    farewell: Mutex<Option<Farewell>>,
    /// Who sent the last delta that may have been truncated.
    truncated: Mutex<Option<SocketAddr>>,
    /// Which run of each peer was heard last, and when.
    heard: Mutex<BTreeMap<NodeId, (NodeRun, Instant)>>,
    /// Who has told a part of a state.
    unfinished: Mutex<BTreeSet<SocketAddr>>,
}

impl Wire {
    /// Begins to record who is sent the farewell.
    pub(crate) fn begin_farewell(&self, farewell: Farewell) {
        *lock(&self.farewell) = Some(farewell);
    }

    /// Who is still to be sent the farewell.
    pub(crate) fn farewell_pending(&self) -> Vec<SocketAddr> {
        let farewell = lock(&self.farewell);
        farewell.iter().flat_map(Farewell::pending).collect()
    }

    /// Notes that a peer may have more to tell than fitted into its last delta.
    pub(crate) fn set_truncated(&self, from: SocketAddr) {
        *lock(&self.truncated) = Some(from);
    }

    /// The peer that was noted last as having more to tell, once.
    pub(crate) fn take_truncated(&self) -> Option<SocketAddr> {
        lock(&self.truncated).take()
    }

    /// Notes that this run of a peer itself has said something.
    pub(crate) fn set_heard(&self, from: NodeRun) {
        let mut heard = lock(&self.heard);
        let now = Instant::now();
        if heard.len() >= HEARD_MAX {
            heard.retain(|_, (_, at)| now.duration_since(*at) < HEARD_FOR);
        }
        heard.insert(from.node.clone(), (from, now));
    }

    /// Which run of each peer was heard last, and when.
    pub(crate) fn heard(&self) -> BTreeMap<NodeId, (NodeRun, Instant)> {
        lock(&self.heard).clone()
    }

    /// Notes that a peer has told a part of a state, and has more of it.
    pub(crate) fn set_unfinished(&self, from: SocketAddr) {
        lock(&self.unfinished).insert(from);
    }

    /// The peers that were noted as having more of a state, once.
    pub(crate) fn take_unfinished(&self) -> BTreeSet<SocketAddr> {
        std::mem::take(&mut *lock(&self.unfinished))
    }

    /// Counts a message that was handed to the pipe, by what became of it.
    pub(crate) fn count(&self, bytes: usize, handover: Handover) {
        let counters = &self.counters;
        if handover == Handover::Dropped {
            counters.messages_dropped.fetch_add(1, Relaxed);
        } else {
            counters.messages_out.fetch_add(1, Relaxed);
            counters.bytes_out.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// Records a message of chitchat that was handed to the pipe, and what became of it.
    pub(crate) fn handed_over(
        &self,
        to: SocketAddr,
        kind: MessageKind,
        bytes: usize,
        handover: Handover,
    ) {
        self.count(bytes, handover);
        self.record(to, kind, bytes, handover);
    }

    /// Records a message of chitchat that need not be sent, since its receiver knows all that it would tell.
    pub(crate) fn left_unsaid(&self, to: SocketAddr, kind: MessageKind) {
        self.record(to, kind, 0, Handover::Sent);
    }

    fn record(&self, to: SocketAddr, kind: MessageKind, bytes: usize, handover: Handover) {
        let mut farewell = lock(&self.farewell);
        if let Some(farewell) = farewell.as_mut() {
            farewell.record(to, kind, bytes, handover);
            if farewell.is_complete() {
                self.farewell_complete.notify_one();
            }
        }
    }
}

/// So many peers are remembered as long as they like, more of them only for a while.
const HEARD_MAX: usize = 4_096;
const HEARD_FOR: Duration = Duration::from_secs(60);

/// What a lock guards here is whole at any time, also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
