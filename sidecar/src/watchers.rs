use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who may hold a connection of HTTP for long at a time, to watch or to wait, so that there is room for others.
#[derive(Debug, Clone)]
pub(crate) struct Watchers(Arc<Semaphore>);

/// There is no place for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many watch or wait already: half of the connections of HTTP (http_connections_max) are for others"
)]
pub(crate) struct TooManyWatch;

impl Watchers {
    /// As many as half of these connections.
    pub(crate) fn among(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections / 2)))
    }

    /// A place, for as long as it is kept.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, TooManyWatch> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| TooManyWatch)
    }
}
