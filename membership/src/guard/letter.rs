//! A gossip message as chitchat 0.11.2 writes it, read with every count and length bounded.
//!
//! docs/protocol.md has the format in tables. What is asked of a message beyond it is what every
//! message of a node has by itself, and what chitchat takes for granted:
//!
//! - In a digest nodes are in order, in a delta each is named once. Nothing was ever deleted, so all
//!   that is told of deletions is zero; in a digest the token of a heartbeat stands there instead.
//! - Versions of a node's values go up, and begin above the one that its receiver is to have. Only
//!   where there is no value the version follows by itself.

use std::collections::BTreeSet;

use chitchat::{ChitchatId, NodeState, Serializable};

use super::blocks;
use super::key::Key;
use super::reader::Reader;
use super::refusal::Refusal;
use crate::message_kind::MessageKind;

/// A message that breaks no rule by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) kind: MessageKind,
    cluster: String,
    /// Up to where its sender knows each node. Empty in an Ack.
    pub(crate) digest: Vec<Known>,
    /// What its sender tells. Empty in a Syn.
    pub(crate) delta: Vec<Told>,
}

/// How well a node is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) node: ChitchatId,
    pub(crate) heartbeat: u64,
    /// Shows that the node made this heartbeat.
    pub(crate) token: u64,
    pub(crate) version: u64,
}

/// What is told of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) node: ChitchatId,
    /// The version that one must have to learn from this.
    pub(crate) from: u64,
    pub(crate) values: Vec<Value>,
    /// The version that one has then.
    pub(crate) version: u64,
}

/// A value of a node, and the version at which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) key: String,
    pub(crate) kind: Key,
    pub(crate) value: String,
    pub(crate) version: u64,
}

impl Letter {
    /// An Ack with this delta.
    pub(crate) fn telling(delta: Vec<Told>) -> Self {
        Self {
            kind: MessageKind::Ack,
            cluster: String::new(),
            digest: Vec::new(),
            delta,
        }
    }

    /// Whether a message is an Ack whose delta is empty, so that its receiver learns nothing from it.
    pub(crate) fn tells_nothing(bytes: &[u8]) -> bool {
        bytes.strip_prefix(&HEAD) == Some(&[ACK, blocks::END])
    }

    /// Reads a message to a node of this cluster.
    pub(crate) fn read(bytes: &[u8], cluster: &str) -> Result<Self, Refusal> {
        let from = &mut Reader::new(bytes);
        if from.bytes(HEAD.len())? != HEAD {
            return Err(Refusal::Head);
        }
        let kind = match from.byte()? {
            SYN => MessageKind::Syn,
            SYN_ACK => MessageKind::SynAck,
            ACK => MessageKind::Ack,
            // Nodes of another cluster get no link. To answer one, or to heed its answer, is no use.
            BAD_CLUSTER => return Err(Refusal::Cluster),
            kind => {
                let what = "message";
                return Err(Refusal::Kind { what, kind });
            }
        };
        let digest = match kind {
            MessageKind::Ack => Vec::new(),
            _ => read_digest(from)?,
        };
        let delta = match kind {
            MessageKind::Syn => {
                if from.text()? != cluster {
                    return Err(Refusal::Cluster);
                }
                Vec::new()
            }
            _ => read_delta(&blocks::unpack(from)?)?,
        };
        if from.left() > 0 {
            return Err(Refusal::Trailing(from.left()));
        }
        Ok(Self {
            kind,
            cluster: cluster.to_owned(),
            digest,
            delta,
        })
    }

    /// The message as chitchat reads it; not compressed, so it may be long.
    pub(crate) fn write(&self) -> Vec<u8> {
        self.write_with(|_| NEVER_DELETED)
    }

    fn write_with(&self, mark: impl Fn(&Known) -> u64) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        bytes.push(match self.kind {
            MessageKind::Syn => SYN,
            MessageKind::SynAck => SYN_ACK,
            MessageKind::Ack => ACK,
            MessageKind::BadCluster => BAD_CLUSTER,
        });
        if self.kind != MessageKind::Ack {
            let count = u16::try_from(self.digest.len()).unwrap_or(u16::MAX);
            count.serialize(&mut bytes);
            for known in &self.digest {
                known.write(mark(known), &mut bytes);
            }
        }
        if self.kind == MessageKind::Syn {
            self.cluster.serialize(&mut bytes);
        } else {
            let mut delta = Vec::new();
            for told in &self.delta {
                told.write(&mut delta);
            }
            blocks::pack_plain(&delta, &mut bytes);
        }
        bytes
    }
}

impl Known {
    /// How long the entry for this node is in any digest.
    pub(crate) fn bytes(node: &ChitchatId) -> usize {
        node.serialized_len() + 3 * size_of::<u64>()
    }

    /// How well a node is known that has this state. Of its heart nothing is said.
    pub(crate) fn of((node, state): (&ChitchatId, &NodeState)) -> Self {
        Self {
            node: node.clone(),
            heartbeat: 0,
            token: 0,
            version: state.max_version(),
        }
    }

    fn write(&self, mark: u64, to: &mut Vec<u8>) {
        self.node.serialize(to);
        self.heartbeat.serialize(to);
        mark.serialize(to);
        self.version.serialize(to);
    }
}

impl Value {
    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        VALUE_BYTES + self.key.len() + self.value.len()
    }
}

impl Told {
    /// What this state of a node has beyond that version; None if that is nothing.
    pub(crate) fn beyond(version: u64, node: &ChitchatId, state: &NodeState) -> Option<Self> {
        let values = state.key_values_including_deleted();
        let mut values: Vec<_> = values
            .filter(|(_, value)| value.version > version)
            .filter_map(|(key, value)| {
                Some(Value {
                    key: key.to_owned(),
                    kind: Key::parse(key)?,
                    value: value.value.clone(),
                    version: value.version,
                })
            })
            .collect();
        values.sort_by_key(|value| value.version);
        Some(Self {
            node: node.clone(),
            from: version,
            version: values.last()?.version,
            values,
        })
    }

    /// How well whoever tells this knows the node.
    pub(crate) fn known(&self) -> Known {
        Known {
            node: self.node.clone(),
            heartbeat: 0,
            token: 0,
            version: self.version,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.push(NODE);
        self.node.serialize(to);
        NEVER_DELETED.serialize(to);
        self.from.serialize(to);
        for value in &self.values {
            to.push(VALUE);
            value.key.serialize(to);
            value.value.serialize(to);
            value.version.serialize(to);
            to.push(SET);
        }
        let reached = self.values.last().map_or(0, |value| value.version);
        if reached < self.version {
            to.push(VERSION);
            self.version.serialize(to);
        }
    }
}

pub(super) fn read_digest(from: &mut Reader<'_>) -> Result<Vec<Known>, Refusal> {
    // What the number announces may not come, so no memory is taken for it.
    let mut digest: Vec<Known> = Vec::new();
    for _ in 0..from.u16()? {
        let node = from.node()?;
        if digest.last().is_some_and(|last| last.node >= node) {
            return Err(Refusal::NodeTwice);
        }
        digest.push(Known {
            node,
            heartbeat: from.count()?,
            token: from.u64()?,
            version: from.count()?,
        });
    }
    Ok(digest)
}

fn read_delta(bytes: &[u8]) -> Result<Vec<Told>, Refusal> {
    let from = &mut Reader::new(bytes);
    let mut delta: Vec<Told> = Vec::new();
    let mut nodes = BTreeSet::new();
    let mut keys = BTreeSet::new();
    while from.left() > 0 {
        match from.byte()? {
            NODE => {
                let node = from.node()?;
                never_deleted(from)?;
                if !nodes.insert(node.clone()) {
                    return Err(Refusal::NodeTwice);
                }
                keys.clear();
                delta.push(Told {
                    node,
                    from: from.count()?,
                    values: Vec::new(),
                    version: 0,
                });
            }
            VALUE => {
                let told = delta.last_mut().ok_or(Refusal::Order)?;
                // A version that came by itself is the last there is of its node.
                if told.version > 0 && told.values.is_empty() {
                    return Err(Refusal::Order);
                }
                let value = read_value(from, told.version.max(told.from))?;
                if !keys.insert(value.key.clone()) {
                    return Err(Refusal::KeyTwice);
                }
                told.version = value.version;
                told.values.push(value);
            }
            VERSION => {
                let told = delta.last_mut().ok_or(Refusal::Order)?;
                if told.version > 0 {
                    return Err(Refusal::Order);
                }
                told.version = version_after(told.from, from)?;
            }
            kind => {
                let what = "entry";
                return Err(Refusal::Kind { what, kind });
            }
        }
    }
    Ok(delta)
}

fn read_value(from: &mut Reader<'_>, last: u64) -> Result<Value, Refusal> {
    let (key, value) = (from.text()?, from.text()?);
    let kind = Key::parse(key).ok_or(Refusal::Key(key.len()))?;
    if value.len() > kind.value_bytes_max() {
        return Err(Refusal::ValueTooLong(value.len()));
    }
    let version = version_after(last, from)?;
    match from.byte()? {
        SET => Ok(Value {
            key: key.to_owned(),
            kind,
            value: value.to_owned(),
            version,
        }),
        DELETED | DELETED_LATER => Err(Refusal::Deletion),
        kind => {
            let what = "value";
            Err(Refusal::Kind { what, kind })
        }
    }
}

fn version_after(last: u64, from: &mut Reader<'_>) -> Result<u64, Refusal> {
    let version = from.count()?;
    if version <= last {
        return Err(Refusal::Version { version, last });
    }
    Ok(version)
}

fn never_deleted(from: &mut Reader<'_>) -> Result<(), Refusal> {
    match from.u64()? {
        NEVER_DELETED => Ok(()),
        _ => Err(Refusal::Deletion),
    }
}

/// Magic number and version of the protocol.
pub(super) const HEAD: [u8; 3] = [0x53, 0xb0, 0];
pub(super) const SYN: u8 = 0;
pub(super) const SYN_ACK: u8 = 1;
pub(super) const ACK: u8 = 2;
const BAD_CLUSTER: u8 = 3;

pub(super) const NODE: u8 = 0;
pub(super) const VALUE: u8 = 1;
pub(super) const VERSION: u8 = 2;

const SET: u8 = 0;
const DELETED: u8 = 1;
const DELETED_LATER: u8 = 2;

/// What a value takes in memory besides key and text.
pub(super) const VALUE_BYTES: usize = 128;

/// The version up to which what was deleted is forgotten.
const NEVER_DELETED: u64 = 0;

#[cfg(test)]
impl Letter {
    /// The message as it was sent, but for how it was compressed.
    pub(crate) fn rewrite(&self) -> Vec<u8> {
        self.write_with(|known| known.token)
    }
}
