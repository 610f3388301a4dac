use crate::Distribution;

/// What a node has done since it started. All counts only grow, except those that say otherwise.
///
/// They are read one by one, so they may be off against each other by what happened in between.
/// Every message that was accepted is in one of them in the end: received by its subscribers, or
/// dropped for a reason.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions that are open now.
    pub sessions: usize,
    /// Bytes that wait now: in mailboxes, for links, and in what sessions [hold](crate::Session::hold).
    pub waiting_bytes: usize,
    /// Messages that sessions have broadcast.
    pub broadcasts: u64,
    /// Messages put into mailboxes of this node, counted once for each.
    pub sent_local: u64,
    /// Messages handed to the links, counted once for each peer, and once more whenever they are sent
    /// again.
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
    /// Assured messages that were sent to a peer again, counted once for each time. They count to
    /// [`sent_remote`](Self::sent_remote), too.
    pub assured_repeated: u64,
    /// Assured messages that came from a peer again, and were not delivered again.
    pub assured_known: u64,
    /// Messages that waited for a member of a queue group when its session ended or was cut off, or its inbox
    /// was dropped, and that another member of the group has got, or its node.
    pub handed_over: u64,
    /// Messages of peers for a queue group of which nobody was left on this node, and that were sent on to
    /// one that has somebody; and those that a member has [declined](crate::Session::decline) and another has
    /// got, or its node. What went to a node counts to [`sent_remote`](Self::sent_remote), too.
    pub passed_on: u64,
    /// Messages of peers for a queue group of which nobody was left on this node, nor known on another, and
    /// those that a member has declined and no other had room for.
    pub dropped_queue_empty: u64,
    /// Messages and requests to the node that were refused because the permissions of their session do not
    /// allow them.
    pub denied_publish: u64,
    /// Subscriptions that were refused likewise.
    pub denied_subscribe: u64,
    /// What was asked of the cluster or told of topics, and refused likewise.
    pub denied_view: u64,
    /// Frames of peers that were no messages.
    pub dropped_malformed: u64,
    /// How long it took to hand a broadcast to all its local subscribers and links.
    pub broadcast_seconds: Distribution,
    /// To how many local subscribers and peers broadcasts were handed.
    pub broadcast_recipients: Distribution,
    /// Membership and its gossip.
    pub membership: tidings_membership::Stats,
    /// Links; none for a node on its own.
    pub transport: Option<tidings_transport::Stats>,
}
