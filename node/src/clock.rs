use std::time::Duration;

use tidings_transport::Net;
use tokio::time::Instant;

/// The wall clock as of the node's start, carried on by monotonic time: it never steps back while
/// the node runs.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    unix_at_start: Duration,
    started: Instant,
}

impl Clock {
    pub(crate) fn start(net: &dyn Net) -> Self {
        Self {
            unix_at_start: net.unix_time(),
            started: Instant::now(),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> u64 {
        u64::try_from(self.unix().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time since the Unix epoch when the node started.
    pub(crate) fn unix_at_start(&self) -> Duration {
        self.unix_at_start
    }

    /// The time since the Unix epoch.
    pub(crate) fn unix(&self) -> Duration {
        self.unix_at_start + self.started.elapsed()
    }
}
