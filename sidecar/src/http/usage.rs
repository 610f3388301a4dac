use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// How much of the machine the process uses. What it cannot find out is 0.
#[derive(Debug, Default)]
pub(super) struct Usage {
    last: Mutex<Option<Sample>>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: Duration,
    percent: f64,
}

impl Usage {
    /// Bytes of memory that are resident.
    pub(super) fn memory_bytes(&self) -> u64 {
        let pages = fs::read_to_string("/proc/self/statm").ok();
        let resident = pages.and_then(|text| text.split(' ').nth(1)?.parse().ok());
        resident.unwrap_or(0_u64) * page_size() as u64
    }

    /// Percent of one core, since it was asked last, but over no less than a second; at first since the
    /// process began.
    pub(super) fn cpu_percent(&self, age: Duration) -> f64 {
        let cpu = cpu();
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (spent, passed) = match *last {
            Some(last) if now - last.at < SPAN_MIN => return last.percent,
            Some(last) => (cpu.saturating_sub(last.cpu), now - last.at),
            None => (cpu, age.max(SPAN_MIN)),
        };
        let percent = (spent.as_secs_f64() / passed.as_secs_f64() * 1_000.0).round() / 10.0;
        *last = Some(Sample {
            at: now,
            cpu,
            percent,
        });
        percent
    }
}

/// What the process has had of the processor so far.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap_or(0))
}

const SPAN_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_uses_memory_and_time() {
        let usage = Usage::default();
        assert!(usage.memory_bytes() > 100_000);
        let first = usage.cpu_percent(Duration::from_secs(1));
        assert!(cpu() > Duration::ZERO && first >= 0.0);
        // Not asked again within a second.
        assert_eq!(
            usage.cpu_percent(Duration::from_secs(1)).to_bits(),
            first.to_bits()
        );
    }
}
