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
            let of_node = self.of_node(&told.node);
            match more_with(told, state, of_node, bytes) {
                Some(more) if !has_too_many_keys(told, state) => {
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

/// How many bytes more there are with what is told of a node, of whose runs there are so many, and of
/// all nodes. None if that is too many.
fn more_with(
    told: &Told,
    state: Option<&NodeState>,
    of_node: usize,
    of_all: usize,
) -> Option<isize> {
    let version = state.map_or(0, NodeState::max_version);
    let news = told.values.iter().filter(|value| value.version > version);
    let mut more = 0;
    for value in news {
        more += value.bytes() as isize;
        let old = state.and_then(|state| state.get_versioned(&value.key));
        more -= old.map_or(0, |old| value_bytes(&value.key, &old.value)) as isize;
    }
    let fits = of_node.saturating_add_signed(more) <= NODE_BYTES_MAX
        && of_all.saturating_add_signed(more) <= STATES_BYTES_MAX;
    (more <= 0 || fits).then_some(more)
}

fn value_bytes(key: &str, value: &str) -> usize {
    VALUE_BYTES + key.len() + value.len()
}

/// The longest digest a node may have, of all runs of nodes that it knows. What it says to a peer has
/// to hold it, and chitchat takes for granted that something else fits beside it.
pub(crate) const DIGEST_BYTES_MAX: usize = 65_000;

/// The most that keys and values of all other nodes may take. That is about 5,000,000 memberships.
const STATES_BYTES_MAX: usize = 128 << 20;

/// The most that keys and values of all runs of one node may take, and less than what all of its
/// buckets could: some 1,000,000 memberships.
pub(crate) const NODE_BYTES_MAX: usize = 32 << 20;

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
        let states: BTreeMap<_, _> = (2..6)
            .map(|n| {
                let mut state = NodeState::for_test();
                // The last has nothing, and the room of ten buckets is left.
                let buckets = if n == 5 { 0 } else { (fitting - 10) / 3 };
                for bucket in 0..buckets {
                    state.set(bucket_key(bucket), full(0, 0).value);
                }
                (node(n, 1), state)
            })
            .collect();
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
        assert_eq!(fits(&[(5, 10)]), (vec![10], 0));
        assert_eq!(fits(&[(5, 14)]), (vec![], 1));
        // What comes first in a message counts.
        assert_eq!(fits(&[(5, 8), (6, 1), (2, 1), (3, 8)]), (vec![8, 1, 8], 0));
        let (_, state) = states.first_key_value().unwrap();
        let mut more = letter(&[(5, 8), (2, 0), (3, 1)]);
        more.delta[1].values = (1_000..1_006)
            .map(|b| full(b, state.max_version() + 1))
            .collect();
        assert_eq!(room.fit(&mut more, &own, &states), 1);
        assert_eq!(more.delta.len(), 2);
    }
}
