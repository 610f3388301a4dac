use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of values by size, that any number of threads add to without waiting for each other.
///
/// Bucket `n` has the values of at most `first` times four to the power of `n`, and more than the
/// bucket before; the last one has all that are larger.
#[derive(Debug)]
pub(crate) struct Histogram<const BUCKETS: usize> {
    first: u64,
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// How values were spread, since the node started.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Distribution {
    /// The upper bound of each bucket, and how many values it has: those of at most so much, and
    /// more than the bound before. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// All values together.
    pub sum: f64,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, value: u64) {
        let bounds = (0..BUCKETS - 1).map(|bucket| self.bound(bucket));
        let bucket = bounds.take_while(|bound| value > *bound).count();
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// How many values there were.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The counts as they are, with values in another unit: so many of ours make one of it.
    pub(crate) fn snapshot(&self, unit: f64) -> Distribution {
        let bound = |bucket| match bucket {
            last if last == BUCKETS - 1 => f64::INFINITY,
            bucket => self.bound(bucket) as f64 / unit,
        };
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        Distribution {
            buckets: (0..BUCKETS).map(bound).zip(counts).collect(),
            sum: self.sum.load(Relaxed) as f64 / unit,
        }
    }

    fn bound(&self, bucket: usize) -> u64 {
        self.first << (2 * bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_bucket_of_the_next_larger_bound() {
        let histogram = Histogram::<4>::new(1);
        for value in [0, 1, 2, 4, 5, 16, 17, 1_000] {
            histogram.observe(value);
        }
        let Distribution { buckets, sum } = histogram.snapshot(1.0);
        let expected = [(1.0, 2), (4.0, 2), (16.0, 2), (f64::INFINITY, 2)];
        assert_eq!(buckets, expected);
        assert_eq!(sum, 1_045.0);
        assert_eq!(histogram.count(), 8);
        assert_eq!(histogram.snapshot(2.0).buckets[1], (2.0, 2));
    }
}
