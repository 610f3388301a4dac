use std::collections::HashMap;

use crate::bucket::{Bucket, MemberEntry, TopicMembers};
use crate::{AgentName, Metadata, Pattern, Scope};

/// How much of a node's room for memberships one holder of them, such as a session, has taken.
///
/// Each membership counts with the bytes it has in gossip if it is alone in its topic: 18 and the
/// names of scope, topic and agent and its metadata with a byte or two for each. So what is given back is what was
/// taken, whoever else is in the topic; of several in one topic it counts more than they need.
#[derive(Debug)]
pub struct Share {
    /// How many buckets the node has.
    buckets: usize,
    bytes: usize,
    /// Of which buckets how many of the bytes are, without those that have none.
    by_bucket: HashMap<usize, usize>,
}

impl Share {
    pub(crate) fn new(buckets: usize) -> Self {
        Self {
            buckets,
            bytes: 0,
            by_bucket: HashMap::new(),
        }
    }

    /// How many bytes a membership counts.
    pub fn bytes_of(
        scope: &Scope,
        pattern: &Pattern,
        agent: Option<&AgentName>,
        metadata: &Metadata,
    ) -> usize {
        TopicMembers::packed_bytes_of(scope, pattern, 1)
            + MemberEntry::packed_bytes_of(agent, metadata)
    }

    /// How many bytes are taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what a membership took that has ended or is about to.
    pub fn give_back(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        agent: Option<&AgentName>,
        metadata: &Metadata,
    ) {
        let bytes = Self::bytes_of(scope, pattern, agent, metadata);
        self.grow(scope, pattern, -bytes.cast_signed());
    }

    /// How many bytes would be taken of its bucket with one more membership.
    pub(crate) fn in_bucket_with(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        agent: Option<&AgentName>,
        metadata: &Metadata,
    ) -> usize {
        self.in_bucket(scope, pattern) + Self::bytes_of(scope, pattern, agent, metadata)
    }

    /// How many bytes are taken of the bucket of this topic or pattern.
    pub(crate) fn in_bucket(&self, scope: &Scope, pattern: &Pattern) -> usize {
        let index = Bucket::index(scope, pattern.as_str(), self.buckets);
        self.by_bucket.get(&index).copied().unwrap_or(0)
    }

    /// Takes what a membership needs.
    pub(crate) fn take(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        agent: Option<&AgentName>,
        metadata: &Metadata,
    ) {
        let bytes = Self::bytes_of(scope, pattern, agent, metadata);
        self.grow(scope, pattern, bytes.cast_signed());
    }

    /// Takes so many bytes more for this topic or pattern, or fewer.
    pub(crate) fn grow(&mut self, scope: &Scope, pattern: &Pattern, bytes: isize) {
        let index = Bucket::index(scope, pattern.as_str(), self.buckets);
        self.bytes = self.bytes.saturating_add_signed(bytes);
        let taken = self.by_bucket.entry(index).or_default();
        *taken = taken.saturating_add_signed(bytes);
        if *taken == 0 {
            self.by_bucket.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_membership_counts_what_it_has_in_gossip_and_gives_it_all_back(
            topics in proptest::collection::vec(
                ("[a-z]{1,200}", proptest::option::of("[a-z]{1,30}"), "[a-z]{0,200}"),
                1..50,
            ),
        ) {
            let mut share = Share::new(8);
            let scope = Scope::default();
            let parsed = topics.iter().map(|(topic, agent, does)| {
                let agent = agent.as_deref().map(|name| AgentName::parse(name).unwrap());
                let metadata = match does.as_str() {
                    "" => Metadata::default(),
                    does => Metadata::parse(&format!(r#"{{"does":"{does}"}}"#)).unwrap(),
                };
                (Pattern::parse(topic).unwrap(), agent, metadata)
            });
            let memberships: Vec<_> = parsed.collect();
            for (pattern, agent, metadata) in &memberships {
                let mut bucket = Bucket::default();
                let member = MemberId::from_bytes([1; 16]);
                let entry = MemberEntry {
                    member,
                    agent: agent.clone(),
                    metadata: metadata.clone(),
                };
                bucket.join(&scope, pattern, entry, usize::MAX, 0).unwrap();
                let before = share.bytes();
                share.take(&scope, pattern, agent.as_ref(), metadata);
                prop_assert_eq!(share.bytes() - before, bucket.packed_bytes());
            }
            for (pattern, agent, metadata) in &memberships {
                share.give_back(&scope, pattern, agent.as_ref(), metadata);
            }
            prop_assert_eq!((share.bytes(), share.by_bucket.len()), (0, 0));
        }
    }
}
