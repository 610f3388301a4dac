use rand::Rng;

use crate::fault::Event;
use crate::plan::{Plan, Timed};
use crate::seed;

/// A plan in which agents also say other things of themselves now and then, as members of the topics of
/// these numbers, and nodes of the topics, which are drawn from its seed.
pub(super) fn with_updates(mut plan: Plan, topic: fn(usize) -> String) -> Plan {
    let random = &mut seed::stream(plan.seed, "what is said", &[]);
    for _ in 0..random.random_range(5..60) {
        let at = random.random_range(0.0..plan.chaos_s);
        // Often what is said already, or nothing, or as much as before.
        let metadata = match random.random_range(0..6) {
            0 => "{}".into(),
            5 => format!(r#"{{"does":"{}"}}"#, "x".repeat(400)),
            n => format!(r#"{{"does":{n}}}"#),
        };
        let event = Event::Update {
            host: random.random_range(0..plan.nodes),
            agent: random.random_range(0..2),
            pattern: topic(random.random_range(0..6)),
            metadata,
        };
        plan.event.push(Timed { at, event });
    }
    for n in 0..random.random_range(0..12) {
        let at = random.random_range(0.0..plan.chaos_s);
        let event = Event::Describe {
            host: random.random_range(0..plan.nodes),
            topic: topic(random.random_range(0..3)),
            description: match random.random_range(0..4) {
                0 => String::new(),
                _ => format!("what it was for the {n}th time"),
            },
        };
        plan.event.push(Timed { at, event });
    }
    plan.event.sort_by(|a, b| a.at.total_cmp(&b.at));
    plan
}
