use crate::broker::Broker;

/// What a node has done since it started. All counts only grow, except those that say otherwise.
///
/// They are read one by one, so they may be off against each other by what happened in between.
/// Every message that was accepted is in one of them in the end: received by its subscribers, or
/// dropped for a reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that sessions have broadcast.
    pub broadcasts: u64,
    /// Messages put into mailboxes of this node, counted once for each.
    pub sent_local: u64,
    /// Messages handed to the links, counted once for each peer.
    pub sent_remote: u64,
    /// Messages received from peers.
    pub received: u64,
    /// Messages that sessions of this node have received.
    pub delivered: u64,
    /// Messages lost because a mailbox was full.
    pub dropped_mailbox_full: u64,
    /// Messages that waited in a mailbox when its session was cut off for being slow.
    pub dropped_slow_subscriber: u64,
    /// Messages that waited in a mailbox when its session ended.
    pub dropped_session_ended: u64,
    /// Frames of peers that were no messages.
    pub dropped_malformed: u64,
    /// Membership and its gossip.
    pub membership: tidings_membership::Stats,
    /// Links; none for a node on its own.
    pub transport: Option<tidings_transport::Stats>,
}

impl Stats {
    /// What the broker counts, without the rest.
    pub(crate) fn of_broker(broker: &Broker) -> Self {
        let metrics = &broker.metrics;
        Self {
            broadcasts: metrics.broadcasts.get(),
            sent_local: metrics.sent_local.get(),
            sent_remote: metrics.sent_remote.get(),
            received: metrics.received.get(),
            delivered: metrics.delivered.get(),
            dropped_mailbox_full: metrics.dropped.mailbox_full.get(),
            dropped_slow_subscriber: metrics.dropped.slow_subscriber.get(),
            dropped_session_ended: metrics.dropped.session_ended.get(),
            dropped_malformed: metrics.dropped.malformed.get(),
            ..Self::default()
        }
    }
}
