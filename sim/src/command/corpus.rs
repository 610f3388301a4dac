use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tidings_sim::plan::Plan;

use crate::command::one;
use crate::report;

/// Run all scenarios of a directory, each twice: the promises, and what once failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Corpus {
    /// The directory.
    #[arg(long, default_value = "sim/scenarios")]
    dir: PathBuf,
    /// Run each only once, without a look at whether it is repeatable.
    #[arg(long)]
    once: bool,
}

impl Corpus {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        let options = [
            ("dir", self.dir.display().to_string()),
            ("once", self.once.to_string()),
        ];
        report::begin("corpus", &options);
        let listed = fs::read_dir(&self.dir).with_context(|| self.dir.display().to_string())?;
        let mut paths: Vec<PathBuf> = listed
            .map(|entry| Ok(entry?.path()))
            .collect::<anyhow::Result<_>>()?;
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        });
        paths.sort();
        if paths.is_empty() {
            bail!("there is no scenario in {}", self.dir.display());
        }
        let (mut hash, mut failed, mut cpu) = (0_u64, 0, Duration::ZERO);
        let runner = one::runner(false)?;
        for path in &paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let plan = Plan::parse(&fs::read_to_string(path)?).with_context(|| name.to_string())?;
            let ran = runner
                .run(plan.seed, &plan, false)
                .with_context(|| name.to_string())?;
            cpu += ran.cpu;
            let outcome = ran.outcome;
            hash = hash.wrapping_add(outcome.hash);
            let mut violation = outcome.violation;
            if !self.once {
                let again = runner.run(plan.seed, &plan, false)?;
                if again.outcome.hash != outcome.hash {
                    violation = Some("determinism: two runs of the same seed differ".into());
                }
            }
            match violation {
                None => println!("ok     {name}"),
                Some(violation) => {
                    failed += 1;
                    println!("FAILED {name}: {violation}");
                }
            }
        }
        println!(
            "{} scenarios, {failed} failed; {:.1} s of CPU",
            paths.len(),
            cpu.as_secs_f64()
        );
        report::end(hash, &format!("corpus --dir {}", self.dir.display()));
        Ok(failed == 0)
    }
}
