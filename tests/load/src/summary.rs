//! The rounds of one workload on one contender, put together.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::counters::Counters;
use crate::latency::percentile;
use crate::outcome::Outcome;

/// Medians of what is measured; sums of what is counted; the longest of all waits.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) cut_off: u64,
    pub(crate) seconds: f64,
    pub(crate) published_per_second: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// Of the node that took most.
    pub(crate) memory_peak_mib: f64,
    pub(crate) cpu_seconds: f64,
    /// Per message delivered.
    pub(crate) cpu_micros: Option<f64>,
    pub(crate) bystander_p50_ms: Option<f64>,
    pub(crate) bystander_p99_ms: Option<f64>,
    pub(crate) bystander_max_ms: Option<f64>,
    pub(crate) bystander_lost: u64,
    pub(crate) kib_per_idle_client: Option<f64>,
    /// What else there is to say, in words.
    pub(crate) remarks: BTreeSet<String>,
}

/// How many times what nats-server has Tidings has.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ratios {
    pub(crate) delivered_per_second: Option<f64>,
    pub(crate) memory_peak: Option<f64>,
    pub(crate) cpu_per_message: Option<f64>,
    pub(crate) bystander_p50: Option<f64>,
    pub(crate) bystander_p99: Option<f64>,
    pub(crate) bystander_max: Option<f64>,
    pub(crate) kib_per_idle_client: Option<f64>,
}

impl Summary {
    /// Of the rounds; of none, nothing.
    pub(crate) fn of(rounds: &[Outcome]) -> Self {
        let sum = |count: fn(&Outcome) -> u64| rounds.iter().map(count).sum();
        let median = |value: fn(&Outcome) -> f64| median(rounds.iter().map(value)).unwrap_or(0.0);
        let latencies = || rounds.iter().filter_map(|round| round.bystander.latency);
        let mebibytes =
            |round: &Outcome| round.memory_peak_kib.iter().max().map_or(0, |k| *k) as f64 / 1024.0;
        let cpu = |round: &Outcome| {
            (round.delivered > 0).then(|| round.cpu_seconds * 1e6 / round.delivered as f64)
        };
        Self {
            published: sum(|round| round.published),
            delivered: sum(|round| round.delivered),
            lost: sum(|round| round.lost),
            cut_off: sum(|round| round.cut_off),
            seconds: median(|round| round.seconds),
            published_per_second: median(|round| round.published_per_second),
            delivered_per_second: median(|round| round.delivered_per_second),
            megabytes_per_second: median(|round| round.megabytes_per_second),
            memory_peak_mib: median(mebibytes),
            cpu_seconds: median(|round| round.cpu_seconds),
            cpu_micros: self::median(rounds.iter().filter_map(cpu)),
            bystander_p50_ms: self::median(latencies().map(|latency| latency.p50_ms)),
            bystander_p99_ms: self::median(latencies().map(|latency| latency.p99_ms)),
            bystander_max_ms: latencies().map(|latency| latency.max_ms).reduce(f64::max),
            bystander_lost: sum(|round| round.bystander.lost),
            kib_per_idle_client: self::median(rounds.iter().filter_map(|r| r.kib_per_idle_client)),
            remarks: rounds
                .iter()
                .flat_map(remarks)
                .chain(counted(rounds))
                .collect(),
        }
    }
}

impl Ratios {
    /// Of what Tidings has to what nats-server has.
    pub(crate) fn of(tidings: &Summary, nats: &Summary) -> Self {
        let ratio = |value: fn(&Summary) -> Option<f64>| {
            let ratio = value(tidings)? / value(nats)?;
            ratio.is_finite().then_some(ratio)
        };
        Self {
            delivered_per_second: ratio(|summary| Some(summary.delivered_per_second)),
            memory_peak: ratio(|summary| Some(summary.memory_peak_mib)),
            cpu_per_message: ratio(|summary| summary.cpu_micros),
            bystander_p50: ratio(|summary| summary.bystander_p50_ms),
            bystander_p99: ratio(|summary| summary.bystander_p99_ms),
            bystander_max: ratio(|summary| summary.bystander_max_ms),
            kib_per_idle_client: ratio(|summary| summary.kib_per_idle_client),
        }
    }
}

fn remarks(outcome: &Outcome) -> Vec<String> {
    let mut remarks = outcome.troubles.clone();
    let wrong = [
        ("duplicated", outcome.duplicated),
        ("disordered", outcome.disordered),
        ("delivered to others", outcome.misdelivered),
    ];
    for (what, count) in wrong {
        if count > 0 {
            remarks.push(format!("{count} {what}"));
        }
    }
    if let Some(slow) = &outcome.slow {
        let end = slow.cut_off.as_deref().unwrap_or("not cut off");
        let (delivered, lost) = (slow.delivered, slow.lost);
        remarks.push(format!(
            "slow one: {delivered} delivered, {lost} lost, {end}"
        ));
    }
    remarks
}

/// What the servers count as gone wrong, in all rounds together.
fn counted(rounds: &[Outcome]) -> Option<String> {
    let mut sum = Counters::new();
    for (name, count) in rounds.iter().flat_map(|round| &round.server_counts) {
        *sum.entry(name.clone()).or_default() += count;
    }
    let items: Vec<_> = sum
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    (!items.is_empty()).then(|| format!("server counts {}", items.join(", ")))
}

/// The middle one; of an even number the lower of the two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    percentile(&values, 50)
}

#[cfg(test)]
mod tests {
    use crate::latency::Latency;
    use crate::outcome::{Bystander, Slow};

    use super::*;

    fn round(lost: u64, rate: f64, max_ms: f64) -> Outcome {
        Outcome {
            delivered: 1_000_000,
            lost,
            delivered_per_second: rate,
            cpu_seconds: 2.0,
            memory_peak_kib: vec![1024, 4096],
            bystander: Bystander {
                latency: Some(Latency {
                    p50_ms: 1.0,
                    p99_ms: 2.0,
                    max_ms,
                }),
                ..Bystander::default()
            },
            ..Outcome::default()
        }
    }

    #[test]
    fn what_is_measured_is_a_median_and_what_is_counted_a_sum() {
        let rounds = [
            round(1, 10.0, 7.0),
            round(2, 90.0, 5.0),
            round(3, 20.0, 6.0),
        ];
        let summary = Summary::of(&rounds);
        assert_eq!((summary.lost, summary.delivered), (6, 3_000_000));
        assert_eq!(summary.delivered_per_second, 20.0);
        assert_eq!(summary.memory_peak_mib, 4.0);
        assert_eq!(summary.cpu_micros, Some(2.0));
        assert_eq!(summary.bystander_max_ms, Some(7.0));
    }

    #[test]
    fn a_ratio_of_nothing_is_none() {
        let some = Summary::of(&[round(0, 10.0, 7.0)]);
        let none = Summary::of(&[Outcome::default()]);
        let ratios = Ratios::of(&some, &Summary::of(&[round(0, 5.0, 7.0)]));
        assert_eq!(ratios.delivered_per_second, Some(2.0));
        let ratios = Ratios::of(&some, &none);
        assert_eq!(ratios.delivered_per_second, None);
        assert_eq!(ratios.bystander_p99, None);
    }

    #[test]
    fn remarks_say_what_went_wrong() {
        let mut outcome = round(0, 1.0, 1.0);
        assert!(remarks(&outcome).is_empty());
        outcome.duplicated = 2;
        outcome.slow = Some(Slow {
            delivered: 5,
            lost: 1,
            cut_off: None,
        });
        let expected = ["2 duplicated", "slow one: 5 delivered, 1 lost, not cut off"];
        assert_eq!(remarks(&outcome), expected);
    }

    #[test]
    fn what_servers_count_is_told_for_all_rounds_together() {
        let mut outcome = round(0, 1.0, 1.0);
        assert_eq!(counted(std::slice::from_ref(&outcome)), None);
        outcome.server_counts.insert("outbound_full".to_owned(), 3);
        let sum = counted(&[outcome.clone(), outcome]);
        assert_eq!(sum.as_deref(), Some("server counts outbound_full 6"));
    }
}
