use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::records::RECORDS_MAX;

/// When the buckets that changed on this node are told to its peers.
///
/// What telling costs follows from time, not from how often something changes. A bucket that was
/// quiet is told `coalesce` after it changed. While it goes on changing, each time waits twice as
/// long as the one before, up to `interval`; after a quiet second it is told as soon as at first.
/// And all that is told together keeps to `change_bytes_per_second_max`: what goes beyond waits, the
/// bucket first that was not told for longest. So who changes much delays most what he changes
/// himself. Nothing is lost by waiting: told is what a bucket has at that moment.
///
/// What is told of topics goes the same way: behind the indices of the buckets are those of the
/// records, and last that of where clients connect.
#[derive(Debug)]
pub(crate) struct Pace {
    coalesce: Duration,
    interval: Duration,
    bytes_per_second: usize,
    buckets: Vec<BucketPace>,
    /// Bytes that may be sent at once: at most those of a second; below 0 after a bucket that was
    /// longer than what was left.
    budget: isize,
    refilled: Instant,
}

#[derive(Debug, Clone, Default)]
struct BucketPace {
    told: Option<Instant>,
    /// How long the last change waited, or was to wait, before it was told.
    wait: Duration,
    /// When it is to be told, if it has changed since.
    due: Option<Instant>,
}

impl Pace {
    /// Nothing has changed yet.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let bytes_per_second = config.change_bytes_per_second_max.get();
        Self {
            coalesce: config.coalesce.get(),
            interval: config.interval.get(),
            bytes_per_second,
            buckets: vec![BucketPace::default(); config.buckets.get() + RECORDS_MAX + 1],
            budget: bytes_per_second.cast_signed(),
            refilled: now,
        }
    }

    /// The bucket at this index has changed.
    pub(crate) fn changed(&mut self, index: usize, now: Instant) {
        let bucket = &mut self.buckets[index];
        if bucket.due.is_some() {
            return;
        }
        let is_quiet = bucket.told.is_none_or(|told| now >= told + QUIET);
        bucket.wait = if is_quiet {
            self.coalesce
        } else {
            let longer = (bucket.wait * 2).max(WAIT_MIN);
            longer.min(self.interval).max(self.coalesce)
        };
        bucket.due = Some(now + bucket.wait);
    }

    /// Somebody waits for what has changed by now: it is told as soon as if all had been quiet before.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let soon = now + self.coalesce;
        for due in self.buckets.iter_mut().filter_map(|one| one.due.as_mut()) {
            *due = soon.min(*due);
        }
    }

    /// When there is something to tell; never if nothing has changed.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.buckets.iter().filter_map(|bucket| bucket.due).min()?;
        let missing = usize::try_from(1 - self.budget).unwrap_or(0);
        let nanos = missing as u128 * NANOS_PER_SECOND / self.bytes_per_second as u128;
        let wait = Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX));
        // A nanosecond more, as the division has rounded down.
        let affordable = self.refilled + wait + Duration::from_nanos(1);
        Some(if missing > 0 {
            due.max(affordable)
        } else {
            due
        })
    }

    /// What is to be told now: the buckets at these indices. `bytes` says what sending one costs.
    pub(crate) fn take(&mut self, now: Instant, bytes: impl Fn(usize) -> usize) -> Vec<usize> {
        self.refill(now);
        let is_due = |index: &usize| self.buckets[*index].due.is_some_and(|due| due <= now);
        let mut due: Vec<usize> = (0..self.buckets.len()).filter(is_due).collect();
        due.sort_by_key(|&index| self.buckets[index].told);
        let mut taken = Vec::new();
        for index in due {
            if self.budget <= 0 {
                break;
            }
            self.budget = self.budget.saturating_sub_unsigned(bytes(index));
            let bucket = &mut self.buckets[index];
            (bucket.told, bucket.due) = (Some(now), None);
            taken.push(index);
        }
        taken
    }

    /// Besides what was taken now, the buckets at these indices are told, too.
    pub(crate) fn take_besides(
        &mut self,
        now: Instant,
        indices: &[usize],
        bytes: impl Fn(usize) -> usize,
    ) {
        for &index in indices {
            let bucket = &mut self.buckets[index];
            if bucket.told != Some(now) {
                (bucket.told, bucket.due) = (Some(now), None);
                self.budget = self.budget.saturating_sub_unsigned(bytes(index));
            }
        }
    }

    fn refill(&mut self, now: Instant) {
        let nanos = now.duration_since(self.refilled).as_nanos();
        let gained = nanos * self.bytes_per_second as u128 / NANOS_PER_SECOND;
        let gained = usize::try_from(gained).unwrap_or(usize::MAX);
        if gained > 0 {
            let max = self.bytes_per_second.cast_signed();
            self.budget = self.budget.saturating_add_unsigned(gained).min(max);
            self.refilled = now;
        }
    }
}

/// After so long without being told, a bucket counts as quiet.
const QUIET: Duration = Duration::from_secs(1);
/// What doubling starts from when the first change waits for nothing.
const WAIT_MIN: Duration = Duration::from_millis(1);
const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_bounds::Count;

    const KILOBYTE: usize = 1_000;

    fn pace(kilobytes_per_second: usize) -> (Pace, Instant) {
        let config = Config {
            change_bytes_per_second_max: Count::try_from(kilobytes_per_second * KILOBYTE).unwrap(),
            ..Config::default()
        };
        let start = Instant::now();
        (Pace::new(&config, start), start)
    }

    /// Changes these buckets all the time for so long, each of which costs 48 kB to tell; returns
    /// what was told, and when, since the start.
    fn churn(
        pace: &mut Pace,
        start: Instant,
        buckets: &[usize],
        ms: u64,
    ) -> Vec<(Duration, usize)> {
        let mut told = Vec::new();
        for ms in 0..ms {
            let now = start + Duration::from_millis(ms);
            for &index in buckets {
                pace.changed(index, now);
            }
            if pace.next().is_some_and(|next| next <= now) {
                let taken = pace.take(now, |_| 48 * KILOBYTE);
                told.extend(taken.into_iter().map(|index| (now - start, index)));
            }
        }
        told
    }

    #[test]
    fn a_change_after_quiet_is_told_at_once_and_others_wait_ever_longer() {
        let (mut pace, start) = pace(100_000);
        let told = churn(&mut pace, start, &[3], 1_500);
        let gaps = told.windows(2).map(|two| (two[1].0 - two[0].0).as_millis());
        let gaps: Vec<_> = gaps.collect();
        assert_eq!(told[0].0.as_millis(), 1);
        // The next change comes a millisecond later.
        assert_eq!(gaps[..8], [2, 4, 8, 16, 32, 64, 128, 250].map(|ms| ms + 1));
        assert!(gaps[8..].iter().all(|gap| *gap == 251), "{gaps:?}");
        let later = start + Duration::from_secs(3);
        // Of the churn one change was not yet told.
        assert_eq!(pace.take(later, |_| 1), [3]);
        let later = later + QUIET;
        pace.changed(3, later);
        assert_eq!(pace.next(), Some(later + Duration::from_millis(1)));
    }

    #[test]
    fn what_somebody_waits_for_is_told_soon_however_much_has_changed_before() {
        let (mut pace, start) = pace(100_000);
        churn(&mut pace, start, &[3], 700);
        let now = start + Duration::from_millis(700);
        assert!(pace.next().unwrap() > now + Duration::from_millis(10));
        pace.hurry(now);
        assert_eq!(pace.next(), Some(now + Duration::from_millis(1)));
        pace.hurry(now + Duration::from_millis(1));
        assert_eq!(pace.next(), Some(now + Duration::from_millis(1)));
    }

    #[test]
    fn a_quiet_bucket_does_not_wait_for_busy_ones() {
        let (mut pace, start) = pace(1_000);
        let busy: Vec<usize> = (0..63).collect();
        churn(&mut pace, start, &busy, 5_000);
        let now = start + Duration::from_secs(5);
        pace.changed(63, now);
        let next = pace.next().unwrap().max(now + Duration::from_millis(1));
        assert!(next <= now + Duration::from_millis(50), "{:?}", next - now);
        assert_eq!(pace.take(next, |_| 48 * KILOBYTE)[0], 63);
    }

    #[test]
    fn all_together_keep_to_the_budget_and_each_has_its_turn() {
        let (mut pace, start) = pace(1_000);
        let all: Vec<usize> = (0..64).collect();
        let told = churn(&mut pace, start, &all, 10_000);
        let bytes = told.len() * 48 * KILOBYTE;
        // The seconds', that of one second at once, and what one bucket was too long.
        assert!(bytes <= 11 * 1_000 * KILOBYTE + 48 * KILOBYTE, "{bytes}");
        assert!(bytes >= 10 * 1_000 * KILOBYTE, "{bytes}");
        for index in all {
            let times = told.iter().filter(|(_, own)| *own == index).count();
            assert!(times >= 3, "bucket {index} was told {times} times");
        }
    }
}
