use std::path::PathBuf;

use anyhow::{Context, bail};
use tidings_sim::mutant::{Mutant, Workshop};

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
        let mut survived = 0;
        for mutant in &mutants {
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
        println!("{} bugs planted, {survived} not found", mutants.len());
        Ok(survived == 0)
    }
}
