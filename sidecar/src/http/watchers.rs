use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Error;

/// Who may watch at a time, so that there is room for others.
#[derive(Debug, Clone)]
pub(super) struct Watchers(Arc<Semaphore>);

impl Watchers {
    /// As many as half of these connections.
    pub(super) fn among(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections / 2)))
    }

    /// A place, for as long as it is kept.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| {
            let problem = "too many watch already: half of the connections of HTTP are for others";
            Error::new(StatusCode::SERVICE_UNAVAILABLE, problem)
        })
    }
}
