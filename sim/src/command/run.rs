use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use tidings_sim::plan::Plan;
use tidings_sim::runner::Ran;
use tidings_sim::{draw, timeline};

use crate::command::one;
use crate::report;

/// Run one cluster, with the faults of a seed or of a scenario.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The seed of all chance; of a scenario, by default, the one that it names.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes the cluster has, unless a scenario says so.
    #[arg(long, default_value_t = 12)]
    nodes: usize,
    /// Let liars take part, also when the seed would have none.
    #[arg(long, conflicts_with = "scenario")]
    liars: bool,
    /// A scenario file, instead of faults drawn from the seed.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Run it twice, and fail if anything at all was different.
    #[arg(long)]
    check_determinism: bool,
    /// Write the trace, a timeline for the browser and the plan into this directory.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write the log of all nodes to the standard error, as RUST_LOG says.
    #[arg(long)]
    log: bool,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        let plan = self.plan()?;
        let seed = plan.seed;
        let path = |path: &Option<PathBuf>| {
            path.as_ref()
                .map_or("-".to_owned(), |path| path.display().to_string())
        };
        report::begin(
            "run",
            &[
                ("seed", seed.to_string()),
                ("nodes", plan.nodes.to_string()),
                ("liars", self.liars.to_string()),
                ("scenario", path(&self.scenario)),
                ("check-determinism", self.check_determinism.to_string()),
                ("out", path(&self.out)),
                ("log", self.log.to_string()),
            ],
        );
        let runner = one::runner(self.log)?;
        let keep_lines = self.out.is_some() || self.check_determinism;
        let ran = runner.run(seed, &plan, keep_lines)?;
        report::outcome(&ran);
        let mut is_well = ran.outcome.violation.is_none();
        if self.check_determinism {
            let again = one::runner(false)?.run(seed, &plan, true)?;
            let hashes = (ran.outcome.hash, again.outcome.hash);
            println!(
                "first trace={:016x} second trace={:016x}",
                hashes.0, hashes.1
            );
            if hashes.0 != hashes.1 {
                println!("VIOLATION determinism: two runs of the same seed differ");
                tell_first_difference(&ran, &again)?;
                is_well = false;
            }
        }
        if let Some(out) = &self.out {
            write(out, &plan, &ran)?;
        }
        let again = match &self.scenario {
            Some(scenario) => format!("run --seed {seed} --scenario {}", scenario.display()),
            None => {
                let liars = one::liars(self.liars);
                format!("run --seed {seed} --nodes {}{liars}", plan.nodes)
            }
        };
        report::end(ran.outcome.hash, &again);
        Ok(is_well)
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let Some(path) = &self.scenario else {
            let seed = self.seed.context("give a --seed, or a --scenario")?;
            let plan = draw::plan(seed, self.nodes);
            return Ok(if self.liars {
                draw::with_liars(plan)
            } else {
                plan
            });
        };
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let plan = Plan::parse(&text).with_context(|| path.display().to_string())?;
        Ok(Plan {
            seed: self.seed.unwrap_or(plan.seed),
            ..plan
        })
    }
}

fn tell_first_difference(first: &Ran, second: &Ran) -> anyhow::Result<()> {
    let pairs = first.outcome.lines.iter().zip(&second.outcome.lines);
    for (number, (one, other)) in pairs.enumerate() {
        let (one, other) = (serde_json::to_string(one)?, serde_json::to_string(other)?);
        if one != other {
            println!("line {number} of the trace:\n  {one}\n  {other}");
            return Ok(());
        }
    }
    println!("only on the wire, or one is longer than the other");
    Ok(())
}

fn write(out: &PathBuf, plan: &Plan, ran: &Ran) -> anyhow::Result<()> {
    fs::create_dir_all(out)?;
    let mut trace = String::new();
    for line in &ran.outcome.lines {
        trace.push_str(&serde_json::to_string(line)?);
        trace.push('\n');
    }
    fs::write(out.join("trace.jsonl"), trace)?;
    fs::write(out.join("plan.toml"), plan.to_toml())?;
    fs::write(
        out.join("timeline.html"),
        timeline::html(plan, &ran.outcome),
    )?;
    println!(
        "wrote trace.jsonl, plan.toml and timeline.html to {}",
        out.display()
    );
    Ok(())
}
