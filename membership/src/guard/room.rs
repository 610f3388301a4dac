use std::collections::BTreeMap;

use chitchat::{ChitchatId, NodeState};

use super::key::{Key, OTHER_KEYS_MAX};
use super::letter::{Known, Letter, Told, VALUE_BYTES, Value};

/// How much of gossip a node holds, and how much more it may.
///
/// What is beyond is left out of the message: to refuse it whole would make this node deaf to peers
/// that hold something else.
#[derive(Debug, Default)]
pub(crate) struct Room {
    held: BTreeMap<ChitchatId, Held>,
}

/// The bytes of a node's state when it was at this version.
#[derive(Debug, Clone, Copy)]
struct Held {
    version: u64,
    bytes: usize,
}

impl Room {
    /// Takes out of the message what there is no room for, and tells how many things that were.
    /// What is told of nodes that are not known goes too, because chitchat does not heed it.
    pub(crate) fn fit(
        &mut self,
        letter: &mut Letter,
        own: &ChitchatId,
        states: &BTreeMap<ChitchatId, NodeState>,
    ) -> u64 {
        let before = letter.digest.len();
        fit_nodes(&mut letter.digest, states);
        let mut left_out = before - letter.digest.len();
        if letter.delta.is_empty() {
            return left_out as u64;
        }
        let mut bytes = self.bytes(own, states);
        let digest = &letter.digest;
        letter.delta.retain_mut(|told| {
            let state = states.get(&told.node);
            let named = || digest.binary_search_by_key(&&told.node, |known| &known.node);
            if state.is_none() && named().is_err() {
                return false;
            }
            let more = more_with(told, state);
            let fits = |bytes: usize, most| bytes.saturating_add_signed(more) <= most;
            let fits = more <= 0
                || fits(self.of_run(&told.node), RUN_BYTES_MAX)
                    && fits(self.of_node(&told.node), NODE_BYTES_MAX)
                    && fits(bytes, STATES_BYTES_MAX);
            match fits {
                true if !has_too_many_keys(told, state) => {
                    bytes = bytes.saturating_add_signed(more);
                    true
                }
                _ => {
                    left_out += 1;
                    false
                }
            }
        });
        left_out as u64
    }

    /// The bytes of this run, when they were last counted.
    fn of_run(&self, run: &ChitchatId) -> usize {
        self.held.get(run).map_or(0, |held| held.bytes)
    }

    /// The bytes of all runs of this node, when they were last counted.
    fn of_node(&self, node: &ChitchatId) -> usize {
        let of_name = self
            .held
            .iter()
            .filter(|(held, _)| held.node_id == node.node_id);
        of_name.map(|(_, held)| held.bytes).sum()
    }

    /// The bytes of all other nodes' states.
    fn bytes(&mut self, own: &ChitchatId, states: &BTreeMap<ChitchatId, NodeState>) -> usize {
        self.held.retain(|node, _| states.contains_key(node));
        for (node, state) in states.iter().filter(|(node, _)| *node != own) {
            let version = state.max_version();
            // A state that changes has a higher version, and one that is begun again has none.
            if self
                .held
                .get(node)
                .is_none_or(|held| held.version != version)
            {
                let values = state.key_values_including_deleted();
                let bytes = values
                    .map(|(key, value)| value_bytes(key, &value.value))
                    .sum();
                self.held.insert(node.clone(), Held { version, bytes });
            }
        }
        self.held.values().map(|held| held.bytes).sum()
    }
}

/// Leaves out nodes that are not known yet and would make this node's own digest too long.
fn fit_nodes(digest: &mut Vec<Known>, states: &BTreeMap<ChitchatId, NodeState>) {
    let mut bytes: usize = states.keys().map(Known::bytes).sum();
    digest.retain(|known| {
        if states.contains_key(&known.node) {
            return true;
        }
        let after = bytes + Known::bytes(&known.node);
        let fits = after <= DIGEST_BYTES_MAX;
        if fits {
            bytes = after;
        }
        fits
    });
}

/// Whether a node would have too many keys that are unknown here.
fn has_too_many_keys(told: &Told, state: Option<&NodeState>) -> bool {
    let has = |key: &str| state.is_some_and(|state| state.get_versioned(key).is_some());
    let is_new = |value: &&Value| value.kind == Key::Other && !has(&value.key);
    let new = told.values.iter().filter(is_new).count();
    let known = state
        .into_iter()
        .flat_map(NodeState::key_values_including_deleted);
    let is_other = |(key, _): &(&str, _)| Key::parse(key) == Some(Key::Other);
    new > 0 && known.filter(is_other).count() + new > OTHER_KEYS_MAX
}

/// How many bytes more there are with what is told of a node.
fn more_with(told: &Told, state: Option<&NodeState>) -> isize {
    let version = state.map_or(0, NodeState::max_version);
    let news = told.values.iter().filter(|value| value.version > version);
    news.map(|value| {
        let old = state.and_then(|state| state.get_versioned(&value.key));
        let old = old.map_or(0, |old| value_bytes(&value.key, &old.value));
        value.bytes() as isize - old as isize
    })
    .sum()
}

fn value_bytes(key: &str, value: &str) -> usize {
    VALUE_BYTES + key.len() + value.len()
}

/// The longest digest a node may have, of all runs of nodes that it knows. What it says to a peer has
/// to hold it, and chitchat takes for granted that something else fits beside it.
pub(crate) const DIGEST_BYTES_MAX: usize = 65_000;

/// The most that keys and values of all other nodes may take: about 10,000,000 memberships.
const STATES_BYTES_MAX: usize = 128 << 20;

/// The most that keys and values of one run of a node may take: more than a node may have, with seals.
pub(crate) const RUN_BYTES_MAX: usize = 6 << 20;

/// The most that all runs of a node may take. Those before the newest do not grow any more, and are
/// forgotten.
const NODE_BYTES_MAX: usize = 24 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BUCKET_BYTES_MAX;
    use crate::guard::bench::node;
    use crate::peer::bucket_key;

    fn full(index: usize, version: u64) -> Value {
        Value {
            key: bucket_key(index),
            kind: Key::Bucket,
            value: "x".repeat(BUCKET_BYTES_MAX),
            version,
        }
    }

    /// A delta that tells of each node that so many of its buckets are full.
    fn letter(of: &[(u8, usize)]) -> Letter {
        let told = |&(n, buckets): &(u8, usize)| Told {
            node: node(n, 1),
            from: 0,
            values: (0..buckets).map(|b| full(b, (b + 1) as u64)).collect(),
            version: buckets as u64,
        };
        Letter::telling(of.iter().map(told).collect())
    }

    #[test]
    fn what_others_tell_takes_bounded_memory() {
        let (mut room, own) = (Room::default(), node(1, 1));
        let fitting = STATES_BYTES_MAX / value_bytes(&bucket_key(100), &full(0, 0).value);
        // Room is left for ten buckets, of which node 100 has none yet.
        let each = RUN_BYTES_MAX / value_bytes(&bucket_key(100), &full(0, 0).value) - 10;
        let mut buckets = vec![each; (fitting - 10) / each];
        buckets.push((fitting - 10) % each);
        let mut states: BTreeMap<_, _> = (2..)
            .zip(buckets)
            .map(|(n, buckets)| {
                let mut state = NodeState::for_test();
                for bucket in 0..buckets {
                    state.set(bucket_key(bucket), full(0, 0).value);
                }
                (node(n, 1), state)
            })
            .collect();
        states.insert(node(100, 1), NodeState::for_test());
        let mut fits = |of: &[(u8, usize)]| {
            let mut letter = letter(of);
            let left_out = room.fit(&mut letter, &own, &states);
            let fits = letter
                .delta
                .iter()
                .map(|told| told.values.len())
                .collect::<Vec<_>>();
            (fits, left_out)
        };
        assert_eq!(fits(&[(100, 10)]), (vec![10], 0));
        assert_eq!(fits(&[(100, 14)]), (vec![], 1));
        // What comes first in a message counts.
        assert_eq!(
            fits(&[(100, 8), (101, 1), (2, 1), (3, 8)]),
            (vec![8, 1, 8], 0)
        );
        let state = &states[&node(2, 1)];
        let mut more = letter(&[(100, 8), (2, 0), (3, 1)]);
        more.delta[1].values = (1_000..1_006)
            .map(|b| full(b, state.max_version() + 1))
            .collect();
        assert_eq!(room.fit(&mut more, &own, &states), 1);
        assert_eq!(more.delta.len(), 2);
    }

    #[test]
    fn a_node_tells_no_more_in_many_runs_than_in_a_few() {
        let (mut room, own) = (Room::default(), node(1, 1));
        let most = RUN_BYTES_MAX / value_bytes(&bucket_key(100), &full(0, 0).value);
        let mut states = BTreeMap::new();
        let mut fits = |incarnation, buckets| {
            let run = node(2, incarnation);
            let told = Told {
                node: run.clone(),
                from: 0,
                values: (0..buckets).map(|b| full(b, (b + 1) as u64)).collect(),
                version: buckets as u64,
            };
            states.insert(run.clone(), NodeState::for_test());
            let left_out = room.fit(&mut Letter::telling(vec![told]), &own, &states);
            if left_out == 0 {
                let state = states.get_mut(&run).unwrap();
                for bucket in 0..buckets {
                    state.set(bucket_key(bucket), full(0, 0).value);
                }
            }
            left_out == 0
        };
        assert!(!fits(1, most + 1));
        assert!((2..6).all(|incarnation| fits(incarnation, most)));
        assert!(!fits(6, most), "five are more than all may have");
        assert!(fits(7, 1));
    }
}
