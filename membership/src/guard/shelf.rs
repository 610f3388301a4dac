use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use chitchat::ChitchatId;
use tidings_identity::Certified;
use tokio::time::Instant;

use super::letter::{Told, Value};
use super::reader::COUNT_MAX;
use super::room::RUN_BYTES_MAX;

/// Parts of states too long for one message, until they are whole.
///
/// What is told of a node all its peers could tell, and so each state would come as often as there are
/// peers, and be checked as often. So one peer at a time is its *teller*, and the others are told that
/// nothing of it is wanted. The node itself is the best one, and always may be; another has a turn
/// of limited time, so that nobody can hold back what it was to tell.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    parts: BTreeMap<ChitchatId, Part>,
}

/// What a peer has told of a node, beyond what was whole before.
#[derive(Debug)]
pub(crate) struct Part {
    teller: SocketAddr,
    /// When it began to tell, and when it told something last.
    since: Instant,
    heard: Instant,
    /// How many other peers have had a turn in vain.
    turns: u32,
    /// Each key once.
    values: BTreeMap<String, Value>,
    /// Up to where it goes.
    version: u64,
    bytes: usize,
    /// The certificate that was shown in it.
    certified: Option<Certified>,
}

impl Shelf {
    /// What this peer has told of a node beyond that version.
    pub(crate) fn part(&self, from: SocketAddr, node: &ChitchatId, beyond: u64) -> Option<&Part> {
        let part = self.parts.get(node)?;
        (part.teller == from && part.version > beyond).then_some(part)
    }

    /// Whether a part that this peer tells of a node is wanted.
    pub(crate) fn may_tell(&self, from: SocketAddr, node: &ChitchatId, now: Instant) -> bool {
        match self.parts.get(node) {
            Some(part) if part.teller == from || from == node.gossip_advertise_addr => true,
            Some(part) => part.is_over(node, now),
            None => self.parts.len() < TELLINGS_MAX || self.longest(now).is_some(),
        }
    }

    /// Up to which version a node is to be told by this peer, when it is whole up to that one: nothing at
    /// all if another tells it, or this peer another node.
    pub(crate) fn known_to(
        &self,
        to: SocketAddr,
        node: &ChitchatId,
        version: u64,
        now: Instant,
    ) -> u64 {
        if let Some(part) = self.part(to, node, version) {
            return part.version;
        }
        let is_own = to == node.gossip_advertise_addr;
        let is_wanted = || self.may_tell(to, node, now) && !self.is_telling(to, now);
        match is_own || is_wanted() {
            true => version,
            false => COUNT_MAX - 1,
        }
    }

    /// Whether this peer is about to tell a state in parts.
    pub(crate) fn is_telling(&self, from: SocketAddr, now: Instant) -> bool {
        let mut of_peer = self.parts.values().filter(|part| part.teller == from);
        of_peer.any(|part| now.duration_since(part.heard) < PAUSE_MAX)
    }

    /// Takes the part away that this peer has told of a node beyond that version; if there is none, it
    /// begins one.
    pub(crate) fn take(
        &mut self,
        from: SocketAddr,
        node: &ChitchatId,
        beyond: u64,
        now: Instant,
    ) -> Part {
        let before = self.parts.remove(node);
        let turns = before.as_ref().map_or(0, |part| part.turns + 1);
        let own = before.filter(|part| part.teller == from && part.version > beyond);
        own.unwrap_or_else(|| Part {
            teller: from,
            since: now,
            heard: now,
            turns,
            values: BTreeMap::new(),
            version: 0,
            bytes: 0,
            certified: None,
        })
    }

    /// Puts a part there. False if there is no room for it: it is gone, and begins again.
    pub(crate) fn put(&mut self, node: &ChitchatId, part: Part, now: Instant) -> bool {
        if self.parts.len() >= TELLINGS_MAX
            && let Some(longest) = self.longest(now).cloned()
        {
            self.parts.remove(&longest);
        }
        let bytes: usize = self.parts.values().map(|part| part.bytes).sum();
        let fits = part.bytes <= RUN_BYTES_MAX
            && bytes + part.bytes <= ALL_BYTES_MAX
            && self.parts.len() < TELLINGS_MAX;
        if fits {
            self.parts.insert(node.clone(), part);
        }
        fits
    }

    /// Drops what is not beyond what is known of its node by now, and what nobody has gone on with for long.
    pub(crate) fn forget(&mut self, version: impl Fn(&ChitchatId) -> u64, now: Instant) {
        let is_told = |part: &Part| now.duration_since(part.heard) < KEPT_MAX;
        self.parts
            .retain(|node, part| part.version > version(node) && is_told(part));
    }

    /// What has been told for longest, of those whose turn is over.
    fn longest(&self, now: Instant) -> Option<&ChitchatId> {
        let over = self.parts.iter().filter(|(_, part)| part.turn_is_over(now));
        over.min_by_key(|(_, part)| part.since)
            .map(|(node, _)| node)
    }
}

impl Part {
    /// Up to where it goes.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The values in it.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.values()
    }

    /// The certificate that was shown in it, if one was.
    pub(crate) fn certified(&self) -> Option<&Certified> {
        self.certified.as_ref()
    }

    /// Adds what is told to go on from here, by the certificate that was shown in it or before.
    pub(crate) fn add(&mut self, told: &mut Told, shown: Option<Certified>, now: Instant) {
        self.heard = now;
        self.version = told.version;
        self.certified = shown;
        for value in told.values.drain(..) {
            self.bytes += value.bytes();
            let before = self.values.insert(value.key.clone(), value);
            self.bytes -= before.map_or(0, |before| before.bytes());
        }
    }

    /// The values beyond that version, in the order in which they were written.
    pub(crate) fn into_values(self, beyond: u64) -> Vec<Value> {
        let values = self.values.into_values();
        let mut values: Vec<_> = values.filter(|value| value.version > beyond).collect();
        values.sort_by_key(|value| value.version);
        values
    }

    /// Whether somebody else may tell this node in its place. A node that tells itself has as long as it
    /// goes on.
    fn is_over(&self, node: &ChitchatId, now: Instant) -> bool {
        match self.teller == node.gossip_advertise_addr {
            true => now.duration_since(self.heard) >= PAUSE_MAX,
            false => self.turn_is_over(now),
        }
    }

    /// A turn is twice as long as the one before, so that in the end it is long enough.
    fn turn_is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= TURN * (1 << self.turns.min(DOUBLINGS_MAX))
    }
}

/// How many states are told in parts at a time.
const TELLINGS_MAX: usize = 16;
/// The most that all parts may take.
const ALL_BYTES_MAX: usize = 8 * RUN_BYTES_MAX;
/// How long the first turn is, and how often it is doubled.
const TURN: Duration = Duration::from_secs(1);
const DOUBLINGS_MAX: u32 = 6;
/// A part is kept for so long after something was told of it: its node may be gone.
const KEPT_MAX: Duration = Duration::from_secs(60);
/// Who has told nothing for so long has stopped.
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::bench::node;
    use crate::guard::key::Key;

    fn addr(n: u8) -> SocketAddr {
        node(n, 1).gossip_advertise_addr
    }

    fn after(ms: u64) -> Instant {
        thread_local!(static START: Instant = Instant::now());
        START.with(|start| *start) + Duration::from_millis(ms)
    }

    /// A peer tells of a node, up to this version, so many bytes.
    fn tell(shelf: &mut Shelf, from: u8, of: u8, version: u64, bytes: usize, ms: u64) -> bool {
        let (from, of) = (addr(from), node(of, 1));
        if !shelf.may_tell(from, &of, after(ms)) {
            return false;
        }
        let mut part = shelf.take(from, &of, 0, after(ms));
        let value = Value {
            key: format!("b/{version:x}"),
            kind: Key::Bucket,
            value: "x".repeat(bytes),
            version,
        };
        let mut told = Told {
            node: of.clone(),
            from: part.version,
            values: vec![value],
            version,
        };
        part.add(&mut told, None, after(ms));
        shelf.put(&of, part, after(ms))
    }

    fn known(shelf: &Shelf, to: u8, of: u8, ms: u64) -> Option<u64> {
        let version = shelf.known_to(addr(to), &node(of, 1), 5, after(ms));
        (version < COUNT_MAX - 1).then_some(version)
    }

    #[test]
    fn one_peer_tells_a_node_and_the_others_are_told_that_it_is_known() {
        let mut shelf = Shelf::default();
        assert!(tell(&mut shelf, 3, 2, 7, 10, 0));
        assert_eq!(known(&shelf, 3, 2, 100), Some(7));
        assert_eq!(known(&shelf, 4, 2, 100), None);
        assert!(!tell(&mut shelf, 4, 2, 9, 10, 100));
        assert_eq!(known(&shelf, 4, 4, 100), Some(5), "itself");
        assert_eq!(known(&shelf, 4, 6, 100), Some(5), "another");
        assert_eq!(known(&shelf, 3, 6, 100), None, "one thing at a time");
        assert_eq!(known(&shelf, 3, 6, 1_100), Some(5), "it has stopped");
        shelf.forget(|_| 7, after(100));
        assert_eq!(known(&shelf, 4, 2, 100), Some(5));
        assert!(tell(&mut shelf, 3, 2, 8, 10, 200));
        shelf.forget(|_| 7, after(60_100));
        assert_eq!(known(&shelf, 3, 2, 60_100), Some(8));
        shelf.forget(|_| 7, after(60_200));
        assert_eq!(known(&shelf, 3, 2, 60_200), Some(5), "nobody goes on");
    }

    #[test]
    fn the_node_itself_is_the_best_teller_for_as_long_as_it_goes_on() {
        let mut shelf = Shelf::default();
        assert!(tell(&mut shelf, 3, 2, 7, 10, 0));
        assert_eq!(known(&shelf, 2, 2, 100), Some(5), "from the beginning");
        for ms in [100, 1_000, 1_900, 2_800] {
            assert!(tell(&mut shelf, 2, 2, 6 + ms, 10, ms));
            assert!(!tell(&mut shelf, 3, 2, 8, 10, ms + 900));
        }
        assert!(tell(&mut shelf, 3, 2, 8, 10, 3_800));
    }

    #[test]
    fn who_tells_for_ever_has_a_turn_and_each_is_longer() {
        let mut shelf = Shelf::default();
        assert!(tell(&mut shelf, 3, 2, 6, 10, 0));
        assert!(tell(&mut shelf, 3, 2, 7, 10, 900));
        assert!(!tell(&mut shelf, 4, 2, 6, 10, 900));
        assert!(tell(&mut shelf, 4, 2, 6, 10, 1_000));
        assert_eq!(known(&shelf, 4, 2, 1_000), Some(6), "it begins anew");
        assert!(!tell(&mut shelf, 3, 2, 8, 10, 2_900));
        assert!(tell(&mut shelf, 3, 2, 8, 10, 3_000));
        assert!(!tell(&mut shelf, 4, 2, 8, 10, 6_900));
    }

    #[test]
    fn nobody_fills_the_shelf_for_good() {
        let mut shelf = Shelf::default();
        for of in 0..TELLINGS_MAX as u8 {
            assert!(tell(&mut shelf, 200, 100 + of, 6, 10, u64::from(of)));
        }
        assert!(!tell(&mut shelf, 4, 3, 6, 10, 900));
        assert_eq!(known(&shelf, 4, 3, 900), None);
        assert!(
            tell(&mut shelf, 4, 3, 6, 10, 1_000),
            "in the place of the oldest"
        );
        assert!(!tell(&mut shelf, 4, 3, 7, RUN_BYTES_MAX, 1_000));
        assert_eq!(known(&shelf, 4, 3, 1_000), Some(5), "it begins again");
        let large = RUN_BYTES_MAX - 1_000;
        let fits = (0..TELLINGS_MAX as u8).filter(|of| {
            shelf.forget(
                |node| {
                    if node.node_id.as_ref() == format!("n{}", 100 + of) {
                        9
                    } else {
                        0
                    }
                },
                after(1_000),
            );
            tell(&mut shelf, 5, 50 + of, 6, large, 1_000)
        });
        assert_eq!(fits.count(), ALL_BYTES_MAX / RUN_BYTES_MAX);
    }
}
