use crate::bucket::{MemberEntry, TopicMembers};
use crate::{Pattern, Profile, Scope};

/// How much of a node's room for memberships one holder of them, such as a session, has taken.
///
/// Each membership counts with the most it can have in gossip if it is alone in its topic: 20 and the
/// names of scope, topic, agent and queue group and its metadata with a byte or two for each. So what is given back
/// is what was taken, whoever else is in the topic; it counts more than is needed of several in one
/// topic, or under one name.
#[derive(Debug, Default)]
pub struct Share {
    bytes: usize,
}

impl Share {
    /// How many bytes a membership counts.
    pub fn bytes_of(scope: &Scope, pattern: &Pattern, profile: &Profile) -> usize {
        let agent = profile.agent.as_ref();
        TopicMembers::packed_bytes_of(scope, pattern, 1)
            + MemberEntry::packed_bytes_max(profile)
            + agent.map_or(0, |agent| 1 + agent.as_str().len())
    }

    /// How many bytes are taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what a membership took that has ended or is about to.
    pub fn give_back(&mut self, scope: &Scope, pattern: &Pattern, profile: &Profile) {
        let bytes = Self::bytes_of(scope, pattern, profile);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many bytes would be taken with one more membership.
    pub(crate) fn bytes_with(&self, scope: &Scope, pattern: &Pattern, profile: &Profile) -> usize {
        self.bytes + Self::bytes_of(scope, pattern, profile)
    }

    /// Takes what a membership needs, for one that is made, or that is told to nobody and is to count all
    /// the same.
    pub fn take(&mut self, scope: &Scope, pattern: &Pattern, profile: &Profile) {
        self.bytes = self.bytes_with(scope, pattern, profile);
    }

    /// Takes so many bytes more, or fewer.
    pub(crate) fn grow(&mut self, bytes: isize) {
        self.bytes = self.bytes.saturating_add_signed(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Bucket;
    use crate::{AgentName, MemberId, Metadata, QueueGroup};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_membership_counts_no_less_than_it_has_in_gossip_and_gives_it_all_back(
            topics in proptest::collection::vec(
                (
                    "[a-z]{1,200}",
                    proptest::option::of("[a-z]{1,30}"),
                    "[a-z]{0,200}",
                    proptest::option::of("[a-z]{1,200}"),
                ),
                1..50,
            ),
        ) {
            let mut share = Share::default();
            let scope = Scope::default();
            let parsed = topics.iter().map(|(topic, agent, does, queue)| {
                let metadata = match does.as_str() {
                    "" => Metadata::default(),
                    does => Metadata::parse(&format!(r#"{{"does":"{does}"}}"#)).unwrap(),
                };
                let profile = Profile {
                    agent: agent.as_deref().map(|name| AgentName::parse(name).unwrap()),
                    queue: queue.as_deref().map(|name| QueueGroup::parse(name).unwrap()),
                    metadata,
                };
                (Pattern::parse(topic).unwrap(), profile)
            });
            let memberships: Vec<_> = parsed.collect();
            for (pattern, profile) in &memberships {
                let mut bucket = Bucket::default();
                let member = MemberId::from_bytes([1; 16]);
                bucket.join(&scope, pattern, MemberEntry::new(member, profile.clone()));
                let before = share.bytes();
                share.take(&scope, pattern, profile);
                let name = profile.agent.as_ref().map_or(0, |name| name.as_str().len());
                prop_assert!(share.bytes() - before >= bucket.packed_bytes() - 1 + name);
            }
            for (pattern, profile) in &memberships {
                share.give_back(&scope, pattern, profile);
            }
            prop_assert_eq!(share.bytes(), 0);
        }
    }
}
