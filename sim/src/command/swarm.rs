use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, bail};
use tidings_sim::draw;
use tidings_sim::sometimes::Sometimes;
use tidings_sim::swarm::{self, Batch};

use crate::command::one;
use crate::report;

/// Run a cluster for each of many seeds.
#[derive(Debug, clap::Args)]
pub(crate) struct Swarm {
    /// The seeds, as `first..end`; the end is not among them.
    #[arg(long, value_parser = parse_range)]
    seeds: Range<u64>,
    /// How many nodes each cluster has.
    #[arg(long, default_value_t = 12)]
    nodes: usize,
    /// How many run at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin no further run after this time.
    #[arg(long, value_parser = parse_seconds)]
    budget: Option<Duration>,
    /// Stop at the first violation of one of these invariants, with commas between them.
    #[arg(long, value_delimiter = ',')]
    until: Vec<String>,
    /// Let liars take part in every run, not only in some.
    #[arg(long)]
    liars: bool,
    /// Fail if a rare situation never occurred, which takes some hundred seeds.
    #[arg(long)]
    require_situations: bool,
}

impl Swarm {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        report::begin(
            "swarm",
            &[
                ("seeds", format!("{}..{}", self.seeds.start, self.seeds.end)),
                ("nodes", self.nodes.to_string()),
                ("jobs", self.jobs.to_string()),
                ("budget", format!("{:?}", self.budget)),
                ("until", self.until.join(",")),
                ("liars", self.liars.to_string()),
                ("require-situations", self.require_situations.to_string()),
            ],
        );
        let nodes = self.nodes;
        let batch = Batch {
            seeds: self.seeds.clone(),
            jobs: self.jobs,
            budget: self.budget,
            until: self.until.clone(),
        };
        let (mut sometimes, mut hash) = (Sometimes::default(), 0_u64);
        let (mut cpu, mut simulated) = (Duration::ZERO, Duration::ZERO);
        let (mut runs, mut failed, mut healed) = (0, 0, Vec::new());
        let runner = one::runner(false)?;
        swarm::run(
            &runner,
            &batch,
            |seed| {
                let plan = draw::plan(seed, nodes);
                if self.liars {
                    draw::with_liars(plan)
                } else {
                    plan
                }
            },
            |seed, result| {
                runs += 1;
                match result {
                    Ok(ran) => {
                        let outcome = &ran.outcome;
                        sometimes.merge(&outcome.sometimes);
                        // In whatever order they end, the sum is the same.
                        hash = hash.wrapping_add(outcome.hash);
                        cpu += ran.cpu;
                        simulated += outcome.simulated;
                        healed.extend(outcome.healed_after);
                        if let Some(violation) = &outcome.violation {
                            failed += 1;
                            println!("seed {seed}: VIOLATION {violation}");
                        }
                    }
                    Err(error) => {
                        failed += 1;
                        println!("seed {seed}: VIOLATION {error:#}");
                    }
                }
            },
        );
        healed.sort();
        println!(
            "{runs} runs, {failed} failed; {:.1} simulated hours in {:.1} CPU minutes, {:.0} minutes \
             a minute",
            simulated.as_secs_f64() / 3600.0,
            cpu.as_secs_f64() / 60.0,
            simulated.as_secs_f64() / cpu.as_secs_f64().max(0.001),
        );
        if let (Some(longest), Some(median)) = (healed.last(), healed.get(healed.len() / 2)) {
            println!("views were the truth after {median:?} (median), {longest:?} (longest)");
        }
        for (situation, times) in sometimes.iter() {
            println!("{times:8} {situation}");
        }
        let never = sometimes.never();
        let lacks = self.require_situations && !never.is_empty();
        if lacks {
            println!("VIOLATION never occurred: {}", never.join(", "));
        }
        let Range { start, end } = self.seeds;
        report::end(
            hash,
            &format!(
                "swarm --seeds {start}..{end} --nodes {nodes}{}",
                one::liars(self.liars)
            ),
        );
        Ok(failed == 0 && !lacks)
    }
}

pub(crate) fn parse_range(text: &str) -> anyhow::Result<Range<u64>> {
    let (start, end) = text
        .split_once("..")
        .context("seeds are given as first..end")?;
    let range = start.parse()?..end.parse()?;
    if range.is_empty() {
        bail!("there are no seeds in {text}");
    }
    Ok(range)
}

pub(super) fn parse_seconds(text: &str) -> anyhow::Result<Duration> {
    let seconds: u64 = text
        .trim_end_matches('s')
        .parse()
        .context("seconds, as in 150s")?;
    Ok(Duration::from_secs(seconds))
}
