use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
    /// Every peer has been sent the farewell.
    pub(crate) farewell_complete: Notify,
    farewell: Mutex<Option<Farewell>>,
    /// Who sent the last delta that may have been truncated.
    truncated: Mutex<Option<SocketAddr>>,
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

    /// Records a message that was handed to the pipe, and what became of it.
    pub(crate) fn handed_over(
        &self,
        to: SocketAddr,
        kind: MessageKind,
        bytes: usize,
        handover: Handover,
    ) {
        let counters = &self.counters;
        if handover == Handover::Dropped {
            counters.messages_dropped.fetch_add(1, Relaxed);
        } else {
            counters.messages_out.fetch_add(1, Relaxed);
            counters.bytes_out.fetch_add(bytes as u64, Relaxed);
        }
        let mut farewell = lock(&self.farewell);
        if let Some(farewell) = farewell.as_mut() {
            farewell.record(to, kind, bytes, handover);
            if farewell.is_complete() {
                self.farewell_complete.notify_one();
            }
        }
    }
}

/// What a lock guards here is whole at any time, also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
