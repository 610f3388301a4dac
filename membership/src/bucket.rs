use std::sync::Arc;

use crate::kin::{Chain, Kin, Step};
use crate::{AgentName, MemberId, Metadata, Pattern, Profile, QueueGroup, Scope};

/// A part of one node's memberships: those of some of its topics.
///
/// Gossip tells a bucket as a whole, so it is what changes, travels and is compared. It knows at
/// any time how many bytes it packs to, so that a membership that would not fit is refused
/// before it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// What most ids in it have in common, from the first one of its kind until it is empty.
    kin: Option<Kin>,
    /// Sorted by scope and pattern; none is without members.
    topics: Vec<TopicMembers>,
    /// Those of the topics that are patterns with wildcards, in the same order, so that who looks
    /// for the patterns that match a topic need not look through all.
    wildcards: Vec<(Scope, Pattern)>,
    /// The length of what all ids have in common and of all topics, packed one after the other.
    packed_bytes: usize,
}

/// The members that one node has of one topic, or those of them that are in one bucket.
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
    pub(crate) queue: Option<QueueGroup>,
}

impl Bucket {
    /// The number by which a topic finds its bucket. Part of the protocol: FNV-1a, 64 bits, of the
    /// scope, a zero byte and the pattern.
    pub(crate) fn hash(scope: &Scope, pattern: &str) -> u64 {
        let bytes = scope.as_str().bytes().chain([0]).chain(pattern.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Which of so many buckets is that of a topic with this hash. It may also be in some of those
    /// that follow.
    pub(crate) fn index(hash: u64, buckets: usize) -> usize {
        (hash % buckets as u64) as usize
    }

    /// The buckets in which a topic with this hash may be, of so many: its own, and those that follow.
    pub(crate) fn places(hash: u64, buckets: usize) -> impl Iterator<Item = usize> {
        let own = Self::index(hash, buckets);
        (0..buckets.min(PLACES_MAX)).map(move |further| (own + further) % buckets)
    }

    /// Whether a topic with this hash may be in the bucket at this index, of so many.
    pub(crate) fn is_place(hash: u64, index: usize, buckets: usize) -> bool {
        (index + buckets - Self::index(hash, buckets)) % buckets < PLACES_MAX
    }

    /// The bucket of these topics, which are sorted and each have members.
    pub(crate) fn from_sorted(kin: Option<Kin>, topics: Vec<TopicMembers>) -> Self {
        let mut bucket = Self {
            kin,
            topics,
            ..Self::default()
        };
        bucket.recount();
        bucket
    }

    /// What most ids in it have in common.
    pub(crate) fn kin(&self) -> Option<Kin> {
        self.kin
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

    /// This member of a topic.
    pub(crate) fn member(
        &self,
        scope: &Scope,
        pattern: &str,
        member: MemberId,
    ) -> Option<&MemberEntry> {
        find(self.members(scope, pattern), member)
    }

    /// The length of what is in it, packed.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// The length with one more membership, which is not in it.
    pub(crate) fn packed_bytes_with(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        entry: &MemberEntry,
    ) -> usize {
        let kin = self.kin.or_else(|| Kin::of(entry.member));
        let mut bytes = self.packed_bytes;
        if kin != self.kin || self.topics.is_empty() {
            bytes += kin_bytes(kin);
            if !self.topics.is_empty() {
                bytes -= kin_bytes(self.kin);
            }
        }
        match self.find(scope, pattern.as_str()) {
            Ok(at) => {
                let topic = &self.topics[at];
                let count = topic.members.len();
                let (Ok(place) | Err(place)) = topic.find(entry.member);
                let (before, after) = topic.members.split_at(place);
                bytes + bytes_between(kin, before, entry, after) + varint_bytes(count as u64 + 1)
                    - varint_bytes(count as u64)
            }
            Err(_) => {
                let entry_bytes = bytes_between(kin, &[], entry, &[]);
                bytes + TopicMembers::packed_bytes_of(scope, pattern, 1) + entry_bytes
            }
        }
    }

    /// Takes in a membership, which is not in it.
    pub(crate) fn join(&mut self, scope: &Scope, pattern: &Pattern, entry: MemberEntry) {
        self.packed_bytes = self.packed_bytes_with(scope, pattern, &entry);
        if self.kin.is_none() {
            self.kin = Kin::of(entry.member);
        }
        match self.find(scope, pattern.as_str()) {
            Ok(at) => {
                let topic = &mut self.topics[at];
                let (Ok(place) | Err(place)) = topic.find(entry.member);
                Arc::make_mut(&mut topic.members).insert(place, entry);
            }
            Err(at) => {
                let topic = TopicMembers {
                    scope: scope.clone(),
                    pattern: pattern.clone(),
                    members: Arc::new(vec![entry]),
                };
                self.topics.insert(at, topic);
                if !pattern.is_literal() {
                    let wildcard = (scope.clone(), pattern.clone());
                    let at = self.wildcards.partition_point(|own| *own < wildcard);
                    self.wildcards.insert(at, wildcard);
                }
            }
        }
    }

    /// Gives a member of a topic, if it is in it, other metadata.
    pub(crate) fn update(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
        metadata: &Metadata,
    ) {
        let Ok(at) = self.find(scope, pattern.as_str()) else {
            return;
        };
        let topic = &mut self.topics[at];
        if let Ok(place) = topic.find(member) {
            let own = &mut Arc::make_mut(&mut topic.members)[place];
            self.packed_bytes -= own.packed_rest_bytes();
            own.metadata = metadata.clone();
            self.packed_bytes += own.packed_rest_bytes();
        }
    }

    /// Takes a membership out, and returns it if there was one.
    pub(crate) fn leave(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
    ) -> Option<MemberEntry> {
        let at = self.find(scope, pattern.as_str()).ok()?;
        let topic = &mut self.topics[at];
        let place = topic.find(member).ok()?;
        let count = topic.members.len();
        let entry = Arc::make_mut(&mut topic.members).remove(place);
        if count > 1 {
            let (before, after) = topic.members.split_at(place);
            let entry_bytes = bytes_between(self.kin, before, &entry, after);
            let count_bytes = varint_bytes(count as u64) - varint_bytes(count as u64 - 1);
            self.packed_bytes -= entry_bytes + count_bytes;
            return Some(entry);
        }
        self.topics.remove(at);
        if !pattern.is_literal() {
            self.wildcards
                .retain(|(own, wildcard)| (own, wildcard) != (scope, pattern));
        }
        if self.topics.is_empty() {
            *self = Self::default();
        } else {
            self.packed_bytes -= TopicMembers::packed_bytes_of(scope, pattern, 1)
                + bytes_between(self.kin, &[], &entry, &[]);
        }
        Some(entry)
    }

    /// Takes these memberships out, in one pass over the bucket, and returns those there were.
    pub(crate) fn leave_all(
        &mut self,
        memberships: &[(Scope, Pattern, MemberId)],
    ) -> Vec<MemberEntry> {
        let all = memberships.iter();
        let mut leaving: Vec<_> = all.map(|(s, p, m)| (s.as_str(), p.as_str(), *m)).collect();
        leaving.sort_unstable();
        let mut left = Vec::new();
        self.topics.retain_mut(|topic| {
            let (scope, pattern) = topic.key();
            let begin = leaving.partition_point(|own| (own.0, own.1) < (scope, pattern));
            let end = leaving.partition_point(|own| (own.0, own.1) <= (scope, pattern));
            let leaving = &leaving[begin..end];
            if leaving.is_empty() {
                return true;
            }
            let stays = |m: &MemberEntry| leaving.binary_search_by_key(&m.member, |own| own.2);
            let leaves = |m: &mut MemberEntry| stays(m).is_ok();
            left.extend(Arc::make_mut(&mut topic.members).extract_if(.., leaves));
            !topic.members.is_empty()
        });
        self.recount();
        left
    }

    /// Makes what is known about the topics true of them.
    fn recount(&mut self) {
        if self.topics.is_empty() {
            *self = Self::default();
            return;
        }
        let topics = self.topics.iter();
        self.packed_bytes =
            kin_bytes(self.kin) + topics.map(|t| t.packed_bytes(self.kin)).sum::<usize>();
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

    /// The hash of the topic.
    pub(crate) fn hash(&self) -> u64 {
        Bucket::hash(&self.scope, self.pattern.as_str())
    }

    fn find(&self, member: MemberId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&member, |m| m.member)
    }

    fn packed_bytes(&self, kin: Option<Kin>) -> usize {
        let mut chain = Chain::new(kin);
        let members = self.members.iter().map(|m| m.packed_bytes(&mut chain));
        members.sum::<usize>()
            + Self::packed_bytes_of(&self.scope, &self.pattern, self.members.len())
    }

    /// The length of a topic with so many members, without the members.
    pub(crate) fn packed_bytes_of(scope: &Scope, pattern: &Pattern, members: usize) -> usize {
        packed_str_bytes(scope.as_str())
            + packed_str_bytes(pattern.as_str())
            + varint_bytes(members as u64)
    }
}

impl MemberEntry {
    pub(crate) fn new(member: MemberId, profile: Profile) -> Self {
        let Profile {
            agent,
            queue,
            metadata,
        } = profile;
        Self {
            member,
            agent,
            metadata,
            queue,
        }
    }

    /// The length of a member that comes next in the chain.
    fn packed_bytes(&self, chain: &mut Chain) -> usize {
        let id = match chain.step_to(self.member) {
            Step::Kin { later_ms, number } => {
                varint_bytes(later_ms << 1) + varint_bytes(number.into())
            }
            Step::Other(_) => 1 + size_of::<[u8; 16]>(),
        };
        id + NUMBER_BYTES + self.packed_rest_bytes()
    }

    /// What its metadata and queue group add to its length.
    pub(crate) fn packed_rest_bytes(&self) -> usize {
        packed_rest_bytes(&self.metadata, self.queue.as_ref())
    }

    /// The most that a member of this profile takes, but for the name of its agent.
    pub(crate) fn packed_bytes_max(profile: &Profile) -> usize {
        let rest = packed_rest_bytes(&profile.metadata, profile.queue.as_ref());
        1 + size_of::<[u8; 16]>() + NUMBER_BYTES + rest
    }
}

/// The entry of a member among those of a topic.
pub(crate) fn find(members: &[MemberEntry], member: MemberId) -> Option<&MemberEntry> {
    let at = members.binary_search_by_key(&member, |m| m.member).ok()?;
    members.get(at)
}

/// How many bytes more a topic takes with a member between these others of it.
fn bytes_between(
    kin: Option<Kin>,
    before: &[MemberEntry],
    entry: &MemberEntry,
    after: &[MemberEntry],
) -> usize {
    let start = Chain::new(kin);
    let is_kin = |m: &&MemberEntry| start.is_kin(m.member);
    let mut without = start;
    if let Some(last) = before.iter().rev().find(is_kin) {
        without.step_to(last.member);
    }
    let mut with = without;
    let bytes = entry.packed_bytes(&mut with);
    match after.iter().find(is_kin) {
        Some(next) => bytes + next.packed_bytes(&mut with) - next.packed_bytes(&mut without),
        None => bytes,
    }
}

/// The length of what ids have in common.
fn kin_bytes(kin: Option<Kin>) -> usize {
    1 + kin.map_or(0, |kin| {
        varint_bytes(kin.random) + varint_bytes(kin.unix_ms)
    })
}

/// The length of a text in postcard.
fn packed_str_bytes(text: &str) -> usize {
    varint_bytes(text.len() as u64) + text.len()
}

/// What metadata and queue group add to the length of a member.
pub(crate) fn packed_rest_bytes(metadata: &Metadata, queue: Option<&QueueGroup>) -> usize {
    match (metadata.is_empty(), queue) {
        (true, None) => 0,
        (true, Some(queue)) => packed_str_bytes("") + packed_str_bytes(queue.as_str()),
        (false, queue) => {
            let queue = queue.map_or("", QueueGroup::as_str);
            packed_str_bytes(metadata.as_json()) + packed_str_bytes(queue)
        }
    }
}

/// The length of a number in postcard, which writes seven bits to a byte.
fn varint_bytes(number: u64) -> usize {
    let bits = u64::BITS - number.leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

/// In how many buckets a topic may be. They have more room than all buckets of a node may take
/// together, so none is refused for want of it while there is room in the node.
const PLACES_MAX: usize = 128;

/// The number that stands for the name of a member's agent.
const NUMBER_BYTES: usize = size_of::<u16>();

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 16])
    }

    fn join(bucket: &mut Bucket, pattern: &str, n: u8) {
        let entry = MemberEntry {
            member: id(n),
            agent: None,
            metadata: Metadata::default(),
            queue: None,
        };
        let pattern = Pattern::parse(pattern).unwrap();
        bucket.join(&Scope::default(), &pattern, entry);
    }

    fn leave(bucket: &mut Bucket, pattern: &str, n: u8) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        bucket.leave(&Scope::default(), &pattern, id(n)).is_some()
    }

    #[test]
    fn a_topic_exists_only_while_it_has_members() {
        let mut bucket = Bucket::default();
        join(&mut bucket, "a", 2);
        join(&mut bucket, "a", 1);
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
    fn the_bucket_of_a_topic_is_part_of_the_protocol() {
        let index = |topic| Bucket::index(Bucket::hash(&Scope::default(), topic), 64);
        assert_eq!(index("kb.updates"), 63);
        assert_eq!(index("resource:weather:sf"), 7);
    }

    #[test]
    fn a_topic_may_be_in_its_own_bucket_and_in_those_that_follow() {
        for buckets in [1, 5, 128, 1_024] {
            for hash in [0, 900, 1_023, u64::MAX] {
                let places: Vec<_> = Bucket::places(hash, buckets).collect();
                assert_eq!(places.len(), buckets.min(PLACES_MAX));
                assert_eq!(places[0], Bucket::index(hash, buckets));
                for index in 0..buckets {
                    let is_place = Bucket::is_place(hash, index, buckets);
                    assert_eq!(is_place, places.contains(&index));
                }
            }
        }
    }
}
