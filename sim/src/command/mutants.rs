use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tidings_sim::mutant::{Mutant, Workshop};

use crate::command::swarm::parse_seconds;
use crate::report;

/// Plant bugs in a copy of the source, one after the other, and see whether each is found.
#[derive(Debug, clap::Args)]
pub(crate) struct Mutants {
    /// The directory of the workspace.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// The directory of the bugs.
    #[arg(long, default_value = "sim/mutations")]
    dir: PathBuf,
    /// Only those whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// How many runs of a bug's batch there are at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begin with the bug of this number, in the order of names; after the last comes the first.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Plant none any more after this time; all, unless given.
    #[arg(long, value_parser = parse_seconds)]
    budget: Option<Duration>,
}

impl Mutants {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        report::begin(
            "mutants",
            &[
                ("workspace", self.workspace.display().to_string()),
                ("dir", self.dir.display().to_string()),
                ("only", self.only.clone().unwrap_or("-".into())),
                ("jobs", self.jobs.to_string()),
                ("first", self.first.to_string()),
                ("budget", format!("{:?}", self.budget)),
            ],
        );
        let mut mutants = Mutant::load_all(&self.dir)?;
        mutants.retain(|m| {
            self.only
                .as_ref()
                .is_none_or(|only| m.name.contains(only.as_str()))
        });
        let workshop = Workshop::prepare(&self.workspace).context("cannot copy the workspace")?;
        if mutants.is_empty() {
            bail!("there is no such bug");
        }
        let first = self.first % mutants.len();
        mutants.rotate_left(first);
        #[expect(
            clippy::disallowed_methods,
            reason = "the budget is in the time of whoever waits"
        )]
        let begun = Instant::now();
        let (mut planted, mut survived) = (0, 0);
        for mutant in &mutants {
            if self.budget.is_some_and(|budget| begun.elapsed() > budget) {
                break;
            }
            planted += 1;
            let found = workshop
                .hunt(mutant, self.jobs)
                .with_context(|| mutant.name.clone())?;
            match found {
                Some(found) => println!("found    {}: {found}", mutant.name),
                None => {
                    survived += 1;
                    println!("SURVIVED {}: {}", mutant.name, mutant.bug);
                }
            }
        }
        let left_out = mutants.len() - planted;
        println!("{planted} bugs planted, {survived} not found, {left_out} left for another time");
        Ok(survived == 0)
    }
}
