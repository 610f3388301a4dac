use std::collections::BTreeMap;
use std::net::SocketAddr;

use chitchat::ChitchatId;
use tidings_identity::Certified;

use super::letter::{Told, Value};

/// Parts of states too long for one message, until they are whole. Each is of one node, told by one
/// peer, so that no peer spoils what another tells.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    parts: BTreeMap<SocketAddr, BTreeMap<ChitchatId, Part>>,
}

/// What a peer has told of a node, beyond what was whole before.
#[derive(Debug, Default)]
pub(crate) struct Part {
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
        let part = self.parts.get(&from)?.get(node)?;
        (part.version > beyond).then_some(part)
    }

    /// Takes that part away.
    pub(crate) fn take(&mut self, from: SocketAddr, node: &ChitchatId) -> Part {
        let Some(parts) = self.parts.get_mut(&from) else {
            return Part::default();
        };
        let part = parts.remove(node).unwrap_or_default();
        if parts.is_empty() {
            self.parts.remove(&from);
        }
        part
    }

    /// Puts a part there. False if its peer has too many: they are gone, and it begins again. When all
    /// together are too many, those of the others are, so that nobody can fill the shelf for good.
    pub(crate) fn put(&mut self, from: SocketAddr, node: &ChitchatId, part: Part) -> bool {
        let parts = self.parts.entry(from).or_default();
        parts.insert(node.clone(), part);
        let of_peer: usize = parts.values().map(|part| part.bytes).sum();
        let of_all = self.parts.values().flat_map(BTreeMap::values);
        let of_all: usize = of_all.map(|part| part.bytes).sum();
        let fits = of_peer <= PEER_BYTES_MAX;
        if !fits {
            self.parts.remove(&from);
        } else if of_all > ALL_BYTES_MAX {
            self.parts.retain(|other, _| *other == from);
        }
        fits
    }

    /// Drops what is of nodes that are not wanted, or not beyond what is known of them by now.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&ChitchatId, u64) -> bool) {
        self.parts.retain(|_, parts| {
            parts.retain(|node, part| is_wanted(node, part.version));
            !parts.is_empty()
        });
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
    pub(crate) fn add(&mut self, told: &mut Told, shown: Option<Certified>) {
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
}

/// The most that the parts of one peer may take: a state is not longer.
const PEER_BYTES_MAX: usize = super::room::RUN_BYTES_MAX;

/// The most that all parts may take.
const ALL_BYTES_MAX: usize = 4 * PEER_BYTES_MAX;
