use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::fault::Event;
use crate::note::Asking;
use crate::plan::{Plan, Timed};
use crate::seed;

/// A plan in which there are also servers that come and go, and questions to them, as is drawn from its
/// seed.
pub(super) fn with_services(mut plan: Plan) -> Plan {
    let random = &mut seed::stream(plan.seed, "services", &[]);
    let servers = random.random_range(2..=8);
    for server in 0..servers {
        let at = random.random_range(0.0..plan.chaos_s / 2.0);
        let host = random.random_range(0..plan.nodes);
        let own = topic(random);
        plan.event.push(Timed {
            at,
            event: Event::Serve {
                host,
                server,
                topic: match random.random_range(0..10) {
                    0 => "ask.*".into(),
                    _ => own.clone(),
                },
                queue: match random.random_range(0..4) {
                    0 => None,
                    1 => Some("other".into()),
                    _ => Some("servers".into()),
                },
                passes_to: None,
            },
        });
        if random.random_bool(0.5) {
            let at = random.random_range(at..plan.chaos_s);
            let dies = random.random_bool(0.4);
            plan.event.push(Timed {
                at,
                event: Event::Dismiss { host, server, dies },
            });
            // Before others can know of it.
            for _ in 0..random.random_range(0..4) {
                let at = at + random.random_range(0.0..0.01);
                ask(&mut plan, random, at, own.clone());
            }
        }
    }
    for _ in 0..random.random_range(5..40) {
        let at = random.random_range(0.0..plan.chaos_s);
        let topic = topic(random);
        ask(&mut plan, random, at, topic);
    }
    // Of one moment they stay in their order.
    plan.event.sort_by(|a, b| a.at.total_cmp(&b.at));
    plan
}

fn ask(plan: &mut Plan, random: &mut ChaCha8Rng, at: f64, topic: String) {
    let event = Event::Ask {
        host: random.random_range(0..plan.nodes),
        topic,
        within_ms: random.random_range(20..4_000),
        asking: match random.random_range(0..5) {
            0 => Asking::Gather,
            1 => Asking::Inbox,
            _ => Asking::Request,
        },
    };
    let at = at.min(plan.chaos_s);
    plan.event.push(Timed { at, event });
}

fn topic(random: &mut ChaCha8Rng) -> String {
    format!("ask.{}", random.random_range(0..2))
}
