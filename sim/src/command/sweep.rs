use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use tidings_sim::conditions::Conditions;
use tidings_sim::plan::Plan;
use tidings_sim::plot::{self, Series};

use crate::command::one;
use crate::report;

/// Measure clusters of several sizes under several rates of loss.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// The sizes.
    #[arg(long, value_delimiter = ',', default_value = "10,20,50,100")]
    nodes: Vec<usize>,
    /// Parts of all packets that are lost, in percent.
    #[arg(long, value_delimiter = ',', default_value = "0,1,5")]
    loss: Vec<f64>,
    /// The seed of all chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seconds each cluster is watched, once it has formed.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Where to draw the convergence times.
    #[arg(long, default_value = "sweep.svg")]
    to: PathBuf,
}

impl Sweep {
    pub(crate) fn run(self) -> anyhow::Result<bool> {
        report::begin(
            "sweep",
            &[
                ("nodes", format!("{:?}", self.nodes)),
                ("loss", format!("{:?}", self.loss)),
                ("seed", self.seed.to_string()),
                ("seconds", self.seconds.to_string()),
                ("to", self.to.display().to_string()),
            ],
        );
        println!(
            "| nodes | loss % | all found each other, s | split healed, s | taken for dead | bytes \
             a second and node |"
        );
        println!("|--:|--:|--:|--:|--:|--:|");
        let runner = one::runner(false)?;
        let (mut series, mut is_well, mut hash) = (Vec::new(), true, 0_u64);
        for loss in &self.loss {
            let mut points = Vec::new();
            for nodes in &self.nodes {
                let plan = self.plan(*nodes, *loss);
                let ran = runner.run(self.seed, &plan, false)?;
                let outcome = ran.outcome;
                hash = hash.wrapping_add(outcome.hash);
                if let Some(violation) = &outcome.violation {
                    println!("VIOLATION {nodes} nodes, {loss} %: {violation}");
                    is_well = false;
                    continue;
                }
                let seconds = |time: Option<std::time::Duration>| {
                    time.map_or("-".into(), |time| format!("{:.2}", time.as_secs_f64()))
                };
                let bytes =
                    outcome.traffic.bytes as f64 / outcome.simulated.as_secs_f64() / *nodes as f64;
                println!(
                    "| {nodes} | {loss} | {} | {} | {} | {bytes:.0} |",
                    seconds(outcome.booted_after),
                    seconds(outcome.healed_after),
                    outcome.false_deaths_uncut,
                );
                let healed = outcome
                    .healed_after
                    .context("a run without violation healed")?;
                points.push((*nodes as f64, healed.as_secs_f64()));
            }
            series.push(Series {
                name: format!("{loss} % loss"),
                points,
            });
        }
        let plot = plot::svg(
            "Time until all views agree after a split",
            "nodes",
            "s",
            &series,
        );
        fs::write(&self.to, plot)?;
        let join = |numbers: Vec<String>| numbers.join(",");
        let again = format!(
            "sweep --nodes {} --loss {} --seed {}",
            join(self.nodes.iter().map(ToString::to_string).collect()),
            join(self.loss.iter().map(ToString::to_string).collect()),
            self.seed
        );
        report::end(hash, &again);
        Ok(is_well)
    }

    /// A while of ordinary work, then a split in two halves, which ends with the chaos.
    fn plan(&self, nodes: usize, loss_percent: f64) -> Plan {
        use tidings_sim::fault::Event;
        use tidings_sim::plan::Timed;
        const SPLIT_S: f64 = 5.0;
        let half: Vec<usize> = (0..nodes / 2).collect();
        Plan {
            seed: self.seed,
            nodes,
            agents: 1,
            rate: 1.0,
            network: Conditions {
                loss: loss_percent / 100.0,
                ..Conditions::default()
            },
            chaos_s: self.seconds + SPLIT_S,
            event: vec![Timed {
                at: self.seconds,
                event: Event::Split { groups: vec![half] },
            }],
            lossy_quiet: loss_percent > 0.0,
            ..Plan::default()
        }
    }
}
