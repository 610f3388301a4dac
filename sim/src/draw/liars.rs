use rand::Rng;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::fault::Event;
use crate::lie::{Liar, Lie};
use crate::plan::Plan;
use crate::seed;

/// A plan with liars, which are drawn from its seed, in place of those that it has.
pub fn with_liars(mut plan: Plan) -> Plan {
    let random = &mut seed::stream(plan.seed, "lies", &[]);
    plan.liar = (0..random.random_range(1..=2))
        .map(|_| liar(random))
        .collect();
    for timed in &mut plan.event {
        let Event::Split { groups } = &mut timed.event else {
            continue;
        };
        groups
            .iter_mut()
            .for_each(|group| group.retain(|host| *host < plan.nodes));
        for host in plan.nodes..plan.nodes + plan.liar.len() {
            if let Some(group) = groups.choose_mut(random) {
                group.push(host);
            }
        }
    }
    plan
}

/// One that lies in few ways or in many. Whoever lies only in ways that are not noticed keeps its links.
fn liar(random: &mut ChaCha8Rng) -> Liar {
    let count = random.random_range(1..=5);
    let mut lies: Vec<Lie> = Lie::ALL.choose_multiple(random, count).copied().collect();
    lies.sort();
    Liar {
        rate: random.random_range(2.0..50.0),
        lying: random.random_range(0.1..0.9),
        lies,
        persists: random.random_bool(0.5),
    }
}
