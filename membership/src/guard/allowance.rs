use std::time::Duration;

use tokio::time::Instant;

/// So many of something may be had at once, and one more each time that so long has passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    at_once: u32,
    /// How long one takes to come back.
    each: Duration,
    /// When all of it will be, or was, there again.
    full_at: Instant,
}

impl Allowance {
    /// All of it is there.
    pub(crate) fn new(at_once: u32, each: Duration, now: Instant) -> Self {
        Self {
            at_once,
            each,
            full_at: now,
        }
    }

    /// Takes so many, or none if they are not there. More than there ever are counts as all.
    pub(crate) fn take(&mut self, count: usize, now: Instant) -> bool {
        let is_there = self.has(count, now);
        if is_there {
            self.full_at = self.full_without(count, now);
        }
        is_there
    }

    /// Whether so many are there.
    pub(crate) fn has(&self, count: usize, now: Instant) -> bool {
        self.full_without(count, now).duration_since(now) <= self.each * self.at_once
    }

    /// When all would be there again without so many.
    fn full_without(&self, count: usize, now: Instant) -> Instant {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.at_once);
        self.full_at.max(now) + self.each * count
    }

    /// Whether all of it is there, as if nothing had ever been taken.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back_at_its_pace() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut allowance = Allowance::new(10, Duration::from_millis(500), start);
        assert!(allowance.take(10, start));
        assert!(!allowance.is_full(start));
        assert!(!allowance.take(1, after(400)));
        assert!(allowance.take(1, after(500)));
        assert!(!allowance.take(3, after(1_500)));
        assert!(allowance.take(2, after(1_500)));
        assert!(allowance.is_full(after(7_000)));
        assert!(allowance.take(usize::MAX, after(7_000)));
        assert!(!allowance.take(1, after(7_000)));
    }
}
