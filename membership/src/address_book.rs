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

use crate::peer_state::PeerState;

/// The seeds and every peer met, up to a number.
#[derive(Debug)]
pub(crate) struct AddressBook {
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

impl AddressBook {
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

    /// Records where a peer is and how it stands. An incarnation older than one recorded before is
    /// not recorded, and the answer is false.
    pub(crate) fn record(&mut self, run: &NodeRun, state: PeerState) -> bool {
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
            let down = self
                .peers
                .iter()
                .filter(|(_, e)| e.state != PeerState::Live);
            let Some(oldest) = down
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
    pub(crate) fn sample_live(&self, max: usize, rng: &mut impl Rng) -> Vec<SocketAddr> {
        self.live().sample(rng, max)
    }

    /// Some seeds, for a node that is alone.
    pub(crate) fn sample_seeds(&self, rng: &mut impl Rng) -> Vec<SocketAddr> {
        self.seeds.sample(rng, SEEDS_TRIED_MAX).copied().collect()
    }

    /// A seed or peer that is not live and may be found again.
    pub(crate) fn rejoin_candidate(&self, rng: &mut impl Rng) -> Option<SocketAddr> {
        let live: BTreeSet<_> = self.live().collect();
        let seeds = self.seeds.iter().copied();
        seeds
            .chain(self.with_state(PeerState::Down))
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

/// How many seeds are tried in one round, while this node is alone.
const SEEDS_TRIED_MAX: usize = 8;

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

    fn candidates(book: &AddressBook) -> BTreeSet<SocketAddr> {
        let mut rng = StdRng::seed_from_u64(1);
        (0..200)
            .filter_map(|_| book.rejoin_candidate(&mut rng))
            .collect()
    }

    #[test]
    fn only_who_may_be_found_is_looked_for() {
        let mut book = AddressBook::new(addr(0), 10);
        book.set_seeds(&[addr(0), addr(1), addr(2), addr(1)]);
        assert_eq!(candidates(&book), [addr(1), addr(2)].into());
        assert!(book.record(&run(1, 7), PeerState::Live));
        assert!(book.record(&run(3, 7), PeerState::Down));
        assert!(book.record(&run(4, 7), PeerState::Left));
        assert_eq!(candidates(&book), [addr(2), addr(3)].into());
        assert_eq!(book.live().collect::<Vec<_>>(), [addr(1)]);
    }

    #[test]
    fn an_older_incarnation_is_not_recorded() {
        let mut book = AddressBook::new(addr(0), 10);
        assert!(book.record(&run(1, 7), PeerState::Down));
        let elsewhere = |incarnation| NodeRun {
            addr: addr(3),
            ..run(1, incarnation)
        };
        assert!(!book.record(&elsewhere(6), PeerState::Live));
        assert!(book.record(&elsewhere(8), PeerState::Live));
        assert_eq!(book.live().collect::<Vec<_>>(), [addr(3)]);
    }

    #[test]
    fn a_full_book_forgets_who_is_longest_down_and_nobody_live() {
        let mut book = AddressBook::new(addr(0), 3);
        for (n, state) in [
            (1, PeerState::Live),
            (2, PeerState::Down),
            (3, PeerState::Live),
        ] {
            book.record(&run(n, 1), state);
        }
        book.record(&run(3, 1), PeerState::Down);
        book.record(&run(4, 1), PeerState::Down);
        assert_eq!(candidates(&book), [addr(3), addr(4)].into());
        book.record(&run(3, 1), PeerState::Live);
        book.record(&run(4, 1), PeerState::Live);
        book.record(&run(5, 1), PeerState::Live);
        assert_eq!(book.live().collect::<Vec<_>>(), [addr(1), addr(3), addr(4)]);
    }
}
