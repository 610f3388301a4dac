use std::sync::Arc;

use tidings_identity::NodeRun;

use crate::bucket::{Bucket, BucketError, MemberEntry, TopicMembers};
use crate::{MemberId, Pattern, Scope, Topic};

/// One node, as a view has it: who it is and what its members are.
///
/// A copy shares all buckets with the original until one of the two changes them.
#[derive(Debug, Clone)]
pub(crate) struct NodeView {
    pub(crate) run: NodeRun,
    buckets: Box<[Arc<Bucket>]>,
    /// The patterns with wildcards that have members here, so that the members of a topic are
    /// found without looking through all buckets.
    wildcards: Arc<Vec<(Scope, Pattern)>>,
}

impl NodeView {
    /// A node without members, which keeps them in so many buckets (at least one).
    pub(crate) fn new(run: NodeRun, buckets: usize) -> Self {
        Self {
            run,
            buckets: vec![Arc::default(); buckets.max(1)].into(),
            wildcards: Arc::default(),
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
        let matching = self
            .wildcards
            .iter()
            .filter(move |(s, pattern)| s == scope && pattern.matches(topic));
        exact
            .iter()
            .chain(matching.flat_map(|(scope, pattern)| self.members(scope, pattern.as_str())))
    }

    /// Takes a membership in; one that would make its bucket pack to more than this is refused.
    pub(crate) fn join(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        entry: MemberEntry,
        packed_bytes_max: usize,
    ) -> Result<(), BucketError> {
        let index = self.index(scope, pattern.as_str());
        let bucket = Arc::make_mut(&mut self.buckets[index]);
        let is_new = bucket.join(scope, pattern, entry, packed_bytes_max)?;
        if is_new && !pattern.is_literal() {
            Arc::make_mut(&mut self.wildcards).push((scope.clone(), pattern.clone()));
        }
        Ok(())
    }

    /// Takes a membership out; tells whether there was one.
    pub(crate) fn leave(&mut self, scope: &Scope, pattern: &Pattern, member: MemberId) -> bool {
        let index = self.index(scope, pattern.as_str());
        let bucket = Arc::make_mut(&mut self.buckets[index]);
        let Some(is_gone) = bucket.leave(scope, pattern, member) else {
            return false;
        };
        if is_gone && !pattern.is_literal() {
            Arc::make_mut(&mut self.wildcards).retain(|(s, p)| (s, p) != (scope, pattern));
        }
        true
    }

    /// Puts another bucket in the place of the one at this index; nothing if there is no such.
    pub(crate) fn replace(&mut self, index: usize, bucket: Bucket) {
        let Some(place) = self.buckets.get_mut(index) else {
            return;
        };
        let wildcards = |bucket: &Bucket| -> Vec<(Scope, Pattern)> {
            let topics = bucket.topics().iter();
            topics
                .filter(|topic| !topic.pattern.is_literal())
                .map(|topic| (topic.scope.clone(), topic.pattern.clone()))
                .collect()
        };
        let (before, after) = (wildcards(place), wildcards(&bucket));
        *place = Arc::new(bucket);
        if before != after {
            let all = Arc::make_mut(&mut self.wildcards);
            all.retain(|wildcard| !before.contains(wildcard));
            all.extend(after);
        }
    }

    fn index(&self, scope: &Scope, pattern: &str) -> usize {
        Bucket::index(scope, pattern, self.buckets.len())
    }
}
