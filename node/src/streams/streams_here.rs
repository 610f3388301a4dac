use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::Scope;
use tokio::time::{Instant, timeout_at};

use super::prefix::Piece;
use super::store::{Bounds, Store};
use crate::limits::Limits;

/// The streams of this run of this node.
#[derive(Debug)]
pub(crate) struct StreamsHere {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    store: Mutex<Store>,
}

impl StreamsHere {
    pub(crate) fn new(node: NodeId, incarnation: Incarnation, limits: &Limits) -> Self {
        let bounds = Bounds {
            streams_max: limits.streams_max.get(),
            stream_bytes_max: limits.stream_bytes_max.get(),
            bytes_max: limits.streams_bytes_max.get(),
            kept: limits.stream_kept.get(),
        };
        Self {
            node,
            incarnation,
            store: Mutex::new(Store::new(bounds)),
        }
    }

    /// The streams, for a step that takes little time.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows on the first `from` chunks of a stream, as soon as there is something, and an empty
    /// piece if that takes longer than `wait`. None if there is no such stream.
    pub(crate) async fn read_within(
        &self,
        scope: &Scope,
        number: u64,
        from: u64,
        wait: Duration,
    ) -> Option<Piece> {
        let until = Instant::now() + wait;
        loop {
            let changed = self.store().changed(scope, number)?;
            let mut changed = pin!(changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let piece = self.store().read(scope, number, from)?;
            if !piece.is_empty(from) || timeout_at(until, changed).await.is_err() {
                return Some(piece);
            }
        }
    }
}
