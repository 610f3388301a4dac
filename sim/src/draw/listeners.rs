use rand::Rng;

use crate::fault::Event;
use crate::plan::{Plan, Timed};
use crate::replica::CHANGING;
use crate::seed;

/// A plan in which there are also replicas with clients that listen, and resources that change, as is drawn
/// from its seed.
pub(super) fn with_listeners(mut plan: Plan) -> Plan {
    let random = &mut seed::stream(plan.seed, "listeners", &[]);
    for _ in 0..random.random_range(2..=5) {
        let at = random.random_range(0.0..plan.chaos_s / 2.0);
        let host = random.random_range(0..plan.nodes);
        plan.event.push(Timed {
            at,
            event: Event::Listen { host },
        });
    }
    for _ in 0..random.random_range(3..60) {
        let at = random.random_range(0.0..plan.chaos_s);
        let host = random.random_range(0..plan.nodes);
        let resource = random.random_range(0..CHANGING);
        plan.event.push(Timed {
            at,
            event: Event::Change { host, resource },
        });
    }
    // Of one moment they stay in their order.
    plan.event.sort_by(|a, b| a.at.total_cmp(&b.at));
    plan
}
