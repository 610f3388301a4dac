//! Nodes are asked to explain topics: now and then while things go wrong, which must do no harm, and at the
//! end, when all of them see the same and say so.

use std::time::Duration;

use rand::Rng;
use tidings::{Explanation, Pattern, Scope, Testimony};

use crate::draw;
use crate::name;
use crate::world::World;

impl World {
    /// Lets some node explain a topic, whatever comes of it.
    pub(crate) fn explain_something(&mut self) {
        let host = self.random.random_range(0..self.hosts.len());
        let (scope, pattern) = self.something_to_explain();
        let own = &self.hosts[host];
        let Some(run) = own.run().filter(|_| !own.is_frozen()) else {
            return;
        };
        let explaining = run.node.explain(scope, pattern, LIMIT);
        run.life.spawn(async move {
            drop(explaining.await);
        });
    }

    /// Each node explains a topic: all others see what it sees, and messages find a link to all of them.
    pub(crate) async fn explain_to_the_end(&mut self) {
        for host in 0..self.hosts.len() {
            let (scope, pattern) = self.something_to_explain();
            let Some(run) = self.hosts[host].run() else {
                continue;
            };
            let explaining = run.node.explain(scope, pattern.clone(), LIMIT);
            let explained = explaining.await;
            let running: Vec<_> = self
                .site
                .journal
                .truth(|truth| truth.running().map(|(other, _)| other).collect());
            let others = running.into_iter().filter(|other| *other != host);
            if let Some(wrong) = others
                .filter_map(|other| wrong_about(&explained, other))
                .next()
            {
                let text = format!("explanation: of {pattern}, host {host} {wrong}");
                return self.site.journal.violate(text);
            }
        }
    }

    fn something_to_explain(&mut self) -> (Scope, Pattern) {
        let plan = &self.site.plan;
        let scope = plan.scopes[self.random.random_range(0..plan.scopes.len())].clone();
        let topic = draw::topic(self.random.random_range(0..plan.topics.max(1)));
        (
            scope,
            topic.parse().expect("topics of the workload are patterns"),
        )
    }
}

/// What is not as it must be once all views are the truth.
fn wrong_about(explained: &Explanation, other: usize) -> Option<String> {
    let name = name::of(other);
    let says = explained.others.iter().find(|one| one.run.node == name);
    match says.map(|one| &one.says) {
        Some(Testimony::Same) => {}
        says => return Some(format!("is told by host {other}: {says:?}")),
    }
    let of_node = |node: &&tidings::ExplainedNode| node.node.run.node == name;
    let node = explained.nodes.iter().find(of_node)?;
    let link = node.link.as_ref().and_then(|link| link.up.as_ref());
    // Of very many nodes not all have said something themselves yet.
    let is_known = node.version.is_some() && node.age.is_some();
    let is_well = is_known && link.is_some_and(|up| up.incarnation == node.node.run.incarnation);
    (!is_well).then(|| format!("knows host {other} as {node:?}"))
}

const LIMIT: Duration = Duration::from_secs(5);
