use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Stats;
use crate::histogram::Histogram;

/// What the broker counts. All of it only grows.
///
/// What is lost on the way to a peer or from it, the transport counts.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Put into mailboxes here.
    pub(crate) sent_local: AtomicU64,
    /// Handed to links.
    pub(crate) sent_remote: AtomicU64,
    /// Frames received from peers.
    pub(crate) received: AtomicU64,
    /// Received by the agent.
    pub(crate) delivered: AtomicU64,
    /// A full mailbox that drops the newest or the oldest.
    pub(crate) dropped_mailbox_full: AtomicU64,
    /// What waited in a mailbox when its session was cut off because it was full.
    pub(crate) dropped_slow_subscriber: AtomicU64,
    /// What waited in a mailbox when its session ended.
    pub(crate) dropped_session_ended: AtomicU64,
    /// Assured messages sent to a peer again.
    pub(crate) assured_repeated: AtomicU64,
    /// Assured messages that came again.
    pub(crate) assured_known: AtomicU64,
    /// Waited for one of a queue group whose session ended, and went to another.
    pub(crate) handed_over: AtomicU64,
    /// A message of a peer for a queue group of which nobody was left here was sent on to another.
    pub(crate) passed_on: AtomicU64,
    /// Nobody was left anywhere.
    pub(crate) dropped_queue_empty: AtomicU64,
    /// A session may not publish there.
    pub(crate) denied_publish: AtomicU64,
    /// A session may not subscribe to that.
    pub(crate) denied_subscribe: AtomicU64,
    /// Somebody may not see or tell that of the cluster.
    pub(crate) denied_view: AtomicU64,
    /// A frame of a peer was no message.
    pub(crate) dropped_malformed: AtomicU64,
    /// In nanoseconds, from 1 µs to 1 s.
    duration: Histogram<12>,
    /// From 0 to 16,384.
    recipients: Histogram<9>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            sent_local: AtomicU64::new(0),
            sent_remote: AtomicU64::new(0),
            received: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped_mailbox_full: AtomicU64::new(0),
            dropped_slow_subscriber: AtomicU64::new(0),
            dropped_session_ended: AtomicU64::new(0),
            assured_repeated: AtomicU64::new(0),
            assured_known: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
            dropped_queue_empty: AtomicU64::new(0),
            denied_publish: AtomicU64::new(0),
            denied_subscribe: AtomicU64::new(0),
            denied_view: AtomicU64::new(0),
            dropped_malformed: AtomicU64::new(0),
            duration: Histogram::new(1_000),
            recipients: Histogram::new(1),
        }
    }

    /// A broadcast was handed to so many local subscribers and peers, in that time.
    pub(crate) fn broadcast(&self, recipients: usize, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.duration.observe(nanos);
        self.recipients.observe(recipients as u64);
    }

    /// What was counted, without what other parts of a node count.
    pub(crate) fn snapshot(&self) -> Stats {
        const NANOS_PER_SECOND: f64 = 1e9;
        Stats {
            broadcasts: self.duration.count(),
            sent_local: self.sent_local.load(Relaxed),
            sent_remote: self.sent_remote.load(Relaxed),
            received: self.received.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            dropped_mailbox_full: self.dropped_mailbox_full.load(Relaxed),
            dropped_slow_subscriber: self.dropped_slow_subscriber.load(Relaxed),
            dropped_session_ended: self.dropped_session_ended.load(Relaxed),
            assured_repeated: self.assured_repeated.load(Relaxed),
            assured_known: self.assured_known.load(Relaxed),
            handed_over: self.handed_over.load(Relaxed),
            passed_on: self.passed_on.load(Relaxed),
            dropped_queue_empty: self.dropped_queue_empty.load(Relaxed),
            denied_publish: self.denied_publish.load(Relaxed),
            denied_subscribe: self.denied_subscribe.load(Relaxed),
            denied_view: self.denied_view.load(Relaxed),
            dropped_malformed: self.dropped_malformed.load(Relaxed),
            broadcast_seconds: self.duration.snapshot(NANOS_PER_SECOND),
            broadcast_recipients: self.recipients.snapshot(1.0),
            ..Stats::default()
        }
    }
}
