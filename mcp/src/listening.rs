use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// What a notifier, its listeners and its task share.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) hub: Mutex<Hub>,
    /// Cancelled when nobody is told anything any more.
    pub(crate) closed: CancellationToken,
    pub(crate) changes: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) recalls: AtomicU64,
    pub(crate) losses: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) refused: AtomicU64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
