//! In which order the gossip that arrives is handed on.
//!
//! Each peer has a queue of its own. Those that have something take turns, a message each, so a message
//! waits for the backlog of its own peer alone, and for one message of each other. What goes beyond a
//! peer's budget waits in its queue until it is within. Of a full queue the link's reader waits for room.
//!
//! The queue and the budget are the peer's, and not its link's: neither is had anew by dialling again,
//! and what a peer said before it left is read.
//!
//! All is decided without I/O, clock or lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{NodeId, NodeRun};
use tokio::time::Instant;

use crate::meter::Meter;

/// The gossip of all peers that has arrived and was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// Never removed, since a budget outlasts links.
    sources: BTreeMap<NodeId, Source>,
    /// The peers that take turns. Each that has something is here or rests.
    turns: VecDeque<NodeId>,
    /// The peers that have something beyond their budget, by when it is within.
    resting: BTreeSet<(Instant, NodeId)>,
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// This message.
    Message(NodeRun, Bytes),
    /// All that waits is beyond budgets, until then.
    At(Instant),
    /// Nothing waits.
    Nothing,
}

#[derive(Debug)]
struct Source {
    queue: VecDeque<(NodeRun, Bytes)>,
    bytes: usize,
    /// Whether it takes turns or rests.
    is_listed: bool,
    messages_had: Meter,
    bytes_had: Meter,
}

impl Intake {
    /// Lets a message wait for its turn, or gives it back when the queue of its peer is full.
    pub(crate) fn push(&mut self, from: NodeRun, message: Bytes) -> Result<(), (NodeRun, Bytes)> {
        let source = match self.sources.get_mut(&from.node) {
            Some(source) => source,
            None => self.sources.entry(from.node.clone()).or_default(),
        };
        if source.queue.len() >= MESSAGES_MAX || source.bytes >= BYTES_MAX {
            return Err((from, message));
        }
        if !source.is_listed {
            source.is_listed = true;
            self.turns.push_back(from.node.clone());
        }
        source.bytes += message.len();
        source.queue.push_back((from, message));
        Ok(())
    }

    /// Takes out the message whose turn it is.
    pub(crate) fn take(&mut self, now: Instant) -> Next {
        while self.resting.first().is_some_and(|(at, _)| *at <= now) {
            let rested = self.resting.pop_first();
            self.turns.extend(rested.map(|(_, peer)| peer));
        }
        while let Some(peer) = self.turns.pop_front() {
            let Some(source) = self.sources.get_mut(&peer) else {
                continue;
            };
            if let Some(at) = source.next().filter(|at| *at > now) {
                self.resting.insert((at, peer));
                continue;
            }
            let Some((from, message)) = source.queue.pop_front() else {
                // All of it was discarded.
                source.is_listed = false;
                continue;
            };
            source.bytes -= message.len();
            source.messages_had.charge(1, now);
            source.bytes_had.charge(message.len(), now);
            source.is_listed = !source.queue.is_empty();
            if source.is_listed {
                self.turns.push_back(peer);
            }
            return Next::Message(from, message);
        }
        let rested = self.resting.first();
        rested.map_or(Next::Nothing, |(at, _)| Next::At(*at))
    }

    /// Drops what waits of a run of a peer. Returns how many messages that were.
    pub(crate) fn discard(&mut self, run: &NodeRun) -> u64 {
        let Some(source) = self.sources.get_mut(&run.node) else {
            return 0;
        };
        let before = source.queue.len();
        let is_of_other = |(from, _): &(NodeRun, Bytes)| from.incarnation != run.incarnation;
        source.queue.retain(is_of_other);
        source.bytes = source.queue.iter().map(|(_, message)| message.len()).sum();
        (before - source.queue.len()) as u64
    }
}

impl Source {
    /// From when on the next message is within the budget.
    fn next(&self) -> Option<Instant> {
        self.messages_had.next().max(self.bytes_had.next())
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            is_listed: false,
            messages_had: Meter::new(MESSAGES_PER_SECOND, MESSAGES_BURST),
            bytes_had: Meter::new(BYTES_PER_SECOND, BYTES_BURST),
        }
    }
}

/// Messages of a peer that wait at most.
const MESSAGES_MAX: usize = 64;
/// No more is taken in of a peer of which so many bytes wait: sixteen of the longest messages.
const BYTES_MAX: usize = 1 << 20;
/// A node tells its changes at most once a millisecond, with two messages, answers those of this node
/// with one each, and gossips twelve times a second besides.
const MESSAGES_PER_SECOND: u32 = 4_096;
const MESSAGES_BURST: Duration = Duration::from_secs(1);
/// Four times what all changes of a node may cost with default settings, since a peer also passes on
/// those of others, and digests.
const BYTES_PER_SECOND: u32 = 32 << 20;
/// A node that has just come is told all at once: half of what there is room for at most.
const BYTES_BURST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(peer: u8) -> NodeRun {
        let node = NodeId::parse(&format!("n{peer}")).unwrap();
        NodeRun::new(node, 1.into(), ([10, 0, 0, peer], 1).into())
    }

    /// Pushes until the queue of a peer is full.
    fn fill(intake: &mut Intake, peer: &NodeRun, bytes: usize) {
        let message = Bytes::from_static(&[0; 65_507][..bytes]);
        while intake.push(peer.clone(), message.clone()).is_ok() {}
    }

    fn count(had: &mut [(u128, u128)], from: &NodeRun, sizes: &[usize]) {
        let peer = (1..).zip(sizes).zip(had);
        for ((_, size), had) in peer.filter(|((peer, _), _)| run(*peer) == *from) {
            *had = (had.0 + 1, had.1 + *size as u128);
        }
    }

    fn taken(intake: &mut Intake, now: Instant) -> Option<NodeRun> {
        match intake.take(now) {
            Next::Message(from, _) => Some(from),
            Next::At(_) | Next::Nothing => None,
        }
    }

    #[test]
    fn the_queue_of_a_peer_is_bounded_in_messages_and_bytes() {
        let mut intake = Intake::default();
        fill(&mut intake, &run(1), 10);
        fill(&mut intake, &run(2), 65_507);
        let waiting = |intake: &Intake, peer| intake.sources[&run(peer).node].queue.len();
        assert_eq!(waiting(&intake, 1), MESSAGES_MAX);
        assert_eq!(waiting(&intake, 2), BYTES_MAX.div_ceil(65_507));
    }

    #[test]
    fn what_is_discarded_is_of_one_run_and_makes_room() {
        let mut intake = Intake::default();
        let now = Instant::now();
        let (first, second) = (
            run(1),
            NodeRun {
                incarnation: 2.into(),
                ..run(1)
            },
        );
        intake.push(first.clone(), Bytes::new()).unwrap();
        intake.push(second.clone(), Bytes::new()).unwrap();
        assert_eq!(intake.discard(&first), 1);
        assert_eq!(taken(&mut intake, now), Some(second.clone()));
        assert_eq!(taken(&mut intake, now), None);
        fill(&mut intake, &first, 65_507);
        intake.discard(&first);
        assert_eq!(intake.take(now), Next::Nothing);
        intake.push(second.clone(), Bytes::new()).unwrap();
        assert_eq!(taken(&mut intake, now), Some(second));
        assert_eq!(intake.discard(&run(9)), 0);
    }

    #[test]
    fn what_is_beyond_the_budget_waits_until_it_is_within() {
        let mut intake = Intake::default();
        let start = Instant::now();
        let mut had = 0;
        let at = loop {
            fill(&mut intake, &run(1), 0);
            match intake.take(start) {
                Next::Message(..) => had += 1,
                Next::At(at) => break at,
                Next::Nothing => panic!("it is full"),
            }
        };
        assert!(had >= MESSAGES_PER_SECOND as usize && had <= MESSAGES_PER_SECOND as usize + 1);
        assert!(start < at && at <= start + Duration::from_millis(1));
        assert_eq!(intake.take(at - Duration::from_nanos(1)), Next::At(at));
        assert_eq!(taken(&mut intake, at), Some(run(1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Peers 1 to 3 always have as much as they can; peer 9 says something now and then.
        #[test]
        fn nobody_waits_for_the_backlog_of_another_and_budgets_hold(
            sizes in prop::array::uniform3(0usize..=65_507),
            steps in prop::collection::vec((0u64..3_000, 0usize..400), 1..40),
        ) {
            let mut intake = Intake::default();
            let start = Instant::now();
            let mut now = start;
            let mut had = [(0u128, 0u128); 3];
            for (wait_us, takes) in steps {
                now += Duration::from_micros(wait_us);
                for _ in 0..takes {
                    for (peer, size) in (1..).zip(sizes) {
                        fill(&mut intake, &run(peer), size);
                    }
                    let Some(from) = taken(&mut intake, now) else { break };
                    count(&mut had, &from, &sizes);
                }
                intake.push(run(9), Bytes::new()).unwrap();
                let mut turns = (0..4).map_while(|_| taken(&mut intake, now));
                let before = turns.by_ref().take_while(|from| *from != run(9));
                before.for_each(|from| count(&mut had, &from, &sizes));
                prop_assert!(
                    intake.sources[&run(9).node].queue.is_empty(),
                    "it waited for more than a message of each other"
                );
            }
            let nanos = (now - start).as_nanos();
            for (messages, bytes) in had {
                let allowed = |per_second: u32, burst: Duration| {
                    (nanos + burst.as_nanos()) * u128::from(per_second) / 1_000_000_000
                };
                prop_assert!(messages <= allowed(MESSAGES_PER_SECOND, MESSAGES_BURST) + 1);
                prop_assert!(bytes <= allowed(BYTES_PER_SECOND, BYTES_BURST) + 65_507);
            }
        }

        #[test]
        fn a_peer_gets_all_of_its_budget_while_others_flood(peers in 1u8..8) {
            let mut intake = Intake::default();
            let start = Instant::now();
            let mut had = 0;
            for ms in 0..500 {
                let now = start + Duration::from_millis(ms);
                // What a peer says at its busiest, and all others as much as they can.
                for _ in 0..3 {
                    intake.push(run(0), Bytes::new()).unwrap();
                }
                for other in 1..=peers {
                    fill(&mut intake, &run(other), 100);
                }
                for _ in 0..3 * (usize::from(peers) + 1) {
                    had += usize::from(taken(&mut intake, now) == Some(run(0)));
                }
            }
            prop_assert!(had >= 3 * 500 - 3, "{had}");
        }
    }
}
