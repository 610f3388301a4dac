use anyhow::anyhow;

use crate::fault::Event;
use crate::lie::Liar;
use crate::plan::Plan;
use crate::runner::Runner;

/// A run that fails, on its way to the smallest that fails in the same way.
#[derive(Debug)]
pub struct Shrinking {
    runner: Runner,
    /// The smallest plan so far.
    best: Shrunk,
    runs: usize,
}

/// A plan that fails.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// In what way it fails.
    pub violation: String,
    /// The hash of its trace.
    pub hash: u64,
}

impl Shrinking {
    /// Begins with this plan.
    ///
    /// # Errors
    /// When it does not fail.
    pub fn begin(runner: Runner, plan: Plan) -> anyhow::Result<Self> {
        let best = fails(&runner, plan).ok_or(anyhow!("the run does not fail"))?;
        Ok(Self {
            runner,
            best,
            runs: 1,
        })
    }

    /// In what way it fails.
    pub fn violation(&self) -> &str {
        &self.best.violation
    }

    /// Leaves out what it can: halves of the events first, then quarters and so on down to single
    /// ones, then (unless something is expected of the view of certain nodes) nodes from the last, again and again until nothing more can be left out, or that
    /// many runs were made. Tells of each step that succeeds.
    pub fn run(mut self, runs_max: usize, mut smaller: impl FnMut(&Plan, usize)) -> Shrunk {
        loop {
            let before = self.best.plan.clone();
            let mut size = self.best.plan.event.len().div_ceil(2);
            while size > 0 && self.runs < runs_max {
                let mut at = 0;
                while at < self.best.plan.event.len() && self.runs < runs_max {
                    let mut plan = self.best.plan.clone();
                    let end = (at + size).min(plan.event.len());
                    plan.event.drain(at..end);
                    if self.accept(plan) {
                        smaller(&self.best.plan, self.runs);
                    } else {
                        at += size;
                    }
                }
                size /= 2;
            }
            for liar in without_a_lie(&self.best.plan.liar) {
                let plan = Plan {
                    liar,
                    ..self.best.plan.clone()
                };
                if self.runs < runs_max && self.accept(plan) {
                    smaller(&self.best.plan, self.runs);
                    break;
                }
            }
            let has_expectations = before
                .event
                .iter()
                .any(|timed| timed.event.is_expectation());
            while !has_expectations && self.best.plan.nodes > 1 && self.runs < runs_max {
                if !self.accept(without_last_node(&self.best.plan)) {
                    break;
                }
                smaller(&self.best.plan, self.runs);
            }
            if self.best.plan == before || self.runs >= runs_max {
                return self.best;
            }
        }
    }

    /// Takes a plan if it fails by the same invariant.
    fn accept(&mut self, plan: Plan) -> bool {
        self.runs += 1;
        let found = fails(&self.runner, plan)
            .filter(|found| invariant(&found.violation) == invariant(&self.best.violation));
        let is_accepted = found.is_some();
        self.best = found.unwrap_or_else(|| self.best.clone());
        is_accepted
    }
}

/// All ways to have one lie or liar less. Liars are numbered, so only the last one goes.
fn without_a_lie(liars: &[Liar]) -> Vec<Vec<Liar>> {
    let mut fewer = Vec::new();
    if let Some((_, others)) = liars.split_last() {
        fewer.push(others.to_vec());
    }
    for (number, liar) in liars.iter().enumerate() {
        for lie in 0..liar.lies.len() {
            let mut liars = liars.to_vec();
            liars[number].lies.remove(lie);
            if !liars[number].lies.is_empty() {
                fewer.push(liars);
            }
        }
    }
    fewer
}

fn without_last_node(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.nodes -= 1;
    let nodes = plan.nodes;
    plan.event.retain_mut(|timed| match &mut timed.event {
        Event::Split { groups } => {
            // Liars come after the last one.
            for group in groups {
                group.retain(|host| *host != nodes);
                let later = group.iter_mut().filter(|host| **host > nodes);
                later.for_each(|host| *host -= 1);
            }
            true
        }
        event => event.hosts().iter().all(|host| *host < nodes),
    });
    plan.down.retain(|host| *host < nodes);
    plan.expiring.retain(|host| *host < nodes);
    plan.clocks_off_s.truncate(nodes);
    plan
}

fn fails(runner: &Runner, plan: Plan) -> Option<Shrunk> {
    let (violation, hash) = match runner.run(plan.seed, &plan, false) {
        Ok(ran) => (ran.outcome.violation?, ran.outcome.hash),
        Err(error) => (format!("{error:#}"), 0),
    };
    Some(Shrunk {
        plan,
        violation,
        hash,
    })
}

/// A violation begins with the name of the invariant.
fn invariant(violation: &str) -> &str {
    violation.split(':').next().unwrap_or_default()
}
