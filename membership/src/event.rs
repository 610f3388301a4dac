use tidings_identity::{NodeId, NodeRun};

use crate::{AgentName, MemberId, Metadata, Pattern, QueueGroup, Scope};

/// Something that happened in the cluster, as this node came to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is live. Its members follow.
    NodeUp {
        /// The peer.
        run: NodeRun,
    },
    /// A peer is no longer live, or not in this incarnation. All its members were told as left.
    NodeDown {
        /// The run of the peer that is gone.
        run: NodeRun,
        /// Whether it said goodbye. Otherwise it died, or cannot be reached.
        left: bool,
    },
    /// A membership was made.
    Joined {
        /// The scope.
        scope: Scope,
        /// The topic or pattern.
        pattern: Pattern,
        /// Where the member is.
        node: NodeId,
        /// The membership.
        member: MemberId,
        /// What the agent calls itself, if it says.
        agent: Option<AgentName>,
        /// What the member says of itself besides.
        metadata: Metadata,
        /// The queue group that it is in.
        queue: Option<QueueGroup>,
    },
    /// A member says something else of itself than before. It has been a member all the while, and got
    /// what was published.
    Updated {
        /// The scope.
        scope: Scope,
        /// The topic or pattern.
        pattern: Pattern,
        /// Where the member is.
        node: NodeId,
        /// The membership.
        member: MemberId,
        /// What the agent calls itself, if it says.
        agent: Option<AgentName>,
        /// What the member says of itself besides, now.
        metadata: Metadata,
        /// The queue group that it is in, as before.
        queue: Option<QueueGroup>,
    },
    /// A membership has ended.
    Left {
        /// The scope.
        scope: Scope,
        /// The topic or pattern.
        pattern: Pattern,
        /// Where the member was.
        node: NodeId,
        /// The membership.
        member: MemberId,
        /// The queue group that it was in.
        queue: Option<QueueGroup>,
    },
    /// Messages that were published on one node did not get to another, where somebody may have
    /// subscribed to them. One of the two is this node; the other is told likewise, as soon as it is
    /// reached. What to repair is for those to know who publish and subscribe.
    ///
    /// Told soon after the loss is known, in no order with the messages that do arrive. A watcher is
    /// told once of all that was found missing since it was told before.
    Gap {
        /// Where they were published.
        from: NodeId,
        /// Where they are missing.
        to: NodeId,
        /// How many messages are missing, of whatever topics. `None` when nobody can know, and perhaps
        /// none is: when one of the two was taken for dead by the other, or died.
        frames: Option<u64>,
    },
}

/// Takes what happens to peers and their members, before the view shows it: who sees a member in
/// the view can rely on the sink having heard of it. Called on the gossip task, so it must not
/// block; of many events it is told some at a time, and other tasks run in between.
pub type EventSink = Box<dyn FnMut(Vec<Event>) + Send>;
