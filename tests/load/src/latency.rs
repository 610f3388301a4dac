use std::time::Duration;

use serde::Serialize;

/// How long messages took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Half of them took no longer.
    pub(crate) p50_ms: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

impl Latency {
    /// Of these; none if there are none.
    pub(crate) fn of(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        let at = |hundredths| Some(percentile(&durations, hundredths)?.as_secs_f64() * 1e3);
        Some(Self {
            p50_ms: at(50)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }
}

/// The smallest of the sorted values that so many of a hundred do not exceed (the nearest rank).
pub(crate) fn percentile<T: Copy>(sorted: &[T], hundredths: usize) -> Option<T> {
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
        assert_eq!(percentile(&hundred, 100), Some(100));
        assert_eq!(percentile(&[1, 2, 3], 50), Some(2));
        assert_eq!(percentile(&[1, 2], 50), Some(1));
        assert_eq!(percentile(&[7], 0), Some(7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }

    #[test]
    fn latency_is_in_milliseconds_whatever_the_order() {
        let durations = [30, 10, 20].map(Duration::from_millis).to_vec();
        let latency = Latency::of(durations).unwrap();
        assert_eq!((latency.p50_ms, latency.max_ms), (20.0, 30.0));
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
