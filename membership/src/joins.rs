use std::sync::Arc;

use crate::bucket::MemberEntry;
use crate::event::Event;
use crate::node_view::NodeView;
use crate::view::View;
use crate::watched::Watched;

/// The memberships in a view that a watch of this tells of, as if they were joining: what a watch
/// begins from, in the words in which it goes on.
///
/// Node by node, and of a node a part at a time: each item has those of one part, in no order, and
/// may be empty, so that whoever serves others as well can do so in between. However many
/// memberships there are, there are never more events in memory than one part has.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use tidings_identity::{ClusterName, NodeRun};
/// # use std::sync::Arc;
/// # use tidings_membership::*;
/// # use tokio::sync::{mpsc, watch};
/// # use tokio_util::{sync::CancellationToken, task::TaskTracker};
/// # let own = NodeRun::new("n1".parse()?, 1.into(), "10.0.0.1:7946".parse()?);
/// # let (_inbound, inbound) = mpsc::channel(1);
/// # let pipe = Pipe {
/// #     outbound: Arc::new(|_, _| Handover::Dropped),
/// #     inbound: Box::new(inbound),
/// #     blame: Box::new(|_, _| ()),
/// # };
/// # let (_seeds, seeds) = watch::channel(Vec::new());
/// # let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
/// # let membership = Membership::start(
/// #     Config::default(), own, ClusterName::default(), None, pipe, seeds, Box::new(|_| ()),
/// #     |task| { tasks.spawn(task); }, token,
/// # ).await?;
/// membership.join(&Scope::default(), &"kb.updates".parse()?, MemberIds::default().next(0), None)?;
/// membership.join(&Scope::default(), &"weather".parse()?, MemberIds::default().next(0), None)?;
///
/// let watched = Watched::Topic(Scope::default(), "kb.*".parse()?);
/// let (view, _watch) = membership.watch_only(watched.clone());
/// let members: Vec<_> = Joins::new(&view, watched).flatten().collect();
/// assert!(matches!(&members[..], [Event::Joined { pattern, .. }] if pattern.as_str() == "kb.updates"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Joins {
    watched: Watched,
    /// The node that comes next is the last.
    nodes: Vec<Arc<NodeView>>,
    /// The next bucket of that node.
    bucket: usize,
}

impl Joins {
    /// Those of this view.
    pub fn new(view: &View, watched: Watched) -> Self {
        let peers = view.remote.values().rev();
        Self {
            watched,
            nodes: peers.chain([&view.local]).cloned().collect(),
            bucket: 0,
        }
    }
}

impl Iterator for Joins {
    type Item = Vec<Event>;

    fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let node = self.nodes.last()?;
            let index = self.bucket;
            if index == node.buckets().len() {
                (self.bucket, _) = (0, self.nodes.pop());
                continue;
            }
            self.bucket += 1;
            let bucket = node.buckets().get(index);
            if !self.watched.may_be_in(bucket) {
                continue;
            }
            let topics = bucket.topics().iter();
            let watched = topics.filter(|topic| self.watched.has(&topic.scope, &topic.pattern));
            let joined = watched.flat_map(|topic| {
                let (scope, pattern) = (&topic.scope, topic.pattern.as_str());
                // Each once, though it be in several buckets.
                let is_here =
                    |m: &&MemberEntry| node.place_of(scope, pattern, m.member) == Some(index);
                let members = topic.members.iter().filter(is_here);
                members.map(|entry| Event::Joined {
                    scope: topic.scope.clone(),
                    pattern: topic.pattern.clone(),
                    node: node.run.node.clone(),
                    member: entry.member,
                    agent: entry.agent.clone(),
                    metadata: entry.metadata.clone(),
                    queue: entry.queue.clone(),
                })
            });
            return Some(joined.collect());
        }
    }
}
