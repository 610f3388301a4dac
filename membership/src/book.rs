//! The addresses at which to look for the rest of the cluster.
//!
//! Gossip forgets a dead node some time after its death. Two sides of a partition that lasted
//! longer have forgotten each other, and if all seeds are on one side nobody would ever try
//! again. So each node keeps a book of everyone it has met, and now and then tries one who is
//! not live.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use tidings_identity::{NodeId, NodeRun};

/// How many seeds are tried in one round, while this node is alone.
const SEEDS_TRIED_MAX: usize = 8;

/// The seeds and every peer met, up to a number.
#[derive(Debug)]
pub(crate) struct Book {
    own: SocketAddr,
    seeds: Vec<SocketAddr>,
    peers: BTreeMap<NodeId, Entry>,
    peers_max: usize,
    /// Counts the changes, so that entries can be told by age.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    run: NodeRun,
    state: PeerState,
    since: u64,
}

/// How it stands with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// Not known to be running, though it may be.
    Away,
    /// Running.
    Live,
    /// Said goodbye: not worth a try until it is heard of again.
    Left,
}

impl Book {
    /// An empty book of the node at this address.
    pub(crate) fn new(own: SocketAddr, peers_max: usize) -> Self {
        Self {
            own,
            seeds: Vec::new(),
            peers: BTreeMap::new(),
            peers_max,
            clock: 0,
        }
    }

    /// Puts these in the place of the seeds there were.
    pub(crate) fn set_seeds(&mut self, seeds: &[SocketAddr]) {
        let seeds: BTreeSet<_> = seeds.iter().filter(|&&seed| seed != self.own).collect();
        self.seeds = seeds.into_iter().copied().collect();
    }

    /// Notes where a peer is and how it stands. An incarnation older than one noted before is
    /// not noted, and the answer is false.
    pub(crate) fn note(&mut self, run: &NodeRun, state: PeerState) -> bool {
        self.clock += 1;
        if let Some(entry) = self.peers.get_mut(&run.node) {
            if entry.run.incarnation > run.incarnation {
                return false;
            }
            if (&entry.run, entry.state) != (run, state) {
                *entry = Entry {
                    run: run.clone(),
                    state,
                    since: self.clock,
                };
            }
            return true;
        }
        if self.peers.len() >= self.peers_max {
            let away = self
                .peers
                .iter()
                .filter(|(_, e)| e.state != PeerState::Live);
            let Some(oldest) = away
                .min_by_key(|(_, e)| e.since)
                .map(|(node, _)| node.clone())
            else {
                return true;
            };
            self.peers.remove(&oldest);
        }
        let entry = Entry {
            run: run.clone(),
            state,
            since: self.clock,
        };
        self.peers.insert(run.node.clone(), entry);
        true
    }

    /// The addresses of the live peers.
    pub(crate) fn live(&self) -> impl Iterator<Item = SocketAddr> {
        self.with_state(PeerState::Live)
    }

    /// Up to so many of the live peers, at random if there are more.
    pub(crate) fn some_live(&self, max: usize, rng: &mut impl Rng) -> Vec<SocketAddr> {
        self.live().choose_multiple(rng, max)
    }

    /// Some seeds, for a node that is alone.
    pub(crate) fn some_seeds(&self, rng: &mut impl Rng) -> Vec<SocketAddr> {
        self.seeds
            .choose_multiple(rng, SEEDS_TRIED_MAX)
            .copied()
            .collect()
    }

    /// One who is not live and may be found again: a seed or a peer.
    pub(crate) fn someone_away(&self, rng: &mut impl Rng) -> Option<SocketAddr> {
        let live: BTreeSet<_> = self.live().collect();
        let seeds = self.seeds.iter().copied();
        seeds
            .chain(self.with_state(PeerState::Away))
            .filter(|addr| *addr != self.own && !live.contains(addr))
            .choose(rng)
    }

    fn with_state(&self, state: PeerState) -> impl Iterator<Item = SocketAddr> {
        let entries = self
            .peers
            .values()
            .filter(move |entry| entry.state == state);
        entries.map(|entry| entry.run.addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// Run `incarnation` of node `n`, at an address of its own.
    fn run(n: u16, incarnation: u64) -> NodeRun {
        let node = NodeId::parse(&format!("n{n}")).unwrap();
        NodeRun::new(node, incarnation.into(), addr(n))
    }

    fn addr(n: u16) -> SocketAddr {
        ([10, 0, 0, 1], n).into()
    }

    fn away(book: &Book) -> BTreeSet<SocketAddr> {
        let mut rng = StdRng::seed_from_u64(1);
        (0..200)
            .filter_map(|_| book.someone_away(&mut rng))
            .collect()
    }

    #[test]
    fn only_who_may_be_found_is_looked_for() {
        let mut book = Book::new(addr(0), 10);
        book.set_seeds(&[addr(0), addr(1), addr(2), addr(1)]);
        assert_eq!(away(&book), [addr(1), addr(2)].into());
        assert!(book.note(&run(1, 7), PeerState::Live));
        assert!(book.note(&run(3, 7), PeerState::Away));
        assert!(book.note(&run(4, 7), PeerState::Left));
        assert_eq!(away(&book), [addr(2), addr(3)].into());
        assert_eq!(book.live().collect::<Vec<_>>(), [addr(1)]);
    }

    #[test]
    fn an_older_incarnation_is_not_noted() {
        let mut book = Book::new(addr(0), 10);
        assert!(book.note(&run(1, 7), PeerState::Away));
        let elsewhere = |incarnation| NodeRun {
            addr: addr(3),
            ..run(1, incarnation)
        };
        assert!(!book.note(&elsewhere(6), PeerState::Live));
        assert!(book.note(&elsewhere(8), PeerState::Live));
        assert_eq!(book.live().collect::<Vec<_>>(), [addr(3)]);
    }

    #[test]
    fn a_full_book_forgets_who_is_longest_away_and_nobody_live() {
        let mut book = Book::new(addr(0), 3);
        for (n, state) in [
            (1, PeerState::Live),
            (2, PeerState::Away),
            (3, PeerState::Live),
        ] {
            book.note(&run(n, 1), state);
        }
        book.note(&run(3, 1), PeerState::Away);
        book.note(&run(4, 1), PeerState::Away);
        assert_eq!(away(&book), [addr(3), addr(4)].into());
        book.note(&run(3, 1), PeerState::Live);
        book.note(&run(4, 1), PeerState::Live);
        book.note(&run(5, 1), PeerState::Live);
        assert_eq!(book.live().collect::<Vec<_>>(), [addr(1), addr(3), addr(4)]);
    }
}
