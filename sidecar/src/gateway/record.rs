use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tidings::{Observer, Scope};
use tokio::time::Instant;

use super::connect_options::ConnectOptions;

/// What is known of one connection of a client. Its task alone writes the counts, so each is a store and
/// no more; others read them at any time, one by one.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    started: Instant,
    /// Since the Unix epoch.
    started_unix: Duration,
    /// Set once its session is open.
    agent: OnceLock<Agent>,
    pub(super) traffic: Traffic,
    subscriptions: AtomicUsize,
    /// What waits to be written.
    out_bytes: AtomicUsize,
    /// When something last happened, in milliseconds after it started.
    active_ms: AtomicU64,
    /// The last round trip in microseconds, and 1; 0 if none is known.
    round_trip_us: AtomicU64,
    /// Whether there is something to tell the client, or to do about it, and who is woken then.
    has_news: AtomicBool,
    waiting: AtomicWaker,
    /// Whether the connection is to end.
    is_to_end: AtomicBool,
}

/// What a client says of itself, and a look at its session.
#[derive(Debug)]
struct Agent {
    scope: Scope,
    name: Option<Box<str>>,
    lang: Option<Box<str>>,
    version: Option<Box<str>>,
    observer: Observer,
}

/// Messages from and to a client, and the bytes of their headers and payloads.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    in_msgs: AtomicU64,
    in_bytes: AtomicU64,
    out_msgs: AtomicU64,
    out_bytes: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) in_msgs: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_msgs: u64,
    pub(crate) out_bytes: u64,
}

/// A connection at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    /// Since the Unix epoch, like the other moments.
    pub(crate) started: Duration,
    pub(crate) active: Duration,
    pub(crate) stopped: Option<Duration>,
    /// Why it has ended.
    pub(crate) reason: Option<&'static str>,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) pending_bytes: usize,
    pub(crate) counts: Counts,
    pub(crate) subscriptions: usize,
    pub(crate) scope: Option<Scope>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) lang: Option<Box<str>>,
    pub(crate) version: Option<Box<str>>,
}

impl Record {
    /// A connection that begins now.
    pub(super) fn new(id: u64, peer: SocketAddr, unix: Duration) -> Self {
        Self {
            id,
            peer,
            started: Instant::now(),
            started_unix: unix,
            agent: OnceLock::new(),
            traffic: Traffic::default(),
            subscriptions: AtomicUsize::new(0),
            out_bytes: AtomicUsize::new(0),
            active_ms: AtomicU64::new(0),
            round_trip_us: AtomicU64::new(0),
            has_news: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
            is_to_end: AtomicBool::new(false),
        }
    }

    /// The client has a session, and has said this of itself.
    pub(super) fn greet(&self, scope: Scope, options: &ConnectOptions, observer: Observer) {
        let short = |text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty())?;
            Some(text.chars().take(SAID_CHARS_MAX).collect())
        };
        // It greets once.
        let _ = self.agent.set(Agent {
            scope,
            name: short(&options.name),
            lang: short(&options.lang),
            version: short(&options.version),
            observer,
        });
    }

    /// What the connection has now.
    pub(super) fn set(&self, subscriptions: usize, out_bytes: usize) {
        self.subscriptions.store(subscriptions, Relaxed);
        self.out_bytes.store(out_bytes, Relaxed);
    }

    pub(super) fn active(&self, now: Instant) {
        self.active_ms.store(ms(now - self.started), Relaxed);
    }

    pub(super) fn measured(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us.store(us.saturating_add(1), Relaxed);
    }

    /// Ends the connection, once it has what it was sent.
    pub(super) fn end(&self) {
        self.is_to_end.store(true, Relaxed);
        self.tell_news();
    }

    /// There is something to tell the client, or to do about it.
    pub(super) fn tell_news(&self) {
        self.has_news.store(true, Release);
        self.waiting.wake();
    }

    /// Ready once after there was news. Who asked last is woken.
    pub(super) fn poll_news(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiting.register(cx.waker());
        if self.has_news.swap(false, Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    pub(super) fn is_to_end(&self) -> bool {
        self.is_to_end.load(Relaxed)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.traffic.counts()
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.load(Relaxed)
    }

    /// What it is subscribed to.
    pub(crate) fn patterns(&self) -> Vec<tidings::Pattern> {
        let agent = self.agent.get();
        agent.map_or_else(Vec::new, |agent| agent.observer.patterns())
    }

    /// In which scope it is, once it is in one.
    pub(crate) fn scope(&self) -> Option<&str> {
        self.agent.get().map(|agent| agent.scope.as_str())
    }

    pub(crate) fn facts(&self) -> Facts {
        let agent = self.agent.get();
        let waiting = agent.map_or(0, |agent| agent.observer.waiting_bytes());
        let active = Duration::from_millis(self.active_ms.load(Relaxed));
        let round_trip_us = self.round_trip_us.load(Relaxed).checked_sub(1);
        Facts {
            id: self.id,
            peer: self.peer,
            started: self.started_unix,
            active: self.started_unix + active,
            stopped: None,
            reason: None,
            round_trip: round_trip_us.map(Duration::from_micros),
            pending_bytes: waiting + self.out_bytes.load(Relaxed),
            counts: self.counts(),
            subscriptions: self.subscriptions(),
            scope: agent.map(|agent| agent.scope.clone()),
            name: agent.and_then(|agent| agent.name.clone()),
            lang: agent.and_then(|agent| agent.lang.clone()),
            version: agent.and_then(|agent| agent.version.clone()),
        }
    }
}

impl Traffic {
    /// The client has published this much.
    pub(super) fn count_in(&self, bytes: usize) {
        add(&self.in_msgs, 1);
        add(&self.in_bytes, bytes as u64);
    }

    /// The client is sent this much.
    pub(super) fn count_out(&self, bytes: usize) {
        add(&self.out_msgs, 1);
        add(&self.out_bytes, bytes as u64);
    }

    fn counts(&self) -> Counts {
        Counts {
            in_msgs: self.in_msgs.load(Relaxed),
            in_bytes: self.in_bytes.load(Relaxed),
            out_msgs: self.out_msgs.load(Relaxed),
            out_bytes: self.out_bytes.load(Relaxed),
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.in_msgs += other.in_msgs;
        self.in_bytes += other.in_bytes;
        self.out_msgs += other.out_msgs;
        self.out_bytes += other.out_bytes;
    }
}

/// Nobody else writes it.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Relaxed) + more, Relaxed);
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How much is kept of what a client calls itself, its language and its version, each.
const SAID_CHARS_MAX: usize = 64;
