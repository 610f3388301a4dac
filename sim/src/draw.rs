mod barriers;
mod liars;
mod listeners;
mod services;
mod streams;
mod updates;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use tidings::{Overflow, Scope};

use crate::conditions::Conditions;
use crate::fault::Event;
use crate::note::Reach;
use crate::plan::{Plan, Timed};
use crate::seed;

use barriers::with_barriers;
pub use liars::with_liars;
use listeners::with_listeners;
use services::with_services;
use streams::with_streams;
use updates::with_updates;

/// Draws a plan from a seed, swarm-wise: first which kinds of faults there are at all, then how
/// often each comes. Runs with few kinds find what others hide.
pub fn plan(number: u64, nodes: usize) -> Plan {
    let mut draw = Draw {
        random: seed::stream(number, "plan", &[]),
        nodes,
        events: Vec::new(),
    };
    let mut plan = draw.plan(number);
    // Chance of its own for each, so that a seed is the same otherwise.
    if seed::stream(number, "updates", &[]).random_bool(0.5) {
        plan = with_updates(plan, topic);
    }
    if seed::stream(number, "barrier", &[]).random_bool(0.4) {
        plan = with_barriers(plan, topic);
    }
    if seed::stream(number, "service", &[]).random_bool(0.4) {
        plan = with_services(plan);
    }
    if seed::stream(number, "replicas", &[]).random_bool(0.4) {
        plan = with_listeners(plan);
    }
    if seed::stream(number, "scopes", &[]).random_bool(0.3) {
        let other = Scope::parse("other").expect("it is the name of a scope");
        plan.scopes.push(other);
    }
    let mut assured = seed::stream(number, "assured", &[]);
    if assured.random_bool(0.5) {
        plan.assured = assured.random_range(0.2..0.8);
    }
    if seed::stream(number, "streams", &[]).random_bool(0.3) {
        plan = with_streams(plan);
    }
    let liars = seed::stream(number, "liars", &[]).random_bool(0.3);
    if liars { with_liars(plan) } else { plan }
}

/// How long the faults go on, in seconds.
const CHAOS_S: f64 = 16.0;

/// From here on agents are numbered that flood.
const FLOODING: usize = 100;

struct Draw {
    random: ChaCha8Rng,
    nodes: usize,
    events: Vec<Timed>,
}

impl Draw {
    fn plan(&mut self, number: u64) -> Plan {
        let network = Conditions {
            delay_ms: self.random.random_range(0.5..10.0),
            jitter_ms: self.random.random_range(0.5..10.0),
            ..Conditions::default()
        };
        let kinds: [fn(&mut Self, &Conditions); 12] = [
            Self::splits,
            Self::one_ways,
            Self::isolations,
            Self::swizzle_clog,
            Self::weather,
            Self::slow_paths,
            Self::small_mtu,
            Self::crashes,
            Self::leaves,
            Self::flapping,
            Self::freezes,
            Self::churn,
        ];
        for kind in kinds {
            if self.random.random_bool(0.35) {
                kind(self, &network);
            }
        }
        if self.random.random_bool(0.4) {
            self.slow_subscribers();
        }
        let mut plan = Plan {
            seed: number,
            nodes: self.nodes,
            agents: 2,
            rate: 2.0,
            network,
            chaos_s: CHAOS_S,
            detection: self.nodes > 1 && self.random.random_bool(0.5),
            mailbox_messages_max: *[4, 16, 64].choose(&mut self.random).unwrap_or(&16),
            overflow: *[
                Overflow::DropNewest,
                Overflow::DropOldest,
                Overflow::Disconnect,
            ]
            .choose(&mut self.random)
            .unwrap_or(&Overflow::DropNewest),
            ..Plan::default()
        };
        plan.clocks_off_s = (0..self.nodes)
            .map(|_| self.random.random_range(-20..20))
            .collect();
        if self.random.random_bool(0.1) {
            plan.expiring = self.some_hosts(2);
            plan.certificate_s = self.random.random_range(2.0..6.0);
            // By the clock of another host it would have expired before it began.
            plan.clocks_off_s = Vec::new();
            self.cut_off(&plan.expiring.clone());
        }
        if self.random.random_bool(0.2) {
            plan.down = self.some_hosts(self.nodes / 4);
        }
        if self.random.random_bool(0.1) {
            // Large enough to take several packets, and to fill a small queue.
            plan.payload_bytes = self.random.random_range(1_000..8_000);
            plan.payload_bytes_max = 10_000;
            plan.outbound_bytes_max = 65_536;
        }
        if self.random.random_bool(0.1) {
            // Short enough that a dead node is forgotten in a run.
            plan.dead_node_grace_s = 4.0;
        }
        if self.random.random_bool(0.25) {
            self.floods();
            if self.random.random_bool(0.5) {
                // As little as can be, so that the floods fill it.
                plan.waiting_bytes_max = 1 << 20;
            }
        }
        self.events.sort_by(|a, b| a.at.total_cmp(&b.at));
        plan.event = std::mem::take(&mut self.events);
        plan
    }

    fn splits(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(1..=2) {
            let sides = self.random.random_range(2..=4);
            let mut groups = vec![Vec::new(); sides];
            for host in 0..self.nodes {
                groups[self.random.random_range(0..sides)].push(host);
            }
            let at = self.at(Event::Split { groups });
            if self.random.random_bool(0.8) {
                self.later(at, Event::Heal);
            }
        }
    }

    fn one_ways(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(1..=4) {
            let (from, to) = (self.host(), self.host());
            let at = self.at(Event::OneWay { from, to });
            if self.random.random_bool(0.3) {
                self.later(at, Event::Heal);
            }
        }
    }

    fn isolations(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(1..=3) {
            let host = self.host();
            let at = self.at(Event::Isolate { host });
            self.later(at, Event::Rejoin { host });
        }
    }

    /// Cuts hosts off one after the other, and lets them come back in another order.
    fn swizzle_clog(&mut self, _: &Conditions) {
        let mut hosts = self.some_hosts(self.nodes / 2);
        let begin = self.random.random_range(0.0..CHAOS_S / 3.0);
        let step = self.random.random_range(0.05..0.5);
        let mut at = begin;
        for host in hosts.clone() {
            self.events.push(Timed {
                at,
                event: Event::Isolate { host },
            });
            at += step;
        }
        hosts.shuffle(&mut self.random);
        for host in hosts {
            self.events.push(Timed {
                at,
                event: Event::Rejoin { host },
            });
            at += step;
        }
    }

    fn weather(&mut self, usual: &Conditions) {
        for _ in 0..self.random.random_range(1..=3) {
            let mut conditions = usual.clone();
            if self.random.random_bool(0.5) {
                conditions.loss = self.random.random_range(0.0..0.1);
            }
            if self.random.random_bool(0.3) {
                conditions.burst = self.random.random_range(0.0..0.02);
            }
            if self.random.random_bool(0.3) {
                conditions.jitter_ms = self.random.random_range(0.0..100.0);
            }
            if self.random.random_bool(0.3) {
                conditions.duplicate = self.random.random_range(0.0..0.3);
            }
            let at = self.at(Event::Path {
                from: None,
                to: None,
                conditions,
            });
            let conditions = usual.clone();
            self.later(
                at,
                Event::Path {
                    from: None,
                    to: None,
                    conditions,
                },
            );
        }
    }

    fn slow_paths(&mut self, usual: &Conditions) {
        for _ in 0..self.random.random_range(1..=2) {
            let bytes_per_second = self.random.random_range(5_000..100_000);
            let conditions = Conditions {
                bytes_per_second,
                ..usual.clone()
            };
            let from = Some(self.host());
            let at = self.at(Event::Path {
                from,
                to: None,
                conditions,
            });
            self.later(
                at,
                Event::Path {
                    from,
                    to: None,
                    conditions: usual.clone(),
                },
            );
        }
    }

    fn small_mtu(&mut self, usual: &Conditions) {
        let fragments = self.random.random_bool(0.5);
        let mtu = self
            .random
            .random_range(if fragments { 576..1400 } else { 1200..1400 });
        let loss = if fragments { 0.02 } else { 0.0 };
        let conditions = Conditions {
            mtu,
            fragments,
            loss,
            ..usual.clone()
        };
        let from = self.random.random_bool(0.5).then(|| self.host());
        self.at(Event::Path {
            from,
            to: None,
            conditions,
        });
    }

    fn crashes(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(1..=1 + self.nodes / 4) {
            let host = self.host();
            let at = self.at(Event::Crash { host });
            if self.random.random_bool(0.7) {
                self.later(at, Event::Start { host });
            }
        }
    }

    fn leaves(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(1..=1 + self.nodes / 4) {
            let host = self.host();
            let at = self.at(Event::Leave { host });
            if self.random.random_bool(0.7) {
                self.later(at, Event::Start { host });
            }
        }
    }

    /// Crashes and starts one host several times.
    fn flapping(&mut self, _: &Conditions) {
        let host = self.host();
        let mut at = self.random.random_range(0.0..CHAOS_S / 2.0);
        for _ in 0..self.random.random_range(2..6) {
            self.events.push(Timed {
                at,
                event: Event::Crash { host },
            });
            at += self.random.random_range(0.01..0.5);
            self.events.push(Timed {
                at,
                event: Event::Start { host },
            });
            at += self.random.random_range(0.1..1.0);
        }
    }

    fn freezes(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(1..=2) {
            let host = self.host();
            let at = self.at(Event::Freeze { host });
            self.later(at, Event::Thaw { host });
        }
    }

    fn churn(&mut self, _: &Conditions) {
        for _ in 0..self.random.random_range(5..60) {
            let (host, agent) = (self.host(), self.random.random_range(0..2));
            let pattern = topic(self.random.random_range(0..6));
            let times = 1;
            if self.random.random_bool(0.1) {
                self.at(Event::Die { host, agent });
            } else if self.random.random_bool(0.5) {
                self.at(Event::Subscribe {
                    host,
                    agent,
                    pattern,
                    times,
                });
            } else {
                self.at(Event::Unsubscribe {
                    host,
                    agent,
                    pattern,
                    times,
                });
            }
        }
    }

    fn slow_subscribers(&mut self) {
        for _ in 0..self.random.random_range(1..=3) {
            let host = self.host();
            let at = self.at(Event::Pause { host, agent: 1 });
            if self.random.random_bool(0.5) {
                let topic = topic(self.random.random_range(0..6));
                let times = self.random.random_range(10..500);
                let bytes = self.random.random_range(0..2_000);
                let (reach, refused) = (Reach::All, false);
                let is_near = self.random.random_bool(0.5);
                let publish = Event::Publish {
                    host: if is_near { host } else { self.host() },
                    agent: 0,
                    topic,
                    times,
                    bytes,
                    reach,
                    refused,
                };
                self.later(at, publish);
            }
            self.later(at, Event::Resume { host, agent: 1 });
        }
    }

    /// Agents that publish as fast as they are let, in one direction or several.
    fn floods(&mut self) {
        for agent in 0..self.random.random_range(1..=3) {
            let flood = Event::Flood {
                host: self.host(),
                agent: FLOODING + agent,
                topic: topic(self.random.random_range(0..6)),
                // Not more than a link that reorders packets carries until the end.
                times: self.random.random_range(50..600),
                bytes: self.random.random_range(0..1_000),
            };
            self.at(flood);
        }
    }

    /// Cuts hosts off for so long that they lose their links.
    fn cut_off(&mut self, hosts: &[usize]) {
        for host in hosts.iter().copied() {
            let at = self.random.random_range(1.0..6.0);
            self.events.push(Timed {
                at,
                event: Event::Isolate { host },
            });
            self.events.push(Timed {
                at: at + 7.0,
                event: Event::Rejoin { host },
            });
        }
    }

    /// At any time.
    fn at(&mut self, event: Event) -> f64 {
        let at = self.random.random_range(0.0..CHAOS_S);
        self.events.push(Timed { at, event });
        at
    }

    /// At any time after that; mostly soon, and sometimes much later.
    fn later(&mut self, at: f64, event: Event) {
        let pause = if self.random.random_bool(0.5) {
            0.0..1.5
        } else {
            0.0..10.0
        };
        let at = (at + self.random.random_range(pause)).min(CHAOS_S);
        self.events.push(Timed { at, event });
    }

    fn host(&mut self) -> usize {
        self.random.random_range(0..self.nodes)
    }

    /// Up to so many, never all.
    fn some_hosts(&mut self, max: usize) -> Vec<usize> {
        let all: Vec<usize> = (0..self.nodes).collect();
        let max = max.min(self.nodes - 1);
        all.choose_multiple(&mut self.random, max)
            .copied()
            .collect()
    }
}

/// The name of one of the topics of a workload.
pub(crate) fn topic(number: usize) -> String {
    match number % 3 {
        0 => format!("work.{number}"),
        1 => format!("news:{number}"),
        _ => format!("topic{number}"),
    }
}
