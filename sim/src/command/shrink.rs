use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tidings_sim::draw;
use tidings_sim::plan::Plan;
use tidings_sim::shrink::Shrinking;

use crate::command::one;
use crate::report;

/// Make a failing run smaller: leave out events and nodes for as long as it still fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Shrink {
    /// The seed of the run that fails; of a scenario, by default, the one that it names.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes it has, unless a scenario says so.
    #[arg(long, default_value_t = 12)]
    nodes: usize,
    /// Let liars take part, also when the seed would have none.
    #[arg(long, conflicts_with = "scenario")]
    liars: bool,
    /// A scenario file, instead of faults drawn from the seed.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// How many runs to try at most.
    #[arg(long, default_value_t = 300)]
    runs_max: usize,
    /// Where to write the smallest plan that still fails.
    #[arg(long, default_value = "shrunk.toml")]
    to: PathBuf,
}

impl Shrink {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        let plan = match (&self.scenario, self.seed) {
            (Some(path), seed) => {
                let plan = Plan::parse(&fs::read_to_string(path)?)?;
                Plan {
                    seed: seed.unwrap_or(plan.seed),
                    ..plan
                }
            }
            (None, Some(seed)) if self.liars => draw::with_liars(draw::plan(seed, self.nodes)),
            (None, Some(seed)) => draw::plan(seed, self.nodes),
            (None, None) => bail!("give a --seed, or a --scenario"),
        };
        let seed = plan.seed;
        report::begin(
            "shrink",
            &[
                ("seed", seed.to_string()),
                ("nodes", plan.nodes.to_string()),
                ("liars", plan.liar.len().to_string()),
                ("runs-max", self.runs_max.to_string()),
                ("to", self.to.display().to_string()),
            ],
        );
        let shrinking = Shrinking::begin(one::runner(false)?, plan)
            .context("there is nothing to make smaller")?;
        println!("VIOLATION {}", shrinking.violation());
        let shrunk = shrinking.run(self.runs_max, |plan, runs| {
            println!(
                "after {runs} runs: {} nodes, {} events",
                plan.nodes,
                plan.event.len()
            );
        });
        fs::write(&self.to, shrunk.plan.to_toml())?;
        println!("VIOLATION {}", shrunk.violation);
        let again = format!("run --seed {seed} --scenario {}", self.to.display());
        report::end(shrunk.hash, &again);
        Ok(true)
    }
}
