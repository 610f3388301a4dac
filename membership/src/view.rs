use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tidings_identity::{NodeId, NodeRun};

use crate::bucket::{MemberEntry, TopicMembers};
use crate::node_view::NodeView;
use crate::{AgentName, MemberId, Pattern, Scope, Topic};

/// Who is where, as this node knows it at one moment.
///
/// A snapshot: it never changes, and reading it never waits for anything. It shows every
/// membership of this node that was made before it, and those of every live peer as far as gossip
/// has brought them; the views of connected nodes become the same once nothing changes any more.
/// It never shows the members of a dead node, of an earlier incarnation of a node, or a topic
/// without members.
#[derive(Debug, Clone)]
pub struct View {
    pub(crate) local: Arc<NodeView>,
    pub(crate) remote: Arc<BTreeMap<NodeId, Arc<NodeView>>>,
    /// Known nodes that are not live, sorted.
    pub(crate) gone: Arc<Vec<NodeSummary>>,
}

/// A membership and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Member {
    /// The node where the member is.
    pub node: NodeId,
    /// The membership.
    pub member: MemberId,
    /// What the agent calls itself, if it says.
    pub agent: Option<AgentName>,
}

/// A topic or pattern and how many members it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSummary {
    /// The scope.
    pub scope: Scope,
    /// The topic or pattern.
    pub pattern: Pattern,
    /// How many memberships there are of exactly this pattern, on all nodes.
    pub members: usize,
    /// How many of them are on this node.
    pub local: usize,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeSummary {
    /// The newest run of it that was heard of.
    pub run: NodeRun,
    /// Whether it is this node.
    pub is_self: bool,
    /// Whether it is taken to be running. The others have left, have not been heard from for a
    /// while, or have not yet been heard from often enough.
    pub live: bool,
    /// Whether it said goodbye.
    pub left: bool,
}

impl View {
    /// A view of this node alone.
    pub(crate) fn new(local: NodeView) -> Self {
        Self {
            local: Arc::new(local),
            remote: Arc::default(),
            gone: Arc::default(),
        }
    }

    /// The members of a topic: everyone whom a broadcast on it would reach, once for each
    /// membership, whether of the topic itself or of a matching pattern. For a pattern with
    /// wildcards: the members of exactly that pattern.
    ///
    /// In no promised order. An unknown topic or scope has no members.
    pub fn members(&self, scope: &Scope, pattern: &Pattern) -> Vec<Member> {
        self.all()
            .flat_map(|node| members(node, scope, pattern))
            .collect()
    }

    /// Those of [`members`](Self::members) that are on this node.
    pub fn local_members(&self, scope: &Scope, pattern: &Pattern) -> Vec<Member> {
        members(&self.local, scope, pattern)
    }

    /// All topics and patterns that have members, sorted by scope and pattern.
    pub fn topics(&self) -> Vec<TopicSummary> {
        let mut counts: BTreeMap<(&Scope, &Pattern), (usize, usize)> = BTreeMap::new();
        for node in self.all() {
            let is_local = Arc::ptr_eq(node, &self.local);
            for topic in node.topics() {
                let count = counts.entry((&topic.scope, &topic.pattern)).or_default();
                count.0 += topic.members.len();
                count.1 += if is_local { topic.members.len() } else { 0 };
            }
        }
        let summary =
            |((scope, pattern), (members, local)): ((&Scope, &Pattern), _)| TopicSummary {
                scope: scope.clone(),
                pattern: pattern.clone(),
                members,
                local,
            };
        counts.into_iter().map(summary).collect()
    }

    /// How many topics and patterns have members.
    pub fn topics_count(&self) -> usize {
        let topics = self.all().flat_map(|node| node.topics());
        let names: HashSet<_> = topics.map(TopicMembers::key).collect();
        names.len()
    }

    /// This node and all known peers, sorted by name; look at [`NodeSummary::live`].
    pub fn nodes(&self) -> Vec<NodeSummary> {
        let live = self.all().map(|node| NodeSummary {
            run: node.run.clone(),
            is_self: Arc::ptr_eq(node, &self.local),
            live: true,
            left: false,
        });
        let mut nodes: Vec<_> = live.chain(self.gone.iter().cloned()).collect();
        nodes.sort_by(|a, b| a.run.node.cmp(&b.run.node));
        nodes
    }

    /// How many memberships there are on this node, and how many in the whole cluster.
    pub fn count_memberships(&self) -> (usize, usize) {
        let count = |node: &Arc<NodeView>| node.topics().map(|t| t.members.len()).sum::<usize>();
        (count(&self.local), self.all().map(count).sum())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<NodeView>> {
        std::iter::once(&self.local).chain(self.remote.values())
    }
}

fn members(node: &Arc<NodeView>, scope: &Scope, pattern: &Pattern) -> Vec<Member> {
    let member = |m: &MemberEntry| Member {
        node: node.run.node.clone(),
        member: m.member,
        agent: m.agent.clone(),
    };
    match Topic::try_from(pattern) {
        Ok(topic) => node.audience(scope, &topic).map(member).collect(),
        Err(_) => {
            let exact = node.members(scope, pattern.as_str());
            exact.iter().map(member).collect()
        }
    }
}
