//! Which member of a queue group gets a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidings_identity::NodeId;
use tidings_membership::{Member, MemberId, QueueGroup};

use crate::interested::Interested;
use crate::mailbox::Subscriber;
use crate::remote::Remote;

/// A queue group as a message finds it: its members that subscribed to whatever matches.
pub(crate) struct Group<'a> {
    pub(crate) name: &'a QueueGroup,
    /// Those of each route that the message takes.
    parts: Vec<&'a Interested>,
}

/// What the choice falls to: numbers that are spread evenly, and that nothing in the messages has to do
/// with. Not to be used where somebody must not guess them.
#[derive(Debug, Default)]
pub(crate) struct Dice(AtomicU64);

/// The peers that were chosen for queue groups, each once.
#[derive(Debug, Default)]
pub(crate) struct Chosen(Vec<(Arc<Remote>, Vec<QueueGroup>)>);

impl<'a> Group<'a> {
    pub(crate) fn new(name: &'a QueueGroup, part: &'a Interested) -> Self {
        Self {
            name,
            parts: vec![part],
        }
    }

    /// The same group in one more route.
    pub(crate) fn add(&mut self, part: &'a Interested) {
        self.parts.push(part);
    }

    /// Its members on this node, from one of them on, whom the dice choose.
    pub(crate) fn local(&self, dice: &Dice) -> impl Iterator<Item = &'a Arc<Subscriber>> + Clone {
        let count = |part: &&Interested| part.local.len();
        let mut place = dice.below(self.parts.iter().map(count).sum());
        let mut first = 0;
        while first + 1 < self.parts.len() && place >= count(&self.parts[first]) {
            place -= count(&self.parts[first]);
            first += 1;
        }
        let begin = self.parts[first];
        let others = self.parts[first + 1..]
            .iter()
            .chain(&self.parts[..first])
            .copied()
            .collect::<Vec<_>>()
            .into_iter();
        let others = others.flat_map(|part| part.local.iter());
        let rest = begin.local.iter_from(place).chain(others);
        rest.chain(begin.local.iter().take(place))
    }

    /// A peer that has members of it and is wanted: each the more often the more members it has. One
    /// that can be reached at once comes before the others.
    pub(crate) fn peer(
        &self,
        dice: &Dice,
        wanted: impl Fn(&Remote) -> bool,
    ) -> Option<&'a Arc<Remote>> {
        let peers = self.parts.iter().flat_map(|part| &part.remote);
        let peers: Vec<_> = peers.filter(|(peer, _)| wanted(peer)).collect();
        let linked = peers.iter().copied();
        let linked: Vec<_> = linked.filter(|(peer, _)| peer.peer.is_linked()).collect();
        let of = if linked.is_empty() { &peers } else { &linked };
        let mut place = dice.below(of.iter().map(|(_, members)| members).sum());
        for (peer, members) in of {
            match place.checked_sub(*members) {
                Some(left) => place = left,
                None => return Some(peer),
            }
        }
        None
    }
}

impl Dice {
    /// A number below this one; 0 if that is 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        if bound < 2 {
            return 0;
        }
        // SplitMix64, whose outputs over successive inputs pass for random.
        let mut bits = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((u128::from(bits) * bound as u128) >> 64) as usize
    }
}

impl Chosen {
    /// A peer was chosen for a group.
    pub(crate) fn add(&mut self, remote: &Arc<Remote>, queue: &QueueGroup) {
        let mut chosen = self.0.iter_mut();
        match chosen.find(|(own, _)| own.node == remote.node) {
            Some((_, queues)) => queues.push(queue.clone()),
            None => self.0.push((Arc::clone(remote), vec![queue.clone()])),
        }
    }

    /// Whether none was.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer was chosen for any group.
    pub(crate) fn has(&self, remote: &Remote) -> bool {
        self.0.iter().any(|(own, _)| own.node == remote.node)
    }

    /// For which groups a peer was chosen, if it was for any. It is taken out.
    pub(crate) fn take(&mut self, remote: &Remote) -> Option<Vec<QueueGroup>> {
        let at = self.0.iter().position(|(own, _)| own.node == remote.node)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Those who have not been taken out.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = (Arc<Remote>, Vec<QueueGroup>)> {
        self.0.into_iter()
    }
}

/// Of each queue group among these members one, of this node if there is one; and all that are in none.
/// Tells besides which are the chosen ones, and where.
pub(crate) fn one_of_each(
    mut members: Vec<Member>,
    own: &NodeId,
    dice: &Dice,
) -> (Vec<Member>, Vec<(NodeId, MemberId)>) {
    let mut grouped: Vec<Member> = members.extract_if(.., |m| m.queue.is_some()).collect();
    // Those of this node come first in each group.
    grouped.sort_by(|a, b| (&a.queue, a.node != *own).cmp(&(&b.queue, b.node != *own)));
    let mut chosen = Vec::new();
    for group in grouped.chunk_by(|a, b| a.queue == b.queue) {
        let here = group.iter().filter(|member| member.node == *own).count();
        let among = if here == 0 { group.len() } else { here };
        let member = &group[dice.below(among)];
        chosen.push((member.node.clone(), member.member));
        members.push(member.clone());
    }
    (members, chosen)
}

#[cfg(test)]
mod tests {
    use tidings_transport::Budget;

    use super::*;
    use crate::mailbox::{Mailbox, MailboxConfig};
    use crate::registry::SessionId;

    fn interested(count: u8) -> Interested {
        let budget = Arc::new(Budget::new(usize::MAX));
        let mut interested = Interested::default();
        for number in 0..count {
            interested.add_local(&Arc::new(Subscriber {
                member: MemberId::from_bytes([number; 16]),
                tag: 0,
                session: SessionId::new(1),
                is_private: false,
                queue: None,
                mailbox: Arc::new(Mailbox::new(MailboxConfig::default(), &budget)),
                grant: None,
            }));
        }
        interested
    }

    #[test]
    fn each_member_comes_first_as_often_as_another_and_then_all_others() {
        let name = QueueGroup::parse("q").unwrap();
        let parts = [3, 0, 5, 2].map(interested);
        let mut group = Group::new(&name, &parts[0]);
        parts[1..].iter().for_each(|part| group.add(part));
        let dice = Dice::default();
        let mut first = std::collections::HashMap::<_, u32>::new();
        for _ in 0..10_000 {
            let all: Vec<_> = group.local(&dice).map(Arc::as_ptr).collect();
            *first.entry(all[0]).or_default() += 1;
            let distinct: std::collections::HashSet<_> = all.iter().collect();
            assert_eq!((all.len(), distinct.len()), (10, 10));
        }
        assert_eq!(first.len(), 10);
        let even = 850..1_150;
        assert!(
            first.values().all(|times| even.contains(times)),
            "{first:?}"
        );
        let nobody = interested(0);
        assert_eq!(Group::new(&name, &nobody).local(&dice).count(), 0);
    }

    #[test]
    fn of_two_choices_for_each_message_neither_depends_on_the_other() {
        let dice = Dice::default();
        let mut both = [[0; 2]; 2];
        for _ in 0..4_000 {
            both[dice.below(2)][dice.below(2)] += 1;
        }
        let even = 850..1_150;
        assert!(
            both.as_flattened().iter().all(|n| even.contains(n)),
            "{both:?}"
        );
    }
}
