use std::sync::Arc;

use crate::{AgentName, MemberId, Metadata, Pattern, Scope};

/// A part of one node's memberships: the topics that hash to the same number.
///
/// Gossip tells a bucket as a whole, so it is what changes, travels and is compared. It knows at
/// any time how many bytes it packs to, so that a membership that would not fit is refused
/// before it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Sorted by scope and pattern; none is without members.
    topics: Vec<TopicMembers>,
    /// Those of the topics that are patterns with wildcards, in the same order, so that who looks
    /// for the patterns that match a topic need not look through all.
    wildcards: Vec<(Scope, Pattern)>,
    /// The length of all topics packed one after the other.
    packed_bytes: usize,
}

/// The members that one node has of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicMembers {
    pub(crate) scope: Scope,
    pub(crate) pattern: Pattern,
    /// Sorted by id, each id once, never empty.
    pub(crate) members: Arc<Vec<MemberEntry>>,
}

/// One member of a topic of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberEntry {
    pub(crate) member: MemberId,
    pub(crate) agent: Option<AgentName>,
    pub(crate) metadata: Metadata,
}

/// Why a bucket did not take a membership or its metadata. The bucket is as it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BucketError {
    #[error("the member is in the topic already")]
    AlreadyMember,
    #[error("the member is not in the topic")]
    NotAMember,
    #[error("the bucket would pack to {0} bytes")]
    Full(usize),
    #[error("the holder would have more of the bucket than the {0} bytes left for others")]
    Crowded(usize),
}

impl Bucket {
    /// Which of so many buckets a topic belongs to. Part of the protocol: FNV-1a, 64 bits, of the
    /// scope, a zero byte and the pattern.
    pub(crate) fn index(scope: &Scope, pattern: &str, buckets: usize) -> usize {
        let bytes = scope.as_str().bytes().chain([0]).chain(pattern.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash % buckets as u64) as usize
    }

    /// The bucket of these topics, which are sorted and each have members.
    pub(crate) fn from_sorted(topics: Vec<TopicMembers>) -> Self {
        let mut bucket = Self {
            topics,
            ..Self::default()
        };
        bucket.recount();
        bucket
    }

    /// All topics, in order.
    pub(crate) fn topics(&self) -> &[TopicMembers] {
        &self.topics
    }

    /// The patterns with wildcards among the topics, in order.
    pub(crate) fn wildcards(&self) -> &[(Scope, Pattern)] {
        &self.wildcards
    }

    /// Those of them that are in this scope.
    pub(crate) fn wildcards_in(&self, scope: &Scope) -> &[(Scope, Pattern)] {
        let wildcards = &self.wildcards;
        let begin = wildcards.partition_point(|(own, _)| own < scope);
        let end = wildcards.partition_point(|(own, _)| own <= scope);
        &wildcards[begin..end]
    }

    /// The members of exactly this topic or pattern.
    pub(crate) fn members(&self, scope: &Scope, pattern: &str) -> &[MemberEntry] {
        match self.find(scope, pattern) {
            Ok(at) => &self.topics[at].members,
            Err(_) => &[],
        }
    }

    /// The length of the topics, packed.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// Takes a membership in, unless the packed topics would be longer than the limit, or what is
    /// left of it less than `held`: what the holder of the membership has of this bucket with it.
    pub(crate) fn join(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        membership: MemberEntry,
        packed_bytes_max: usize,
        held: usize,
    ) -> Result<(), BucketError> {
        let check = |packed_bytes| match packed_bytes_max.checked_sub(packed_bytes) {
            None => Err(BucketError::Full(packed_bytes)),
            Some(left) if left < held => Err(BucketError::Crowded(left)),
            Some(_) => Ok(()),
        };
        match self.find(scope, pattern.as_str()) {
            Ok(at) => {
                let topic = &mut self.topics[at];
                let Err(place) = topic.find(membership.member) else {
                    return Err(BucketError::AlreadyMember);
                };
                let count = topic.members.len();
                let packed_bytes =
                    self.packed_bytes + membership.packed_bytes() + varint_bytes(count + 1)
                        - varint_bytes(count);
                check(packed_bytes)?;
                Arc::make_mut(&mut topic.members).insert(place, membership);
                self.packed_bytes = packed_bytes;
            }
            Err(at) => {
                let topic = TopicMembers {
                    scope: scope.clone(),
                    pattern: pattern.clone(),
                    members: Arc::new(vec![membership]),
                };
                let packed_bytes = self.packed_bytes + topic.packed_bytes();
                check(packed_bytes)?;
                self.topics.insert(at, topic);
                self.packed_bytes = packed_bytes;
                if !pattern.is_literal() {
                    let wildcard = (scope.clone(), pattern.clone());
                    let at = self.wildcards.partition_point(|own| *own < wildcard);
                    self.wildcards.insert(at, wildcard);
                }
            }
        }
        Ok(())
    }

    /// Gives these members of a topic other metadata, all of them or none. Refused if it takes more
    /// bytes, and the packed topics would be longer than the limit, or what is left of it less than
    /// what the holder of the memberships, who has `held` of the bucket, would have of it then.
    ///
    /// Tells by how much the bucket has grown; nothing if all have that metadata already.
    pub(crate) fn update(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: &Metadata,
        packed_bytes_max: usize,
        held: usize,
    ) -> Result<Option<isize>, BucketError> {
        let at = self.find(scope, pattern.as_str());
        let at = at.map_err(|_| BucketError::NotAMember)?;
        let topic = &mut self.topics[at];
        let places = members.iter().map(|member| topic.find(*member));
        let places: Result<Vec<_>, _> = places.collect();
        let places = places.map_err(|_| BucketError::NotAMember)?;
        let entries = places.iter().map(|place| &topic.members[*place]);
        let changed: Vec<_> = entries.filter(|m| m.metadata != *metadata).collect();
        if changed.is_empty() {
            return Ok(None);
        }
        let before: usize = changed
            .iter()
            .map(|m| packed_metadata_bytes(&m.metadata))
            .sum();
        let after = changed.len() * packed_metadata_bytes(metadata);
        let packed_bytes = self.packed_bytes + after - before;
        if after > before {
            let held = held + after - before;
            match packed_bytes_max.checked_sub(packed_bytes) {
                None => return Err(BucketError::Full(packed_bytes)),
                Some(left) if left < held => return Err(BucketError::Crowded(left)),
                Some(_) => {}
            }
        }
        let entries = Arc::make_mut(&mut topic.members);
        for place in places {
            entries[place].metadata = metadata.clone();
        }
        self.packed_bytes = packed_bytes;
        Ok(Some(after.cast_signed() - before.cast_signed()))
    }

    /// Takes a membership out; tells whether there was one.
    pub(crate) fn leave(&mut self, scope: &Scope, pattern: &Pattern, member: MemberId) -> bool {
        let Ok(at) = self.find(scope, pattern.as_str()) else {
            return false;
        };
        let topic = &mut self.topics[at];
        let Ok(place) = topic.find(member) else {
            return false;
        };
        let count = topic.members.len();
        if count == 1 {
            self.packed_bytes -= topic.packed_bytes();
            self.topics.remove(at);
            if !pattern.is_literal() {
                self.wildcards
                    .retain(|(own, wildcard)| (own, wildcard) != (scope, pattern));
            }
            return true;
        }
        let membership = Arc::make_mut(&mut topic.members).remove(place);
        self.packed_bytes = self.packed_bytes + varint_bytes(count - 1)
            - varint_bytes(count)
            - membership.packed_bytes();
        true
    }

    /// Takes these memberships out, in one pass over the bucket; tells whether there were any.
    pub(crate) fn leave_all(&mut self, memberships: &[(Scope, Pattern, MemberId)]) -> bool {
        let all = memberships.iter();
        let mut leaving: Vec<_> = all.map(|(s, p, m)| (s.as_str(), p.as_str(), *m)).collect();
        leaving.sort_unstable();
        let mut any = false;
        self.topics.retain_mut(|topic| {
            let (scope, pattern) = topic.key();
            let begin = leaving.partition_point(|own| (own.0, own.1) < (scope, pattern));
            let end = leaving.partition_point(|own| (own.0, own.1) <= (scope, pattern));
            let leaving = &leaving[begin..end];
            if leaving.is_empty() {
                return true;
            }
            let stays = |m: &MemberEntry| leaving.binary_search_by_key(&m.member, |own| own.2);
            let count = topic.members.len();
            Arc::make_mut(&mut topic.members).retain(|m| stays(m).is_err());
            any |= topic.members.len() < count;
            !topic.members.is_empty()
        });
        self.recount();
        any
    }

    /// Makes what is known about the topics true of them.
    fn recount(&mut self) {
        self.packed_bytes = self.topics.iter().map(TopicMembers::packed_bytes).sum();
        let wildcards = self.topics.iter().filter(|t| !t.pattern.is_literal());
        self.wildcards = wildcards
            .map(|topic| (topic.scope.clone(), topic.pattern.clone()))
            .collect();
    }

    fn find(&self, scope: &Scope, pattern: &str) -> Result<usize, usize> {
        self.topics
            .binary_search_by(|topic| topic.key().cmp(&(scope.as_str(), pattern)))
    }
}

impl TopicMembers {
    /// What topics are sorted by.
    pub(crate) fn key(&self) -> (&str, &str) {
        (self.scope.as_str(), self.pattern.as_str())
    }

    fn find(&self, member: MemberId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&member, |m| m.member)
    }

    fn packed_bytes(&self) -> usize {
        let members = self.members.iter().map(MemberEntry::packed_bytes);
        Self::packed_bytes_of(&self.scope, &self.pattern, self.members.len())
            + members.sum::<usize>()
    }

    /// The length of a topic with so many members, without the members.
    pub(crate) fn packed_bytes_of(scope: &Scope, pattern: &Pattern, members: usize) -> usize {
        packed_str_bytes(scope.as_str())
            + packed_str_bytes(pattern.as_str())
            + varint_bytes(members)
    }
}

impl MemberEntry {
    fn packed_bytes(&self) -> usize {
        Self::packed_bytes_of(self.agent.as_ref(), &self.metadata)
    }

    /// The length of a member with this metadata, whose agent has this name.
    pub(crate) fn packed_bytes_of(agent: Option<&AgentName>, metadata: &Metadata) -> usize {
        let agent = agent.map_or(0, |agent| packed_str_bytes(agent.as_str()));
        size_of::<[u8; 16]>() + 1 + agent + packed_metadata_bytes(metadata)
    }
}

/// The length of a text in postcard.
fn packed_str_bytes(text: &str) -> usize {
    varint_bytes(text.len()) + text.len()
}

/// What metadata adds to the length of a member.
fn packed_metadata_bytes(metadata: &Metadata) -> usize {
    match metadata.is_empty() {
        true => 0,
        false => packed_str_bytes(metadata.as_json()),
    }
}

/// The length of a number in postcard, which writes seven bits to a byte.
fn varint_bytes(number: usize) -> usize {
    let bits = usize::BITS - number.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 16])
    }

    fn join(bucket: &mut Bucket, pattern: &str, n: u8) -> Result<(), BucketError> {
        let membership = MemberEntry {
            member: id(n),
            agent: None,
            metadata: Metadata::default(),
        };
        bucket.join(
            &Scope::default(),
            &Pattern::parse(pattern).unwrap(),
            membership,
            1_000,
            0,
        )
    }

    fn leave(bucket: &mut Bucket, pattern: &str, n: u8) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        bucket.leave(&Scope::default(), &pattern, id(n))
    }

    #[test]
    fn a_topic_exists_only_while_it_has_members() {
        let mut bucket = Bucket::default();
        assert_eq!(join(&mut bucket, "a", 2), Ok(()));
        assert_eq!(join(&mut bucket, "a", 1), Ok(()));
        assert_eq!(join(&mut bucket, "a", 1), Err(BucketError::AlreadyMember));
        let members = bucket.members(&Scope::default(), "a");
        assert_eq!(
            members.iter().map(|m| m.member).collect::<Vec<_>>(),
            [id(1), id(2)]
        );
        assert!(leave(&mut bucket, "a", 1));
        assert!(!leave(&mut bucket, "a", 1));
        assert!(leave(&mut bucket, "a", 2));
        assert_eq!(bucket, Bucket::default());
    }

    #[test]
    fn a_membership_that_does_not_fit_changes_nothing() {
        let mut bucket = Bucket::default();
        let refused = (0..100).find_map(|n| join(&mut bucket, "a", n).err());
        let before = bucket.clone();
        assert!(matches!(refused, Some(BucketError::Full(bytes)) if bytes > 1_000));
        assert!(bucket.packed_bytes() <= 1_000);
        assert!(join(&mut bucket, "b", 0).is_err());
        assert_eq!(bucket, before);
    }

    #[test]
    fn an_update_that_does_not_fit_or_names_a_stranger_changes_nothing() {
        let (mut bucket, scope) = (Bucket::default(), Scope::default());
        let pattern = Pattern::parse("a").unwrap();
        for n in 0..3 {
            join(&mut bucket, "a", n).unwrap();
        }
        let before = bucket.clone();
        let large = Metadata::parse(&format!(r#"{{"a":"{}"}}"#, "x".repeat(300))).unwrap();
        let (all, room) = ([id(0), id(1), id(2)], bucket.packed_bytes() + 2_000);
        let mut update = |members: &[MemberId], metadata: &Metadata, max, held| {
            bucket.update(&scope, &pattern, members, metadata, max, held)
        };
        let stranger = update(&[id(0), id(7)], &large, room, 0);
        assert_eq!(stranger, Err(BucketError::NotAMember));
        assert!(matches!(
            update(&all, &large, 900, 0),
            Err(BucketError::Full(_))
        ));
        let crowded = update(&all, &large, room, 500);
        assert!(matches!(crowded, Err(BucketError::Crowded(left)) if left < 1_430));
        assert_eq!(update(&all, &Metadata::default(), room, 0), Ok(None));
        assert_eq!(bucket, before);

        // Whoever takes less may always do so.
        let grown = bucket
            .update(&scope, &pattern, &all, &large, room, 0)
            .unwrap();
        let shrunk = bucket.update(&scope, &pattern, &all, &Metadata::default(), 0, 0);
        assert_eq!(shrunk, Ok(grown.map(|grown| -grown)));
        assert_eq!(bucket, before);
    }

    #[test]
    fn the_bucket_of_a_topic_is_part_of_the_protocol() {
        let scope = Scope::default();
        assert_eq!(Bucket::index(&scope, "kb.updates", 64), 63);
        assert_eq!(Bucket::index(&scope, "resource:weather:sf", 64), 7);
    }
}
