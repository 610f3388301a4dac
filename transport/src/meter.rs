use std::time::Duration;

use tokio::time::Instant;

/// How much may be had in a time: so many units a second, and after a rest those of a while at once.
///
/// In any time of `t` seconds no more is had than `(t + burst) * per_second` units and the last one
/// asked for, which may be larger than what was left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    per_second: u32,
    burst: Duration,
    /// When what was had would have been had at the pace of one second's a second.
    paid: Option<Instant>,
}

impl Meter {
    /// Nothing has been had yet.
    pub(crate) const fn new(per_second: u32, burst: Duration) -> Self {
        Self {
            per_second,
            burst,
            paid: None,
        }
    }

    /// From when on something may be had.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.paid?.checked_sub(self.burst)
    }

    /// So many units are had.
    pub(crate) fn charge(&mut self, units: usize, now: Instant) {
        let nanos = (units as u128 * NANOS_PER_SECOND).div_ceil(self.per_second.into());
        let cost = Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX));
        let begin = self.paid.map_or(now, |paid| paid.max(now));
        self.paid = begin.checked_add(cost).or(self.paid);
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;
