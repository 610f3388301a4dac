//! When publishers are to wait for a queue that they fill.
//!
//! A queue that is half full asks them to wait, and lets them go on once it is down to a quarter. It
//! does so only while it is being emptied: a queue of which nothing is taken for a while, or that
//! does not come down within a bounded time, gives up asking until it has come down, and what happens
//! when it is full is decided by its overflow policy. So a publisher is slowed and never stopped.

use std::time::Duration;

use tokio::time::Instant;

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Low,
    Middle,
    High,
}

/// Whether publishers are to wait for one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Pressure {
    /// The queue has not been half full since it was down to a quarter.
    #[default]
    None,
    /// Publishers are asked to wait.
    Asking {
        /// When that began.
        since: Instant,
        /// When something was last taken out.
        taken: Instant,
    },
    /// They were, in vain.
    GivenUp,
}

impl Level {
    /// Of so much, with at most so much.
    pub(crate) fn of(fill: usize, max: usize) -> Self {
        match fill {
            // Whatever there is no room for, nobody waits for what is empty.
            0 => Self::Low,
            fill if fill >= max.div_ceil(2) => Self::High,
            fill if fill > max / 4 => Self::Middle,
            _ => Self::Low,
        }
    }
}

impl Pressure {
    /// Something was put in. Tells whether whoever did so is to wait before the next.
    pub(crate) fn pushed(&mut self, level: Level, now: impl FnOnce() -> Instant) -> bool {
        if level == Level::High && *self == Self::None {
            let now = now();
            *self = Self::Asking {
                since: now,
                taken: now,
            };
        }
        self.is_asking()
    }

    /// Something was taken out. Tells whether those who wait may go on.
    pub(crate) fn took(&mut self, level: Level, now: impl FnOnce() -> Instant) -> bool {
        let was_asking = self.is_asking();
        match self {
            _ if level == Level::Low => *self = Self::None,
            Self::Asking { taken, .. } => *taken = now(),
            Self::None | Self::GivenUp => {}
        }
        was_asking && !self.is_asking()
    }

    /// Whether publishers wait.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self, Self::Asking { .. })
    }

    /// Until when publishers wait if nothing happens. None when they need not: the queue has come
    /// down, or has not for too long: nothing was taken for `stall_max`, or not enough for `wait_max`.
    pub(crate) fn wait(
        &mut self,
        now: Instant,
        stall_max: Duration,
        wait_max: Duration,
    ) -> Option<Instant> {
        let Self::Asking { since, taken } = *self else {
            return None;
        };
        let until = (since + wait_max).min(taken + stall_max);
        if until <= now {
            *self = Self::GivenUp;
            return None;
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STALL_MAX: Duration = Duration::from_millis(500);
    const WAIT_MAX: Duration = Duration::from_secs(2);

    fn half_full(now: Instant) -> Pressure {
        let mut pressure = Pressure::default();
        assert!(!pressure.pushed(Level::of(4, 10), || now));
        assert!(pressure.pushed(Level::of(5, 10), || now));
        pressure
    }

    #[test]
    fn what_is_empty_is_never_full() {
        let now = Instant::now();
        let mut pressure = half_full(now);
        assert!(pressure.took(Level::of(0, 0), || now));
        assert_eq!(Level::of(1, 0), Level::High);
    }

    #[test]
    fn publishers_wait_from_half_full_down_to_a_quarter() {
        let now = Instant::now();
        let mut pressure = half_full(now);
        assert!(
            pressure.pushed(Level::of(4, 10), || now),
            "others wait, too"
        );
        assert!(!pressure.took(Level::of(3, 10), || now));
        assert!(pressure.wait(now, STALL_MAX, WAIT_MAX).is_some());
        assert!(pressure.took(Level::of(2, 10), || now));
        assert_eq!(pressure.wait(now, STALL_MAX, WAIT_MAX), None);
        assert!(!pressure.pushed(Level::of(3, 10), || now));
    }

    #[test]
    fn nobody_waits_for_a_reader_that_takes_nothing() {
        let start = Instant::now();
        let mut pressure = half_full(start);
        assert_eq!(
            pressure.wait(start, STALL_MAX, WAIT_MAX),
            Some(start + STALL_MAX)
        );
        let now = start + STALL_MAX;
        assert_eq!(pressure.wait(now, STALL_MAX, WAIT_MAX), None);
        assert!(
            !pressure.pushed(Level::High, || now),
            "it is not waited for again"
        );
        assert!(!pressure.took(Level::Low, || now));
        assert!(
            pressure.pushed(Level::High, || now),
            "until it has come down"
        );
    }

    #[test]
    fn a_reader_that_takes_a_little_holds_nobody_up_for_longer_than_the_bound() {
        let start = Instant::now();
        let mut pressure = half_full(start);
        let mut now = start;
        while pressure.wait(now, STALL_MAX, WAIT_MAX).is_some() {
            now += STALL_MAX / 2;
            pressure.took(Level::Middle, || now);
        }
        assert_eq!(now, start + WAIT_MAX);
    }

    proptest! {
        #[test]
        fn a_wait_always_ends_within_its_bound(
            steps in prop::collection::vec((0..3_u8, any::<bool>(), 0..400_u64), 1..80),
        ) {
            let start = Instant::now();
            let (mut pressure, mut now) = (half_full(start), start);
            for (level, takes, ms) in steps {
                let level = [Level::Low, Level::Middle, Level::High][usize::from(level)];
                pressure.pushed(level, || now);
                if takes && pressure.took(level, || now) {
                    return Ok(());
                }
                match pressure.wait(now, STALL_MAX, WAIT_MAX) {
                    None => return Ok(()),
                    Some(until) => {
                        prop_assert!(now < until && until <= start + WAIT_MAX);
                        now = until.min(now + Duration::from_millis(ms));
                    }
                }
            }
        }
    }
}
