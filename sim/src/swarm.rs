use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::runner::{Ran, Runner};

/// Many runs, one for each seed.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The seeds.
    pub seeds: Range<u64>,
    /// How many run at a time; at least 1.
    pub jobs: usize,
    /// No run begins after this time.
    pub budget: Option<Duration>,
    /// No run begins after the first that broke one of these invariants.
    pub until: Vec<String>,
}

/// Runs a batch; tells what came of each run as it ends, in no promised order.
pub fn run(
    runner: &Runner,
    batch: &Batch,
    plan: impl Fn(u64) -> Plan + Sync,
    mut ended: impl FnMut(u64, anyhow::Result<Ran>),
) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the budget is in the time of whoever waits"
    )]
    let began = Instant::now();
    let (next, stop) = (AtomicU64::new(batch.seeds.start), AtomicBool::new(false));
    let is_late = || batch.budget.is_some_and(|budget| began.elapsed() >= budget);
    let (results, collected) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..batch.jobs.max(1) {
            let (results, next, stop, plan, is_late) =
                (results.clone(), &next, &stop, &plan, &is_late);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) && !is_late() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= batch.seeds.end {
                        return;
                    }
                    let result = runner.run(seed, &plan(seed), false);
                    let violation = match &result {
                        Ok(ran) => ran.outcome.violation.as_deref(),
                        Err(_) => None,
                    };
                    if violation.is_some_and(|text| is_of(text, &batch.until)) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if results.send((seed, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        for (seed, result) in collected {
            ended(seed, result);
        }
    });
}

/// Whether a violation is one of these invariants.
pub fn is_of(violation: &str, invariants: &[String]) -> bool {
    invariants
        .iter()
        .any(|name| violation.starts_with(name.as_str()))
}
