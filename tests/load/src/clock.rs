use std::time::Duration;

use tokio::time::Instant;

/// The time since the start of the program, in which stamps are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time since its start.
    pub(crate) fn now(self) -> Duration {
        self.start.elapsed()
    }

    /// The same in nanoseconds.
    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.now().as_nanos()).expect("less than 500 years")
    }
}
