use rand::Rng;

use crate::fault::Event;
use crate::note::Finish;
use crate::plan::{Plan, Timed};
use crate::seed;

/// A plan in which there are also streams that are written and followed, as is drawn from its seed.
pub(super) fn with_streams(mut plan: Plan) -> Plan {
    let random = &mut seed::stream(plan.seed, "streaming", &[]);
    for stream in 0..random.random_range(1..=5) {
        let at = random.random_range(0.0..plan.chaos_s * 0.8);
        let (chunks, pause_ms) = match random.random_range(0..3) {
            // All at once, more than an answer takes.
            0 => (random.random_range(0..8_000), 0),
            _ => (random.random_range(1..300), random.random_range(1..100)),
        };
        plan.event.push(Timed {
            at,
            event: Event::Write {
                host: random.random_range(0..plan.nodes),
                stream,
                chunks,
                pause_ms,
                finish: match random.random_range(0..4) {
                    0 => Finish::Fail,
                    1 => Finish::Drop,
                    _ => Finish::Finish,
                },
            },
        });
        for _ in 0..random.random_range(1..6) {
            let later = at + random.random_range(0.0..4.0);
            plan.event.push(Timed {
                at: later.min(plan.chaos_s),
                event: Event::Follow {
                    host: random.random_range(0..plan.nodes),
                    stream,
                    from: match random.random_range(0..4) {
                        0 => random.random_range(0..400),
                        _ => 0,
                    },
                    pause_ms: match random.random_range(0..4) {
                        0 => random.random_range(1..50),
                        _ => 0,
                    },
                },
            });
        }
    }
    // Of one moment they stay in their order.
    plan.event.sort_by(|a, b| a.at.total_cmp(&b.at));
    plan
}
