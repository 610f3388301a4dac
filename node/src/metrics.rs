use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What the broker counts. Labels never carry topics, so their number stays small.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) broadcasts: Counter,
    /// Put into mailboxes here.
    pub(crate) sent_local: Counter,
    /// Handed to links.
    pub(crate) sent_remote: Counter,
    /// Frames received from peers.
    pub(crate) received: Counter,
    /// Received by the agent.
    pub(crate) delivered: Counter,
    pub(crate) dropped: Dropped,
    pub(crate) duration: Histogram,
    pub(crate) subscribers: Histogram,
    sent: Family<To, Counter>,
}

/// One counter for each way in which the broker loses a message that was accepted. What is lost on
/// the way to a peer or from it, the transport counts.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    /// A full mailbox that drops the newest or the oldest.
    pub(crate) mailbox_full: Counter,
    /// What waited in a mailbox when its session was cut off because it was full.
    pub(crate) slow_subscriber: Counter,
    /// What waited in a mailbox when its session ended.
    pub(crate) session_ended: Counter,
    /// A frame of a peer was no message.
    pub(crate) malformed: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct To {
    to: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let sent = Family::<To, Counter>::default();
        let to = |to| sent.get_or_create(&To { to }).clone();
        Self {
            broadcasts: Counter::default(),
            sent_local: to("local"),
            sent_remote: to("remote"),
            received: Counter::default(),
            delivered: Counter::default(),
            dropped: Dropped::default(),
            // 1 µs to 1 s.
            duration: Histogram::new(exponential_buckets(1e-6, 4.0, 11)),
            subscribers: Histogram::new([0.0].into_iter().chain(exponential_buckets(1.0, 4.0, 9))),
            sent,
        }
    }

    /// Registers all of it but what was dropped, which is shown together with what the transport
    /// dropped.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Messages accepted for broadcast by this node";
        registry.register("broadcasts", help, self.broadcasts.clone());
        let help = "Messages put into mailboxes of local subscribers, or handed to links to peers";
        registry.register("messages_sent", help, self.sent.clone());
        let help = "Messages received from peers";
        registry.register("messages_received", help, self.received.clone());
        let help = "Messages received by local subscribers";
        registry.register("messages_delivered", help, self.delivered.clone());
        let help = "Time to hand a broadcast to all its local subscribers and links";
        let duration = self.duration.clone();
        registry.register_with_unit("broadcast_duration", help, Unit::Seconds, duration);
        let help = "Local subscribers and peers a broadcast was handed to";
        registry.register("broadcast_subscribers", help, self.subscribers.clone());
    }
}

impl Dropped {
    /// How many messages were lost for each reason.
    pub(crate) fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("mailbox_full", self.mailbox_full.get()),
            ("slow_subscriber", self.slow_subscriber.get()),
            ("session_ended", self.session_ended.get()),
            ("malformed", self.malformed.get()),
        ]
    }
}
