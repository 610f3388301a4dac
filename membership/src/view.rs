use std::cmp::{Ordering, Reverse};
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::slice;
use std::sync::Arc;

use tidings_identity::{Incarnation, NodeId, NodeRun};

use crate::bucket::{MemberEntry, TopicMembers};
use crate::client_door::ClientDoor;
use crate::gaps::Gaps;
use crate::node_view::NodeView;
use crate::records::Records;
use crate::sight::{self, Known, Sight};
use crate::topic_info::TopicRecord;
use crate::{AgentName, MemberId, Metadata, Pattern, QueueGroup, Scope, Topic};

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
    /// What is missing between this node and others.
    pub(crate) gaps: Arc<Gaps>,
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
    /// What the member says of itself besides.
    pub metadata: Metadata,
    /// The queue group that it is in, if it is in one: of each message one of the group gets it.
    pub queue: Option<QueueGroup>,
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
    /// Where its clients connect, as it says.
    pub door: Arc<ClientDoor>,
}

impl View {
    /// A view of this node alone.
    pub(crate) fn new(local: NodeView) -> Self {
        Self {
            local: Arc::new(local),
            remote: Arc::default(),
            gone: Arc::default(),
            gaps: Arc::default(),
        }
    }

    /// Whether it shows what this run of another node had when its gossip state had this version, or what
    /// it had later. Never of a node that is not live.
    pub fn has(&self, node: &NodeId, incarnation: Incarnation, version: u64) -> bool {
        let shown = self.remote.get(node);
        shown.is_some_and(|shown| shown.run.incarnation == incarnation && shown.version >= version)
    }

    /// Up to where another node is known; none if it is not live, or all of it is not known yet.
    pub fn known(&self, node: &NodeId) -> Option<Known> {
        let shown = self.remote.get(node)?;
        Some(Known {
            version: shown.version,
            since: shown.shown_since?,
        })
    }

    /// The newest run of another node that was heard of, and whether it is taken to be running; none if
    /// nothing is known of the node.
    pub fn run(&self, node: &NodeId) -> Option<(Incarnation, bool)> {
        let live = self
            .remote
            .get(node)
            .map(|shown| (shown.run.incarnation, true));
        let gone = || self.gone.iter().find(|gone| gone.run.node == *node);
        live.or_else(|| gone().map(|gone| (gone.run.incarnation, false)))
    }

    /// The [`members`](Self::members) of a topic in brief: on this node, and on each live one, whether
    /// there are any or not.
    pub fn sights(&self, scope: &Scope, pattern: &Pattern) -> impl Iterator<Item = Sight> {
        self.all().map(|node| Sight::of(node, scope, pattern))
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

    /// One of the [`members`](Self::members) of a topic, if it is one.
    pub fn member(&self, scope: &Scope, topic: &Topic, member: MemberId) -> Option<Member> {
        self.all().find_map(|node| {
            let entry = node.in_audience(scope, topic, member)?;
            Some(shown(node, entry))
        })
    }

    /// All topics and patterns that have members, sorted by scope and pattern.
    pub fn topics(&self) -> Vec<TopicSummary> {
        self.topics_after(None, usize::MAX)
    }

    /// Those of [`topics`](Self::topics) that have members on this node.
    pub fn local_topics(&self) -> Vec<TopicSummary> {
        let local = self.local.distinct_topics().map(|topic| {
            let (scope, pattern) = (&topic.scope, &topic.pattern);
            let members = |node: &Arc<NodeView>| node.members(scope, pattern.as_str()).len();
            TopicSummary {
                scope: scope.clone(),
                pattern: pattern.clone(),
                members: self.all().map(members).sum(),
                local: members(&self.local),
            }
        });
        let mut topics: Vec<_> = local.collect();
        topics.sort_unstable_by(|a, b| (&a.scope, &a.pattern).cmp(&(&b.scope, &b.pattern)));
        topics
    }

    /// Those of [`topics`](Self::topics) that are in this scope: the first so many that come after
    /// this one.
    pub fn topics_in(
        &self,
        scope: &Scope,
        after: Option<&Pattern>,
        count_max: usize,
    ) -> Vec<TopicSummary> {
        // No pattern is empty, so all of the scope come after this.
        let after = (scope.as_str(), after.map_or("", Pattern::as_str));
        self.page(Some(after), Some(scope), count_max)
    }

    /// The first so many of [`topics`](Self::topics) that come after this one: a page of them,
    /// which costs little however many others there are.
    pub fn topics_after(
        &self,
        after: Option<(&Scope, &Pattern)>,
        count_max: usize,
    ) -> Vec<TopicSummary> {
        let after = after.map(|(scope, pattern)| (scope.as_str(), pattern.as_str()));
        self.page(after, None, count_max)
    }

    /// The first so many topics, of this scope if one is given, whose key comes after this one.
    fn page(
        &self,
        after: Option<(&str, &str)>,
        scope: Option<&Scope>,
        count_max: usize,
    ) -> Vec<TopicSummary> {
        let is_before = |topic: &TopicMembers| after.is_some_and(|after| topic.key() <= after);
        // Each bucket is sorted, and the next topic is the first of one of them.
        let mut next = BinaryHeap::new();
        for node in self.all() {
            let is_local = Arc::ptr_eq(node, &self.local);
            for bucket in node.buckets().iter() {
                let topics = bucket.topics();
                let from = topics.partition_point(is_before);
                let mut rest = topics[from..].iter();
                if let Some(first) = rest.next() {
                    next.push(Reverse(Next(first, rest, is_local)));
                }
            }
        }
        let mut page: Vec<TopicSummary> = Vec::new();
        while let Some(mut first) = next.peek_mut() {
            let Reverse(Next(topic, rest, is_local)) = &mut *first;
            if scope.is_some_and(|scope| topic.scope != *scope) {
                break;
            }
            let members = topic.members.len();
            let local = if *is_local { members } else { 0 };
            let is_full = page.len() == count_max;
            match page.last_mut() {
                Some(last) if (last.scope.as_str(), last.pattern.as_str()) == topic.key() => {
                    last.members += members;
                    last.local += local;
                }
                _ if is_full => break,
                _ => page.push(TopicSummary {
                    scope: topic.scope.clone(),
                    pattern: topic.pattern.clone(),
                    members,
                    local,
                }),
            }
            match rest.next() {
                Some(following) => *topic = following,
                None => drop(PeekMut::pop(first)),
            }
        }
        page
    }

    /// How many members this topic or pattern has; none if it is not among [`topics`](Self::topics).
    pub fn topic(&self, scope: &Scope, pattern: &Pattern) -> TopicSummary {
        let count = |node: &Arc<NodeView>| node.members(scope, pattern.as_str()).len();
        TopicSummary {
            scope: scope.clone(),
            pattern: pattern.clone(),
            members: self.all().map(count).sum(),
            local: count(&self.local),
        }
    }

    /// How many topics and patterns have members.
    pub fn topics_count(&self) -> usize {
        let topics = self.all().flat_map(|node| node.topics());
        let names: HashSet<_> = topics.map(TopicMembers::key).collect();
        names.len()
    }

    /// What is told of a topic by the live nodes: of all that they say the newest, unless that says
    /// nothing any more. It need not have members.
    pub fn topic_info(&self, scope: &Scope, topic: &Topic) -> Option<Arc<TopicRecord>> {
        let newest = self.topic_record(scope, topic)?;
        (!newest.info.is_empty()).then(|| Arc::clone(newest))
    }

    /// All topics of which something is told, sorted by scope and topic, whether they have members or
    /// not.
    pub fn described_topics(&self) -> Vec<TopicSummary> {
        self.described_after(None, None, usize::MAX)
    }

    /// The first so many of [`described_topics`](Self::described_topics), of this scope if one is given,
    /// that come after this one.
    pub fn described_after(
        &self,
        scope: Option<&Scope>,
        after: Option<(&Scope, &Pattern)>,
        count_max: usize,
    ) -> Vec<TopicSummary> {
        let after = after.map(|(scope, pattern)| (scope.as_str(), pattern.as_str()));
        let mut newest: BTreeMap<(&str, &str), &Arc<TopicRecord>> = BTreeMap::new();
        for record in self.all().flat_map(|node| node.records.iter()) {
            let key = (record.scope.as_str(), record.topic.as_str());
            let is_elsewhere = scope.is_some_and(|scope| *scope != record.scope);
            if is_elsewhere || after.is_some_and(|after| key <= after) {
                continue;
            }
            let known = newest.entry(key).or_insert(record);
            if known.stamp < record.stamp {
                *known = record;
            }
        }
        let told = newest
            .into_values()
            .filter(|record| !record.info.is_empty());
        let summary =
            |record: &Arc<TopicRecord>| self.topic(&record.scope, &Pattern::from(&record.topic));
        told.take(count_max).map(summary).collect()
    }

    /// What is told of all topics, the newest of each, in no promised order; also that nothing is told
    /// any more.
    pub fn topic_records(&self) -> Vec<Arc<TopicRecord>> {
        let mut newest: HashMap<(&str, &str), &Arc<TopicRecord>> = HashMap::new();
        for record in self.all().flat_map(|node| node.records.iter()) {
            let key = (record.scope.as_str(), record.topic.as_str());
            let known = newest.entry(key).or_insert(record);
            if known.stamp < record.stamp {
                *known = record;
            }
        }
        newest.into_values().cloned().collect()
    }

    /// What the nodes tell that tell anything.
    pub(crate) fn records(&self) -> Vec<Arc<Records>> {
        let records = self.all().map(|node| &node.records);
        let told = records.filter(|records| !records.numbered().is_empty());
        told.cloned().collect()
    }

    /// The newest record of a topic.
    pub(crate) fn topic_record(&self, scope: &Scope, topic: &Topic) -> Option<&Arc<TopicRecord>> {
        let records = self.all().filter_map(|node| node.records.get(scope, topic));
        records.max_by(|a, b| a.stamp.cmp(&b.stamp))
    }

    /// This node and all known peers, sorted by name; look at [`NodeSummary::live`].
    pub fn nodes(&self) -> Vec<NodeSummary> {
        let live = self.all().map(|node| NodeSummary {
            run: node.run.clone(),
            is_self: Arc::ptr_eq(node, &self.local),
            live: true,
            left: false,
            door: Arc::clone(&node.door),
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

    /// This node, then the live ones besides, sorted by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<NodeView>> {
        std::iter::once(&self.local).chain(self.remote.values())
    }
}

/// The next topic of a bucket, those after it, and whether they are on this node. Ordered by the
/// topic.
struct Next<'a>(&'a TopicMembers, slice::Iter<'a, TopicMembers>, bool);

impl Ord for Next<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(&other.0.key())
    }
}

impl PartialOrd for Next<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Next<'_> {}

fn shown(node: &NodeView, entry: &MemberEntry) -> Member {
    Member {
        node: node.run.node.clone(),
        member: entry.member,
        agent: entry.agent.clone(),
        metadata: entry.metadata.clone(),
        queue: entry.queue.clone(),
    }
}

fn members(node: &Arc<NodeView>, scope: &Scope, pattern: &Pattern) -> Vec<Member> {
    let members = sight::members(node, scope, pattern).into_iter();
    members.map(|entry| shown(node, entry)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(name: &str, buckets: usize, topics: &[(u8, u8)]) -> Arc<NodeView> {
        let run = NodeRun::new(name.parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into());
        let mut node = NodeView::new(run, buckets);
        for (number, (scope, topic)) in (0_u128..).zip(topics) {
            let scope = Scope::parse(&format!("s{scope}")).unwrap();
            let pattern = Pattern::parse(&format!("t.{topic}")).unwrap();
            let member = MemberId::from_bytes(number.to_be_bytes());
            let entry = MemberEntry {
                member,
                agent: None,
                metadata: Metadata::default(),
                queue: None,
            };
            node.join(&scope, &pattern, entry, usize::MAX, 0).unwrap();
        }
        Arc::new(node)
    }

    fn topics() -> impl Strategy<Value = Vec<(u8, u8)>> {
        proptest::collection::vec((0_u8..3, 0_u8..12), 0..30)
    }

    proptest! {
        #[test]
        fn a_member_is_found_exactly_among_those_of_its_topic(
            local in topics(), remote in topics(), number in 0_u128..40,
        ) {
            let mut view = View::new(NodeView::clone(&node("n0", 2, &local)));
            let peer = node("n1", 3, &remote);
            view.remote = Arc::new(BTreeMap::from([(peer.run.node.clone(), peer)]));
            let member = MemberId::from_bytes(number.to_be_bytes());
            for topic in 0..12 {
                let scope = Scope::parse("s1").unwrap();
                let topic = Topic::parse(&format!("t.{topic}")).unwrap();
                let members = view.members(&scope, &Pattern::from(&topic));
                let expected = members.into_iter().find(|shown| shown.member == member);
                prop_assert_eq!(view.member(&scope, &topic, member), expected);
            }
        }

        #[test]
        fn pages_make_the_whole_sorted_list(
            local in topics(), remote in topics(), room in 1_usize..8, buckets in 1_usize..5,
        ) {
            let mut view = View::new(NodeView::clone(&node("n0", buckets, &local)));
            let peer = node("n1", buckets + 1, &remote);
            view.remote = Arc::new(BTreeMap::from([(peer.run.node.clone(), peer)]));

            let mut expected = BTreeMap::new();
            for (is_local, (scope, topic)) in
                local.iter().map(|one| (1, one)).chain(remote.iter().map(|one| (0, one)))
            {
                let name = (format!("s{scope}"), format!("t.{topic}"));
                let counts: &mut (usize, usize) = expected.entry(name).or_default();
                *counts = (counts.0 + 1, counts.1 + is_local);
            }
            let expected: Vec<_> = expected.into_iter().collect();

            let mut all: Vec<TopicSummary> = Vec::new();
            loop {
                let last = all.last().map(|last| (last.scope.clone(), last.pattern.clone()));
                let after = last.as_ref().map(|(scope, pattern)| (scope, pattern));
                let page = view.topics_after(after, room);
                prop_assert!(page.len() <= room);
                let is_last = page.len() < room;
                all.extend(page);
                if is_last {
                    break;
                }
            }
            prop_assert_eq!(&all, &view.topics());
            prop_assert_eq!(all.len(), view.topics_count());
            let seen = |one: TopicSummary| {
                let name = (one.scope.to_string(), one.pattern.to_string());
                (name, (one.members, one.local))
            };
            let seen: Vec<_> = all.into_iter().map(seen).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
