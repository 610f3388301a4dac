//! One workload on one contender: starts it, loads it, and tells what came of it.

use std::net::TcpStream;
use std::path::Path;
use std::thread::{self, Scope, ScopedJoinHandle, sleep};
use std::time::Duration;

use anyhow::Result;

use crate::client::Client;
use crate::clock::Clock;
use crate::contender::Contender;
use crate::latency::Latency;
use crate::outcome::{Bystander, Outcome, Slow};
use crate::phase::Phase;
use crate::publisher::{Published, Publisher};
use crate::servers::{Servers, Usage};
use crate::site::Site;
use crate::subscriber::{Received, Subscriber};
use crate::workload::{Pace, Workload};

const BYSTANDER: u32 = u32::MAX;
const BYSTANDER_TOPIC: &str = "bystander";
const BYSTANDER_PAYLOAD_BYTES: usize = 64;

/// What all runs have in common.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) servers: &'a Servers,
    /// Where the servers' files are.
    pub(crate) dir: &'a Path,
    pub(crate) clock: Clock,
    /// How long is published.
    pub(crate) duration: Duration,
}

/// The clients of a run, connected and subscribed.
struct Clients {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    bystanders: (Publisher, Subscriber),
}

/// What the clients of a run have to tell.
struct Told {
    published: Vec<Published>,
    received: Vec<Received>,
    bystanders: (Published, Received),
    /// These live until the servers have been looked at.
    idle: Vec<TcpStream>,
}

/// Runs a workload on a contender.
pub(crate) fn run(
    workload: &Workload,
    contender: &Contender,
    setting: &Setting<'_>,
) -> Result<Outcome> {
    let site = Site::start(contender, setting.servers, workload.nodes, setting.dir)?;
    let clients = connect(workload, &site)?;
    let before = site.usage()?;
    let told = load(workload, clients, &site, setting)?;
    let after = site.usage()?;
    let mut outcome = judge(&told);
    outcome.memory_peak_kib = after.iter().map(|usage| usage.memory_peak_kib).collect();
    let cpu = |usages: &[Usage]| usages.iter().map(|usage| usage.cpu_seconds).sum::<f64>();
    outcome.cpu_seconds = cpu(&after) - cpu(&before);
    if !told.idle.is_empty() {
        let memory = |usages: &[Usage]| usages.iter().map(|usage| usage.memory_kib).sum::<u64>();
        let grown = memory(&after).saturating_sub(memory(&before));
        outcome.kib_per_idle_client = Some(grown as f64 / told.idle.len() as f64);
    }
    match site.counters() {
        Ok(counters) => outcome.server_counts = counters,
        Err(error) => outcome.troubles.push(format!("HTTP: {error:#}")),
    }
    Ok(outcome)
}

fn connect(workload: &Workload, site: &Site) -> Result<Clients> {
    let last = workload.nodes - 1;
    let mut subscribers = Vec::new();
    for subscriber in &workload.subscribers {
        let topic = &subscriber.place.topic;
        let client = Client::subscribe(site.client(subscriber.place.node), topic)?;
        let publishers = workload.publishers_of(topic);
        subscribers.push(Subscriber::new(client, publishers, subscriber.pace));
    }
    let client = Client::subscribe(site.client(last), BYSTANDER_TOPIC)?;
    let listener = Subscriber::new(client, vec![BYSTANDER], Pace::Full).with_latencies();
    let mut publishers = Vec::new();
    for (place, number) in workload.publishers.iter().zip(0..) {
        let client = Client::connect(site.client(place.node))?;
        let bytes = workload.payload_bytes;
        publishers.push(Publisher::new(client, number, &place.topic, bytes));
    }
    let client = Client::connect(site.client(0))?;
    let bytes = BYSTANDER_PAYLOAD_BYTES;
    let bystander = Publisher::new(client, BYSTANDER, BYSTANDER_TOPIC, bytes);
    Ok(Clients {
        publishers,
        subscribers,
        bystanders: (bystander, listener),
    })
}

fn load(workload: &Workload, clients: Clients, site: &Site, setting: &Setting<'_>) -> Result<Told> {
    let heard = |s: &crate::workload::Subscriber| workload.publishers_of(&s.place.topic).len();
    let ways = workload.subscribers.iter().map(heard).sum::<usize>() + 1;
    let phase = &Phase::new(setting.clock, ways);
    let duration = setting.duration;
    let (bystander, listener) = clients.bystanders;
    thread::scope(|scope| {
        let subscribers = start(scope, clients.subscribers, |subscriber| {
            subscriber.run(phase, |publishers| phase.sent_by(publishers))
        });
        let listener = start(scope, vec![listener], |listener| {
            listener.run(phase, |_| phase.bystander_sent.get().copied())
        });
        let bystander = start(scope, vec![bystander], |publisher| {
            publisher.stand_by(phase)
        });
        let publishers = start(scope, clients.publishers, |publisher| {
            publisher.flood(phase, duration)
        });
        let published: Vec<Published> = join(publishers);
        let messages = published.iter().map(|p| p.messages).collect();
        phase.published.set(messages).expect("set once");
        let idle = stay_idle(workload.idle, site, duration);
        let received = join(subscribers);
        phase.drain();
        let bystander = join(bystander).remove(0);
        let sent = phase.bystander_sent.set(bystander.messages);
        sent.expect("set once");
        let listener = join(listener).remove(0);
        Ok(Told {
            published,
            received,
            bystanders: (bystander, listener),
            idle: idle?,
        })
    })
}

/// Connects so many clients that do nothing, and gives the server time to come to rest.
fn stay_idle(count: usize, site: &Site, duration: Duration) -> Result<Vec<TcpStream>> {
    let subscribe = |n| Client::subscribe(site.client(0), &format!("idle.{n}"));
    let streams: Result<Vec<_>> = (0..count)
        .map(|n| Ok(subscribe(n)?.into_stream()))
        .collect();
    if count > 0 {
        sleep(duration);
    }
    streams
}

/// Each on a thread of its own, so that the system's scheduler is as fair to them as it is to
/// clients that are processes.
fn start<'scope, C: Send + 'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    clients: Vec<C>,
    run: impl FnOnce(C) -> R + Copy + Send + 'scope,
) -> Vec<ScopedJoinHandle<'scope, R>> {
    let start = |client| scope.spawn(move || run(client));
    clients.into_iter().map(start).collect()
}

fn join<R>(threads: Vec<ScopedJoinHandle<'_, R>>) -> Vec<R> {
    let result = |thread: ScopedJoinHandle<'_, R>| thread.join().expect("a client panicked");
    threads.into_iter().map(result).collect()
}

fn judge(told: &Told) -> Outcome {
    let mut outcome = Outcome::default();
    let started = told.published.iter().map(|p| p.started).min();
    let started = started.unwrap_or_default();
    let mut ended = Duration::ZERO;
    for published in &told.published {
        outcome.published += published.messages;
        ended = ended.max(published.ended);
        outcome.troubles.extend(published.trouble.clone());
    }
    let publishing = ended.saturating_sub(started).as_secs_f64();
    let mut payload_bytes = 0;
    for received in &told.received {
        outcome.duplicated += received.tally.duplicated;
        outcome.disordered += received.tally.disordered;
        outcome.misdelivered += received.tally.misdelivered;
        let delivered = received.tally.distinct;
        let lost = received.expected.saturating_sub(delivered);
        if received.pace != Pace::Full {
            outcome.slow = Some(Slow {
                delivered,
                lost,
                cut_off: received.cut_off.clone(),
            });
            continue;
        }
        outcome.delivered += delivered;
        outcome.lost += lost;
        payload_bytes += received.payload_bytes;
        ended = ended.max(received.last);
        if let Some(words) = &received.cut_off {
            outcome.cut_off += 1;
            outcome.troubles.push(format!("subscriber: {words}"));
        }
    }
    outcome.seconds = ended.saturating_sub(started).as_secs_f64();
    let rate = |count: u64, seconds: f64| {
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    outcome.published_per_second = rate(outcome.published, publishing);
    outcome.delivered_per_second = rate(outcome.delivered, outcome.seconds);
    outcome.megabytes_per_second = rate(payload_bytes, outcome.seconds) / 1e6;
    let alone = told.published.is_empty();
    let (published, received) = &told.bystanders;
    let trouble = published.trouble.iter().map(|t| format!("bystander's {t}"));
    outcome.troubles.extend(trouble);
    let words = received.cut_off.iter();
    let words = words.map(|words| format!("bystander's subscriber: {words}"));
    outcome.troubles.extend(words);
    // It goes on while lost messages are waited for, which is no load.
    let under_load = received.latencies.iter();
    let under_load = under_load.filter(|transit| alone || transit.sent < ended);
    outcome.bystander = Bystander {
        sent: published.messages,
        lost: published.messages.saturating_sub(received.tally.distinct),
        latency: Latency::of(under_load.map(|transit| transit.took).collect()),
    };
    outcome
}
