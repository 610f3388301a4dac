use std::collections::BTreeSet;
use std::sync::Arc;

use tidings_identity::NodeRun;

use crate::bucket::{Bucket, BucketError, MemberEntry, TopicMembers};
use crate::records::Records;
use crate::{MemberId, Metadata, Pattern, Scope, Topic};

/// One node, as a view has it: who it is and what its members are.
///
/// A copy shares all buckets with the original until one of the two changes them.
#[derive(Debug, Clone)]
pub(crate) struct NodeView {
    pub(crate) run: NodeRun,
    /// The version of its gossip state of which this is all; 0 for this node itself.
    pub(crate) version: u64,
    buckets: Box<[Arc<Bucket>]>,
    /// The buckets that have patterns with wildcards, so that the members of a topic are found
    /// without looking through all.
    with_wildcards: BTreeSet<usize>,
    /// What it tells of topics.
    pub(crate) records: Arc<Records>,
}

impl NodeView {
    /// A node without members, which keeps them in so many buckets (at least one).
    pub(crate) fn new(run: NodeRun, buckets: usize) -> Self {
        Self {
            run,
            version: 0,
            buckets: vec![Arc::default(); buckets.max(1)].into(),
            with_wildcards: BTreeSet::new(),
            records: Arc::default(),
        }
    }

    pub(crate) fn buckets(&self) -> &[Arc<Bucket>] {
        &self.buckets
    }

    /// All topics, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicMembers> {
        self.buckets.iter().flat_map(|bucket| bucket.topics())
    }

    /// The members of exactly this topic or pattern.
    pub(crate) fn members(&self, scope: &Scope, pattern: &str) -> &[MemberEntry] {
        self.buckets[self.index(scope, pattern)].members(scope, pattern)
    }

    /// Everyone whom a broadcast on this topic reaches.
    pub(crate) fn audience(
        &self,
        scope: &Scope,
        topic: &Topic,
    ) -> impl Iterator<Item = &MemberEntry> {
        let exact = self.members(scope, topic.as_str());
        let wildcards = self.with_wildcards.iter();
        let matching = wildcards
            .flat_map(move |&index| self.buckets[index].wildcards_in(scope))
            .filter(move |(_, pattern)| pattern.matches(topic));
        exact
            .iter()
            .chain(matching.flat_map(|(scope, pattern)| self.members(scope, pattern.as_str())))
    }

    /// Takes a membership in; one that would make its bucket pack to more than this is refused, and
    /// one that leaves less of it than `held`, what its holder would have of the bucket.
    pub(crate) fn join(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        entry: MemberEntry,
        packed_bytes_max: usize,
        held: usize,
    ) -> Result<(), BucketError> {
        let index = self.index(scope, pattern.as_str());
        let bucket = Arc::make_mut(&mut self.buckets[index]);
        bucket.join(scope, pattern, entry, packed_bytes_max, held)?;
        self.look_for_wildcards(index);
        Ok(())
    }

    /// Gives these members of a topic other metadata, as [`Bucket::update`] does.
    pub(crate) fn update(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: &Metadata,
        packed_bytes_max: usize,
        held: usize,
    ) -> Result<Option<isize>, BucketError> {
        let bucket = &mut self.buckets[self.index(scope, pattern.as_str())];
        let bucket = Arc::make_mut(bucket);
        bucket.update(scope, pattern, members, metadata, packed_bytes_max, held)
    }

    /// Takes a membership out; tells whether there was one.
    pub(crate) fn leave(&mut self, scope: &Scope, pattern: &Pattern, member: MemberId) -> bool {
        let index = self.index(scope, pattern.as_str());
        let had = Arc::make_mut(&mut self.buckets[index]).leave(scope, pattern, member);
        self.look_for_wildcards(index);
        had
    }

    /// Takes memberships of the bucket at this index out; tells whether there were any.
    pub(crate) fn leave_all(
        &mut self,
        index: usize,
        memberships: &[(Scope, Pattern, MemberId)],
    ) -> bool {
        let had = Arc::make_mut(&mut self.buckets[index]).leave_all(memberships);
        self.look_for_wildcards(index);
        had
    }

    /// Puts another bucket in the place of the one at this index; nothing if there is no such.
    pub(crate) fn replace(&mut self, index: usize, bucket: Bucket) {
        if let Some(place) = self.buckets.get_mut(index) {
            *place = Arc::new(bucket);
            self.look_for_wildcards(index);
        }
    }

    /// The index of the bucket of this topic or pattern.
    pub(crate) fn index(&self, scope: &Scope, pattern: &str) -> usize {
        Bucket::index(scope, pattern, self.buckets.len())
    }

    fn look_for_wildcards(&mut self, index: usize) {
        if self.buckets[index].wildcards().is_empty() {
            self.with_wildcards.remove(&index);
        } else {
            self.with_wildcards.insert(index);
        }
    }
}
