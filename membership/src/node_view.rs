use std::collections::BTreeSet;
use std::sync::Arc;

use rpds::RedBlackTreeSetSync;
use tidings_identity::NodeRun;
use tokio::time::Instant;

use crate::agents::Agents;
use crate::bucket::{Bucket, MemberEntry, TopicMembers, find, packed_rest_bytes};
use crate::buckets::Buckets;
use crate::client_door::ClientDoor;
use crate::config::BUCKET_BYTES_MAX;
use crate::packed::packed_bytes_max;
use crate::records::Records;
use crate::spread::Spread;
use crate::{MemberId, Metadata, Pattern, Scope, Topic};

/// One node, as a view has it: who it is and what its members are.
///
/// A topic has a bucket of its own. When it has more members than are kept together there, or that
/// bucket is full, others are in the buckets that follow; a member stays where it came to be, unless
/// an update of its metadata does not fit there. So a change of a large topic costs no more than one of a
/// small one, and no topic is too large.
///
/// A copy shares all with the original but what one of the two changes afterwards.
#[derive(Debug, Clone)]
pub(crate) struct NodeView {
    pub(crate) run: NodeRun,
    /// The version of its gossip state of which this is all; 0 for this node itself.
    pub(crate) version: u64,
    /// When it came to be shown at that version; none of this node itself.
    pub(crate) shown_since: Option<Instant>,
    buckets: Buckets,
    /// The buckets that have patterns with wildcards, so that the members of a topic are found
    /// without looking through all.
    with_wildcards: RedBlackTreeSetSync<usize>,
    spread: Spread,
    /// The names of its agents, if it is this node.
    agents: Agents,
    /// How many bytes all buckets pack to.
    packed_bytes: usize,
    /// What it tells of topics.
    pub(crate) records: Arc<Records>,
    /// Where its clients connect.
    pub(crate) door: Arc<ClientDoor>,
}

/// Why a node did not take a membership or its metadata. It is as it was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the member is in the topic already")]
    AlreadyMember,
    #[error("the member is not in the topic")]
    NotAMember,
    #[error("all memberships together would pack to {0} bytes")]
    Full(usize),
    #[error("none of the {0} buckets for the topic has room")]
    BucketsFull(usize),
    #[error("the holder would have more than the {0} bytes left for others")]
    Crowded(usize),
}

impl NodeView {
    /// A node without members, which keeps them in so many buckets (at least one).
    pub(crate) fn new(run: NodeRun, buckets: usize) -> Self {
        Self {
            run,
            version: 0,
            shown_since: None,
            buckets: Buckets::new(buckets.max(1)),
            with_wildcards: RedBlackTreeSetSync::new_sync(),
            spread: Spread::default(),
            agents: Agents::default(),
            packed_bytes: 0,
            records: Arc::default(),
            door: Arc::default(),
        }
    }

    pub(crate) fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// All topics, in no order; one that is in several buckets as often, each time with other members.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicMembers> {
        self.buckets.iter().flat_map(|bucket| bucket.topics())
    }

    /// All topics, in no order, each once, though with some of its members only.
    pub(crate) fn distinct_topics(&self) -> impl Iterator<Item = &TopicMembers> {
        self.buckets
            .iter()
            .enumerate()
            .flat_map(move |(index, bucket)| {
                let is_first = move |topic: &&TopicMembers| {
                    let (scope, pattern) = (&topic.scope, topic.pattern.as_str());
                    let has =
                        |place: &usize| !self.bucket(*place).members(scope, pattern).is_empty();
                    self.places(scope, pattern).find(has) == Some(index)
                };
                bucket.topics().iter().filter(is_first)
            })
    }

    /// The members of exactly this topic or pattern, each once.
    pub(crate) fn members(&self, scope: &Scope, pattern: &str) -> Vec<&MemberEntry> {
        let parts = self.places(scope, pattern);
        let mut parts = parts.map(|index| self.bucket(index).members(scope, pattern));
        let mut members: Vec<_> = parts.next().into_iter().flatten().collect();
        let of_own = members.len();
        members.extend(parts.flatten());
        if members.len() > of_own {
            // One that is moved may be in two buckets, of which the first counts.
            members.sort_by_key(|m| m.member);
            members.dedup_by_key(|m| m.member);
        }
        members
    }

    /// Everyone whom a broadcast on this topic reaches.
    pub(crate) fn audience(&self, scope: &Scope, topic: &Topic) -> Vec<&MemberEntry> {
        let mut audience = self.members(scope, topic.as_str());
        let matching = self.matching(scope, topic).into_iter();
        audience.extend(matching.flat_map(|pattern| self.members(scope, pattern)));
        audience
    }

    /// This one of the [`audience`](Self::audience).
    pub(crate) fn in_audience(
        &self,
        scope: &Scope,
        topic: &Topic,
        member: MemberId,
    ) -> Option<&MemberEntry> {
        let exact = self.member(scope, topic.as_str(), member);
        exact.or_else(|| {
            let mut matching = self.matching(scope, topic).into_iter();
            matching.find_map(|pattern| self.member(scope, pattern, member))
        })
    }

    /// The patterns with wildcards that match a topic. One may be in several buckets.
    fn matching(&self, scope: &Scope, topic: &Topic) -> BTreeSet<&str> {
        let wildcards = self.with_wildcards.iter();
        let wildcards = wildcards.flat_map(|&index| self.bucket(index).wildcards_in(scope));
        let matching = wildcards.filter(|(_, pattern)| pattern.matches(topic));
        matching.map(|(_, pattern)| pattern.as_str()).collect()
    }

    /// This member of exactly this topic or pattern, as it is among the [`members`](Self::members).
    pub(crate) fn member(
        &self,
        scope: &Scope,
        pattern: &str,
        member: MemberId,
    ) -> Option<&MemberEntry> {
        let mut parts = self.places(scope, pattern);
        parts.find_map(|place| self.bucket(place).member(scope, pattern, member))
    }

    /// The buckets in which those are who are not any more in the one at this index, which was as this.
    pub(crate) fn moved_from(&self, index: usize, before: &Bucket) -> BTreeSet<usize> {
        let topics = before.topics().iter();
        let moved = topics.flat_map(|topic| {
            let (scope, pattern) = (&topic.scope, topic.pattern.as_str());
            let staying = self.bucket(index).members(scope, pattern);
            let gone = topic.members.iter();
            let gone = gone.filter(move |m| find(staying, m.member).is_none());
            gone.filter_map(move |m| self.place_of(scope, pattern, m.member))
        });
        moved.collect()
    }

    /// The index of the bucket that this member of a topic is in.
    pub(crate) fn place_of(&self, scope: &Scope, pattern: &str, member: MemberId) -> Option<usize> {
        self.places(scope, pattern)
            .find(|&place| self.bucket(place).member(scope, pattern, member).is_some())
    }

    /// Takes a membership in, unless all that is here would pack to more than this, or what is left of it
    /// is less than `held`: what the holder of the membership has with it.
    pub(crate) fn join(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        entry: MemberEntry,
        bytes_max: usize,
        held: usize,
    ) -> Result<(), Refused> {
        if self
            .place_of(scope, pattern.as_str(), entry.member)
            .is_some()
        {
            return Err(Refused::AlreadyMember);
        }
        let hash = Bucket::hash(scope, pattern.as_str());
        let full = || Refused::BucketsFull(Bucket::places(hash, self.buckets.len()).count());
        let index = self.place_for(hash, scope, pattern, &entry);
        let index = index.ok_or_else(full)?;
        let bucket = self.bucket(index);
        let packed_bytes = self.packed_bytes - bucket.packed_bytes()
            + bucket.packed_bytes_with(scope, pattern, &entry);
        let names = self.agents.bytes() + self.agents.more_with(entry.agent.as_ref());
        match bytes_max.checked_sub(packed_bytes + names) {
            None => return Err(Refused::Full(packed_bytes + names)),
            Some(left) if left < held => return Err(Refused::Crowded(left)),
            Some(_) => {}
        }
        self.put(index, scope, pattern, entry);
        Ok(())
    }

    /// Puts a membership, which is not here, into the bucket at this index.
    fn put(&mut self, index: usize, scope: &Scope, pattern: &Pattern, entry: MemberEntry) {
        let bytes = self.bucket(index).packed_bytes();
        self.agents.join(entry.agent.as_ref());
        self.change(index, |bucket| bucket.join(scope, pattern, entry));
        self.packed_bytes = self.packed_bytes - bytes + self.bucket(index).packed_bytes();
        let hash = Bucket::hash(scope, pattern.as_str());
        if index != Bucket::index(hash, self.buckets.len()) {
            self.spread.add(hash, index);
        }
    }

    /// Gives these members of a topic other metadata, all of them or none. Refused if it takes more
    /// bytes, and all that is here would pack to more than the limit, or what is left of it would be less
    /// than what the holder of the memberships, who has `held`, would have then.
    ///
    /// Tells by how much they have grown; nothing if all have that metadata already.
    pub(crate) fn update(
        &mut self,
        scope: &Scope,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: &Metadata,
        bytes_max: usize,
        held: usize,
    ) -> Result<Option<isize>, Refused> {
        let mut next = self.clone();
        let (mut is_changed, mut before, mut after) = (false, 0, 0);
        for &member in members {
            let place = next.place_of(scope, pattern.as_str(), member);
            let place = place.ok_or(Refused::NotAMember)?;
            if let Some(old) = next.update_one(place, scope, pattern, member, metadata)? {
                is_changed = true;
                before += old.packed_rest_bytes();
                after += packed_rest_bytes(metadata, old.queue.as_ref());
            }
        }
        if !is_changed {
            return Ok(None);
        }
        if after > before {
            let bytes = next.packed_bytes + next.agents.bytes();
            match bytes_max.checked_sub(bytes) {
                None => return Err(Refused::Full(bytes)),
                Some(left) if left < held + after - before => return Err(Refused::Crowded(left)),
                Some(_) => {}
            }
        }
        *self = next;
        Ok(Some(after.cast_signed() - before.cast_signed()))
    }

    /// Gives the member in the bucket at this index other metadata, and moves it if it does not fit there.
    /// Returns what it was, if it had something else.
    fn update_one(
        &mut self,
        place: usize,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
        metadata: &Metadata,
    ) -> Result<Option<MemberEntry>, Refused> {
        let bucket = self.bucket(place);
        let entry = bucket.member(scope, pattern.as_str(), member);
        let entry = entry.ok_or(Refused::NotAMember)?.clone();
        if entry.metadata == *metadata {
            return Ok(None);
        }
        let bytes = bucket.packed_bytes();
        let more = packed_rest_bytes(metadata, entry.queue.as_ref());
        let fits = bytes + more - entry.packed_rest_bytes() <= packed_bytes_max(BUCKET_BYTES_MAX);
        if fits {
            self.change(place, |own| own.update(scope, pattern, member, metadata));
            self.packed_bytes = self.packed_bytes - bytes + self.bucket(place).packed_bytes();
            return Ok(Some(entry));
        }
        let before = entry.clone();
        let metadata = metadata.clone();
        let entry = MemberEntry { metadata, ..entry };
        self.leave(scope, pattern, member);
        let hash = Bucket::hash(scope, pattern.as_str());
        let full = || Refused::BucketsFull(Bucket::places(hash, self.buckets.len()).count());
        let place = self.place_for(hash, scope, pattern, &entry);
        let place = place.ok_or_else(full)?;
        self.put(place, scope, pattern, entry);
        Ok(Some(before))
    }

    /// Takes a membership out; tells whether there was one.
    pub(crate) fn leave(&mut self, scope: &Scope, pattern: &Pattern, member: MemberId) -> bool {
        let Some(index) = self.place_of(scope, pattern.as_str(), member) else {
            return false;
        };
        let membership = (scope.clone(), pattern.clone(), member);
        self.leave_all(index, &[membership])
    }

    /// Takes memberships of the bucket at this index out; tells whether there were any.
    pub(crate) fn leave_all(
        &mut self,
        index: usize,
        memberships: &[(Scope, Pattern, MemberId)],
    ) -> bool {
        let bytes = self.bucket(index).packed_bytes();
        let left = self.change(index, |bucket| match memberships {
            [(scope, pattern, member)] => Vec::from_iter(bucket.leave(scope, pattern, *member)),
            _ => bucket.leave_all(memberships),
        });
        self.packed_bytes = self.packed_bytes - bytes + self.bucket(index).packed_bytes();
        for entry in &left {
            self.agents.leave(entry.agent.as_ref());
        }
        let hashes = memberships
            .iter()
            .map(|(scope, pattern, _)| Bucket::hash(scope, pattern.as_str()));
        let strangers = hashes.filter(|&hash| Bucket::index(hash, self.buckets.len()) != index);
        let strangers: BTreeSet<u64> = strangers.collect();
        for hash in strangers {
            let mut staying = self.bucket(index).topics().iter();
            if !staying.any(|topic| topic.hash() == hash) {
                self.spread.remove(hash, index);
            }
        }
        !left.is_empty()
    }

    /// Puts another bucket in the place of the one at this index; nothing if there is no such.
    pub(crate) fn replace(&mut self, index: usize, bucket: Bucket) {
        if index >= self.buckets.len() {
            return;
        }
        let before = Arc::clone(self.bucket(index));
        for hash in self.strangers(index, &before) {
            self.spread.remove(hash, index);
        }
        for hash in self.strangers(index, &bucket) {
            self.spread.add(hash, index);
        }
        self.packed_bytes = self.packed_bytes - before.packed_bytes() + bucket.packed_bytes();
        *self.buckets.get_mut(index) = Arc::new(bucket);
        self.look_for_wildcards(index);
    }

    /// The hashes of those topics of a bucket at this index that have another one of their own.
    fn strangers(&self, index: usize, bucket: &Bucket) -> Vec<u64> {
        let buckets = self.buckets.len();
        let hashes = bucket.topics().iter().map(|topic| topic.hash());
        hashes
            .filter(|&hash| Bucket::index(hash, buckets) != index)
            .collect()
    }

    /// The index of the bucket that is that of this topic or pattern.
    pub(crate) fn index(&self, scope: &Scope, pattern: &str) -> usize {
        let hash = Bucket::hash(scope, pattern);
        Bucket::index(hash, self.buckets.len())
    }

    /// The buckets that this topic is in, if it is anywhere: its own first.
    fn places(&self, scope: &Scope, pattern: &str) -> impl Iterator<Item = usize> {
        let hash = Bucket::hash(scope, pattern);
        let own = Bucket::index(hash, self.buckets.len());
        std::iter::once(own).chain(self.spread.of(hash))
    }

    /// Where a membership is to be: in the first bucket for its topic that has few members of it, or
    /// else in the first that has room.
    fn place_for(
        &self,
        hash: u64,
        scope: &Scope,
        pattern: &Pattern,
        entry: &MemberEntry,
    ) -> Option<usize> {
        let places = || Bucket::places(hash, self.buckets.len());
        let has_room = |place: &usize| {
            let bytes = self.bucket(*place).packed_bytes_with(scope, pattern, entry);
            bytes <= packed_bytes_max(BUCKET_BYTES_MAX)
        };
        let has_few = |place: &usize| {
            let members = self.bucket(*place).members(scope, pattern.as_str());
            members.len() < TOGETHER_MAX
        };
        let mut few = places().filter(has_few);
        few.find(has_room).or_else(|| places().find(has_room))
    }

    fn bucket(&self, index: usize) -> &Arc<Bucket> {
        self.buckets.get(index)
    }

    fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let changed = change(Arc::make_mut(self.buckets.get_mut(index)));
        self.look_for_wildcards(index);
        changed
    }

    fn look_for_wildcards(&mut self, index: usize) {
        let has_some = !self.bucket(index).wildcards().is_empty();
        if has_some == self.with_wildcards.contains(&index) {
            return;
        }
        if has_some {
            self.with_wildcards.insert_mut(index);
        } else {
            self.with_wildcards.remove_mut(&index);
        }
    }
}

/// So many members of a topic are in one bucket before others come into the next. More cost more with
/// each change of one of them, fewer take more room.
const TOGETHER_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentName;
    use crate::MemberIds;
    use crate::packed::bucket_text_bytes;

    const ALL: usize = usize::MAX;

    fn node(buckets: usize) -> NodeView {
        let run = NodeRun::new("n0".parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into());
        NodeView::new(run, buckets)
    }

    /// So many members join a topic, one each minute.
    fn join(node: &mut NodeView, topic: &str, count: u64, max: usize) -> Vec<MemberId> {
        let (mut ids, pattern) = (MemberIds::default(), topic.parse().unwrap());
        let members = (0..count).map(|n| ids.next(1_700_000_000_000 + n * 60_000));
        let join = |member: &MemberId| {
            let (member, agent) = (*member, None);
            let metadata = Metadata::default();
            let entry = MemberEntry {
                member,
                agent,
                metadata,
                queue: None,
            };
            let joined = node.join(&Scope::default(), &pattern, entry, max, 0);
            joined.is_ok()
        };
        members.take_while(join).collect()
    }

    fn leave(node: &mut NodeView, topic: &str, members: &[MemberId]) {
        let pattern = topic.parse().unwrap();
        for member in members {
            assert!(node.leave(&Scope::default(), &pattern, *member));
        }
    }

    fn ids(found: Vec<&MemberEntry>) -> Vec<MemberId> {
        found.into_iter().map(|m| m.member).collect()
    }

    #[test]
    fn a_topic_with_very_many_members_is_one_topic_and_no_bucket_is_large() {
        let (mut node, scope) = (node(1_024), Scope::default());
        let large = join(&mut node, "large.one", 20_000, ALL);
        let wild = join(&mut node, "large.*", 1_000, ALL);
        assert_eq!(ids(node.members(&scope, "large.one")), large);
        let audience = ids(node.audience(&scope, &"large.one".parse().unwrap()));
        assert_eq!(audience, [&large[..], &wild].concat());
        let longest = node.buckets().iter().map(|bucket| bucket.packed_bytes());
        assert!(
            longest
                .max()
                .is_some_and(|bytes| bucket_text_bytes(bytes) < 5_000)
        );
        let pattern: Pattern = "large.one".parse().unwrap();
        let entry = MemberEntry {
            member: large[19_000],
            agent: None,
            metadata: Metadata::default(),
            queue: None,
        };
        let again = node.join(&scope, &pattern, entry, ALL, 0);
        assert_eq!(again, Err(Refused::AlreadyMember));
        let before: Vec<_> = node.buckets().iter().map(|b| b.topics().len()).collect();
        leave(&mut node, "large.one", &large[5_000..5_500]);
        let fresh = join(&mut node, "large.one", 500, ALL);
        let after: Vec<_> = node.buckets().iter().map(|b| b.topics().len()).collect();
        assert_eq!(before, after, "who comes takes the place of who has left");
        leave(&mut node, "large.one", &fresh);
        leave(&mut node, "large.one", &large[..5_000]);
        leave(&mut node, "large.one", &large[5_500..]);
        leave(&mut node, "large.*", &wild);
        assert_eq!((node.packed_bytes, node.topics().count()), (0, 0));
        assert_eq!(node.place_of(&scope, "large.one", large[0]), None);
    }

    #[test]
    fn a_bucket_that_is_full_gives_its_topics_to_the_next() {
        let mut node = node(2);
        let long = "x".repeat(200);
        let many = (0..).map(|n| format!("{long}.{n}"));
        let joined = many.take_while(|topic| join(&mut node, topic, 1, ALL).len() == 1);
        let joined: Vec<_> = joined.collect();
        for topic in &joined {
            assert_eq!(node.members(&Scope::default(), topic).len(), 1);
        }
        for bucket in node.buckets().iter() {
            let bytes = bucket_text_bytes(bucket.packed_bytes());
            assert!(
                (BUCKET_BYTES_MAX - 400..=BUCKET_BYTES_MAX).contains(&bytes),
                "{bytes}"
            );
        }
        let pattern = format!("{long}.more").parse().unwrap();
        let member = MemberId::from_bytes([1; 16]);
        let entry = MemberEntry {
            member,
            agent: None,
            metadata: Metadata::default(),
            queue: None,
        };
        let refused = node.join(&Scope::default(), &pattern, entry, ALL, 0);
        assert_eq!(refused, Err(Refused::BucketsFull(2)));
    }

    #[test]
    fn all_buckets_together_have_the_room_of_the_node() {
        let mut node = node(1_024);
        let joined = join(&mut node, "a", 100_000, 30_000);
        let packed: usize = node.buckets().iter().map(|b| b.packed_bytes()).sum();
        assert_eq!(node.packed_bytes, packed);
        assert!((29_980..=30_000).contains(&packed), "{packed}");
        leave(&mut node, "a", &joined[..10]);
        let name = |n: u8| AgentName::parse(&format!("agent-{n}")).ok();
        let mut named = |member: u8, agent: u8| {
            let member = MemberId::from_bytes([member; 16]);
            let entry = MemberEntry {
                member,
                agent: name(agent),
                metadata: Metadata::default(),
                queue: None,
            };
            node.join(&Scope::default(), &"a".parse().unwrap(), entry, packed, 0)
        };
        assert!(matches!(named(1, 1), Err(Refused::Full(bytes)) if bytes > packed));
        leave(&mut node, "a", &joined[10..30]);
        let mut named = |member: u8, agent: u8| {
            let member = MemberId::from_bytes([member; 16]);
            let entry = MemberEntry {
                member,
                agent: name(agent),
                metadata: Metadata::default(),
                queue: None,
            };
            node.join(&Scope::default(), &"a".parse().unwrap(), entry, packed, 0)
        };
        assert_eq!((named(1, 1), named(2, 1)), (Ok(()), Ok(())));
        assert!(
            matches!(named(3, 2), Err(Refused::Full(_))),
            "a name takes room once"
        );
    }

    fn of_bytes(bytes: usize) -> Metadata {
        let says = "x".repeat(bytes - r#"{"a":""}"#.len());
        Metadata::parse(&format!(r#"{{"a":"{says}"}}"#)).unwrap()
    }

    #[test]
    fn an_update_moves_who_does_not_fit_any_more_into_other_buckets() {
        let (mut node, scope) = (node(1_024), Scope::default());
        let (pattern, large) = ("a".parse().unwrap(), of_bytes(1_000));
        let members = join(&mut node, "a", 300, ALL);
        let before = node.clone();
        let updated = node.update(&scope, &pattern, &members, &large, ALL, 0);
        assert_eq!(updated, Ok(Some(300 * 1_003)));
        let found = node.members(&scope, "a");
        assert!(found.iter().all(|m| m.metadata == large));
        assert_eq!(ids(found), members);
        let buckets = || node.buckets().iter().map(|bucket| bucket.packed_bytes());
        assert!(buckets().all(|bytes| bytes <= packed_bytes_max(BUCKET_BYTES_MAX)));
        assert_eq!(buckets().sum::<usize>(), node.packed_bytes);
        let own = before.place_of(&scope, "a", members[0]).unwrap();
        let moved = node.moved_from(own, before.bucket(own));
        assert!(moved.len() >= 6 && moved.iter().all(|&place| place != own));

        let shrunk = node.update(&scope, &pattern, &members, &Metadata::default(), 0, 0);
        assert_eq!(shrunk, Ok(Some(-300 * 1_003)), "less may always be");
        leave(&mut node, "a", &members);
        assert_eq!((node.packed_bytes, node.topics().count()), (0, 0));
    }

    #[test]
    fn an_update_that_does_not_fit_or_names_a_stranger_changes_nothing() {
        let (mut node, scope) = (node(2), Scope::default());
        let (pattern, large) = ("a".parse().unwrap(), of_bytes(1_000));
        let members = join(&mut node, "a", 100, ALL);
        let stranger = [members[0], MemberId::from_bytes([7; 16])];
        let before = node.packed_bytes;
        let few = &members[..3];
        let mut update = |members: &[MemberId], metadata: &Metadata, max, held| {
            node.update(&scope, &pattern, members, metadata, max, held)
        };
        let refused = update(&stranger, &large, ALL, 0);
        assert_eq!(refused, Err(Refused::NotAMember));
        let room = before + 3_009;
        let refused = update(few, &large, room - 1, 0);
        assert_eq!(refused, Err(Refused::Full(room)));
        let refused = update(few, &large, room + 3_103, 95);
        assert_eq!(refused, Err(Refused::Crowded(3_103)));
        let refused = update(&members, &large, ALL, 0);
        assert_eq!(refused, Err(Refused::BucketsFull(2)));
        assert_eq!(update(&members, &Metadata::default(), 0, 0), Ok(None));
        assert_eq!(update(few, &large, room + 3_104, 95), Ok(Some(3_009)));
        let updated = node.members(&scope, "a");
        let updated = updated.iter().filter(|m| !m.metadata.is_empty()).count();
        assert_eq!((updated, node.packed_bytes), (3, room));
    }

    #[test]
    fn nobody_holds_more_than_is_left() {
        let mut node = node(1_024);
        let pattern: Pattern = "a".parse().unwrap();
        let mut join = |n: u8, held| {
            let member = MemberId::from_bytes([n; 16]);
            let entry = MemberEntry {
                member,
                agent: None,
                metadata: Metadata::default(),
                queue: None,
            };
            node.join(&Scope::default(), &pattern, entry, 100, held)
        };
        assert_eq!(join(1, 60), Ok(()));
        assert_eq!(join(2, 60), Err(Refused::Crowded(50)));
        assert_eq!(join(2, 50), Ok(()));
    }
}
