use rand::Rng;

use crate::fault::Event;
use crate::plan::{Plan, Timed};
use crate::seed;

/// A plan in which agents also wait until what they subscribe to is everywhere, as is drawn from its seed:
/// to topics of these numbers.
pub(super) fn with_barriers(mut plan: Plan, topic: fn(usize) -> String) -> Plan {
    let random = &mut seed::stream(plan.seed, "barriers", &[]);
    for _ in 0..random.random_range(3..20) {
        let at = random.random_range(0.0..plan.chaos_s);
        let (host, agent) = (
            random.random_range(0..plan.nodes),
            random.random_range(0..2),
        );
        let pattern = match random.random_range(0..8) {
            0 => ">".into(),
            _ => topic(random.random_range(0..plan.topics)),
        };
        let within_s = random.random_range(0.05..6.0);
        let events = [
            Event::Subscribe {
                host,
                agent,
                pattern,
                times: 1,
            },
            Event::Everywhere {
                host,
                agent,
                within_s,
            },
        ];
        let timed = events.map(|event| Timed { at, event });
        plan.event.extend(timed);
    }
    // Of one moment they stay in their order.
    plan.event.sort_by(|a, b| a.at.total_cmp(&b.at));
    plan
}
