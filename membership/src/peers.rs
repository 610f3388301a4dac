//! What gossip says of the other nodes, made into what the view shows of them.
//!
//! Of a node that is seen in several incarnations only the newest counts, live or not; no older
//! one is ever shown again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidings_identity::{Incarnation, NodeId, NodeRun};
use tokio::time::Instant;
use tracing::warn;

use crate::address_book::AddressBook;
use crate::config::Config;
use crate::node_view::NodeView;
use crate::peer::Peer;
use crate::peer_state::PeerState;
use crate::sighting::Sighting;
use crate::view::NodeSummary;

/// All other nodes that gossip knows, and the book of those met.
#[derive(Debug)]
pub(crate) struct Peers {
    own: NodeRun,
    silence_min: Duration,
    /// A longer time without a look at gossip means that this node itself stood still.
    pause_max: Duration,
    observed_at: Option<Instant>,
    /// Until then it is no news that gossip does not know a peer.
    settled_at: Option<Instant>,
    peers: BTreeMap<NodeId, Peer>,
    rival: Option<Rival>,
    pub(crate) book: AddressBook,
}

/// What came of taking sightings in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Whether the view is to change.
    pub(crate) changed: bool,
    /// How many values could not be read.
    pub(crate) malformed: u64,
    /// A later run of this node itself, which has ended: others heed it and not this one.
    pub(crate) outdated_by: Option<Incarnation>,
}

/// A later run of this node than this one.
#[derive(Debug)]
struct Rival {
    run: NodeRun,
    heartbeat: u64,
    /// When its heart was seen to beat last.
    beaten: Instant,
}

impl Peers {
    /// No peers yet, of a node which looks at gossip at least once an interval.
    pub(crate) fn new(config: &Config, own: NodeRun) -> Self {
        let (silence_min, interval) = (config.silence_min.get(), config.interval.get());
        Self {
            silence_min,
            pause_max: silence_min.max(interval * 5),
            observed_at: None,
            settled_at: None,
            peers: BTreeMap::new(),
            rival: None,
            book: AddressBook::new(own.addr, config.address_book_max.get()),
            own,
        }
    }

    /// The peer of this name, if gossip knows one.
    pub(crate) fn get(&self, name: &str) -> Option<&Peer> {
        self.peers.get(name)
    }

    /// Gossip has begun anew, and knows nothing yet.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.settled_at = Some(now + 2 * self.silence_min);
        for peer in self.peers.values_mut() {
            peer.liveness.restart_silence(now);
        }
    }

    /// Takes in the newest incarnation of each other node that gossip knows. Peers that are not
    /// among them are forgotten.
    pub(crate) fn observe(&mut self, sightings: Vec<Sighting>, now: Instant) -> Observed {
        let last = self.observed_at.replace(now).unwrap_or(now);
        if now.duration_since(last) >= self.pause_max {
            for peer in self.peers.values_mut() {
                peer.liveness.restart_silence(now);
            }
        }
        let mut observed = Observed::default();
        let mut seen = BTreeSet::new();
        for sighting in sightings {
            let node = sighting.run.node.clone();
            if node == self.own.node {
                observed.outdated_by = self.meet_rival(&sighting, now);
                continue;
            }
            if self.observe_one(sighting, now, &mut observed) {
                seen.insert(node);
            }
        }
        let is_settled = self.settled_at.is_none_or(|at| now >= at);
        let known = self.peers.len();
        let book = &mut self.book;
        self.peers.retain(|node, peer| {
            let keep = seen.contains(node) || !is_settled;
            if !keep && peer.state() != PeerState::Left {
                book.record(&peer.run, PeerState::Down);
            }
            keep
        });
        observed.changed |= self.peers.len() != known;
        observed
    }

    /// The live ones.
    pub(crate) fn live(&self) -> BTreeMap<NodeId, Arc<NodeView>> {
        let shown = |peer: &Peer| Some((peer.run.node.clone(), peer.live_view()?.clone()));
        self.peers.values().filter_map(shown).collect()
    }

    /// The others, sorted.
    pub(crate) fn gone(&self) -> Vec<NodeSummary> {
        let gone = self
            .peers
            .values()
            .filter(|peer| peer.live_view().is_none());
        gone.map(|peer| NodeSummary {
            run: peer.run.clone(),
            is_self: false,
            live: false,
            left: peer.left,
            door: peer.door(),
        })
        .collect()
    }

    /// Takes in one node; tells whether it is one to keep.
    fn observe_one(&mut self, seen: Sighting, now: Instant, observed: &mut Observed) -> bool {
        let peer = self
            .peers
            .get_mut(&seen.run.node)
            .filter(|peer| peer.run == seen.run);
        let peer = match peer {
            Some(peer) => peer,
            None => {
                let Some(peer) = self.discover(&seen, now) else {
                    return false;
                };
                observed.changed = true;
                self.peers
                    .entry(seen.run.node.clone())
                    .insert_entry(peer)
                    .into_mut()
            }
        };
        if peer.version != seen.version {
            peer.version = seen.version;
            observed.changed = true;
            observed.malformed += peer.apply(&seen.changes);
            peer.show_version(now);
        }
        observed.changed |= peer.update_liveness(&seen, now, self.silence_min);
        let state = peer.state();
        self.book.record(&peer.run, state);
        true
    }

    /// Takes in another run of this node; returns its number if it is later, and has ended.
    fn meet_rival(&mut self, seen: &Sighting, now: Instant) -> Option<Incarnation> {
        if seen.run.incarnation <= self.own.incarnation {
            return None;
        }
        let known = self.rival.as_ref().filter(|rival| rival.run == seen.run);
        let beats = known.is_none_or(|rival| seen.heartbeat > rival.heartbeat);
        if beats {
            if known.is_none() {
                warn!(
                    node = %self.own.node, addr = %seen.run.addr,
                    incarnation = %seen.run.incarnation,
                    "a later run of this node is known"
                );
            }
            self.rival = Some(Rival {
                run: seen.run.clone(),
                heartbeat: seen.heartbeat,
                beaten: now,
            });
            return None;
        }
        let silence = known.map(|rival| now.duration_since(rival.beaten))?;
        // Two that run at a time are for people to sort out: they would outdo each other for ever.
        (!seen.detected && silence >= 2 * self.silence_min).then_some(seen.run.incarnation)
    }

    /// A node or incarnation that is new here, if it is one that counts.
    fn discover(&mut self, seen: &Sighting, now: Instant) -> Option<Peer> {
        let counts = self.book.record(&seen.run, PeerState::Down);
        counts.then(|| Peer::new(seen, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Bucket;
    use crate::config::BUCKET_BYTES_MAX;
    use crate::packed::pack;
    use crate::peer::{BUCKETS_KEY, LEFT_KEY, bucket_key};
    use crate::{MemberId, Pattern, Scope};

    fn peers() -> Peers {
        Peers::new(&Config::default(), run("n0", 5, 1))
    }

    fn run(name: &str, incarnation: u64, host: u8) -> NodeRun {
        let addr = ([10, 0, 0, host], 1).into();
        NodeRun::new(NodeId::parse(name).unwrap(), incarnation.into(), addr)
    }

    fn sighting(name: &str, incarnation: u64, version: u64) -> Sighting {
        Sighting {
            run: run(name, incarnation, 2),
            heartbeat: version,
            detected: true,
            heard: None,
            is_revoked: false,
            version,
            changes: vec![bucket_value("a"), (BUCKETS_KEY.into(), "1".into())],
        }
    }

    fn bucket_value(topic: &str) -> (String, String) {
        let mut bucket = Bucket::default();
        let membership = crate::bucket::MemberEntry {
            member: MemberId::from_bytes([1; 16]),
            agent: None,
            metadata: crate::Metadata::default(),
            queue: None,
        };
        let pattern = Pattern::parse(topic).unwrap();
        bucket.join(&Scope::default(), &pattern, membership);
        (bucket_key(0), pack(&bucket, |_| 0))
    }

    fn topics(peers: &Peers) -> Vec<(String, u64, Vec<String>)> {
        let live = peers.live().into_values();
        live.map(|node| {
            let topics = node.topics().map(|topic| topic.pattern.to_string());
            (
                node.run.node.to_string(),
                node.run.incarnation.get(),
                topics.collect(),
            )
        })
        .collect()
    }

    fn is(node: &str, incarnation: u64, topic: &str) -> Vec<(String, u64, Vec<String>)> {
        vec![(node.into(), incarnation, vec![topic.into()])]
    }

    #[test]
    fn only_the_newest_incarnation_counts_and_no_older_one_ever_again() {
        let (mut peers, now) = (peers(), Instant::now());
        assert!(peers.observe(vec![sighting("n1", 2, 2)], now).changed);
        assert_eq!(topics(&peers), is("n1", 2, "a"));
        assert!(!peers.observe(vec![sighting("n1", 2, 2)], now).changed);
        let unheard = Sighting {
            detected: false,
            ..sighting("n1", 3, 2)
        };
        assert!(peers.observe(vec![unheard], now).changed);
        assert_eq!(topics(&peers), []);
        assert!(peers.observe(vec![], now).changed);
        assert!(!peers.observe(vec![sighting("n1", 2, 9)], now).changed);
        assert_eq!((topics(&peers), peers.gone()), (vec![], vec![]));
        assert!(peers.observe(vec![sighting("n1", 3, 3)], now).changed);
        assert_eq!(topics(&peers), is("n1", 3, "a"));
    }

    #[test]
    fn this_node_is_never_its_own_peer() {
        let mut peers = peers();
        for incarnation in [4, 5, 6] {
            let observed = peers.observe(vec![sighting("n0", incarnation, 2)], Instant::now());
            assert_eq!(observed, Observed::default());
        }
        assert_eq!((topics(&peers), peers.gone()), (vec![], vec![]));
    }

    #[test]
    fn a_later_run_of_this_node_counts_once_it_has_ended() {
        let (mut peers, start) = (peers(), Instant::now());
        let mut see = |incarnation, heartbeat, detected, ms| {
            let seen = Sighting {
                heartbeat,
                detected,
                ..sighting("n0", incarnation, 2)
            };
            let now = start + Duration::from_millis(ms);
            peers.observe(vec![seen], now).outdated_by
        };
        assert_eq!(see(4, 1, false, 0), None);
        assert_eq!(see(4, 1, false, 5_000), None);
        assert_eq!(see(9, 1, false, 5_100), None);
        assert_eq!(see(9, 2, false, 6_000), None, "it lives");
        assert_eq!(see(9, 2, true, 8_100), None, "it may");
        assert_eq!(see(9, 2, false, 7_900), None);
        assert_eq!(see(9, 2, false, 8_000), Some(9.into()));
    }

    #[test]
    fn a_malformed_value_is_counted_and_what_was_known_is_kept() {
        let (mut peers, now) = (peers(), Instant::now());
        peers.observe(vec![sighting("n1", 1, 2)], now);
        let bad = [
            ("b/0", "junk"),
            ("b/0", &"x".repeat(BUCKET_BYTES_MAX + 1)),
            ("b/1", ""),
            ("b/", ""),
            ("b/é", ""),
            ("a/0", "junk"),
            ("a/", ""),
            ("buckets", "2"),
            ("buckets", "-1"),
            ("clients", "nowhere"),
        ];
        for (version, (key, value)) in (3..).zip(bad) {
            let changes = vec![(key.into(), value.into())];
            let seen = Sighting {
                changes,
                ..sighting("n1", 1, version)
            };
            assert_eq!(peers.observe(vec![seen], now).malformed, 1, "{key} {value}");
            assert_eq!(topics(&peers), is("n1", 1, "a"));
        }
        let changes = vec![bucket_value("b"), ("future".into(), "?".into())];
        let seen = Sighting {
            changes,
            ..sighting("n1", 1, 99)
        };
        assert_eq!(peers.observe(vec![seen], now).malformed, 0);
        assert_eq!(topics(&peers), is("n1", 1, "b"));
    }

    #[test]
    fn a_node_that_left_is_down_at_once_and_for_good() {
        let (mut peers, now) = (peers(), Instant::now());
        peers.observe(vec![sighting("n1", 1, 2)], now);
        let changes = vec![(LEFT_KEY.into(), "1".into())];
        let left = Sighting {
            changes,
            ..sighting("n1", 1, 3)
        };
        assert!(peers.observe(vec![left], now).changed);
        assert_eq!(topics(&peers), []);
        assert!(!peers.gone()[0].live);
        peers.observe(vec![sighting("n1", 1, 4)], now);
        assert_eq!(topics(&peers), []);
        peers.observe(vec![sighting("n1", 2, 1)], now);
        assert_eq!(topics(&peers), is("n1", 2, "a"));
    }

    #[test]
    fn a_node_that_was_frozen_takes_nobody_for_dead() {
        let (mut peers, start) = (peers(), Instant::now());
        let silent = || Sighting {
            detected: false,
            ..sighting("n1", 1, 2)
        };
        peers.observe(vec![sighting("n1", 1, 2)], start);
        let after = |ms| start + Duration::from_millis(ms);
        peers.observe(vec![silent()], after(60_000));
        assert_eq!(topics(&peers), is("n1", 1, "a"));
        for ms in [60_400, 60_800] {
            peers.observe(vec![silent()], after(ms));
            assert_eq!(topics(&peers), is("n1", 1, "a"));
        }
        peers.observe(vec![silent()], after(61_000));
        assert_eq!(topics(&peers), []);
    }
}
