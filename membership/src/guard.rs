//! What stands between the bytes of a peer and chitchat.
//!
//! chitchat believes what it reads: it unpacks without a bound, and asserts what holds only for what
//! it has written itself. So each message is first read here, by rules that everything an honest
//! node says keeps ([`Letter`]); one that breaks a rule goes no further. Of the others some parts may
//! be left out, because of what this node knows already: words of others about itself, and what it
//! has no room for ([`Room`]). chitchat gets what is left, written anew.
//!
//! What passes here leaves a state of which chitchat can only say what passes at any other node, once
//! it is cut to length ([`cut`]). So nobody can use an honest node to get another's messages refused.
//!
//! The guard bounds and checks, and knows nobody: what a peer says of a third node in the right form
//! is believed.

#[cfg(test)]
mod attacks;
#[cfg(any(test, fuzzing))]
pub(crate) mod bench;
mod blocks;
#[cfg(test)]
mod chance;
mod cut;
#[cfg(test)]
mod honest;
mod key;
mod letter;
mod reader;
mod refusal;
mod room;
#[cfg(test)]
mod script;

use std::collections::BTreeMap;

use chitchat::{ChitchatId, NodeState};
use tidings_identity::ClusterName;

pub(crate) use cut::cut;
pub(crate) use letter::Letter;
pub(crate) use refusal::Refusal;

use crate::pipe::GOSSIP_BYTES_MAX;
use room::Room;

/// Reads the gossip of peers for one node.
#[derive(Debug)]
pub(crate) struct Guard {
    cluster: ClusterName,
    room: Room,
}

/// How many parts of a message were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// What was said of the reader that it does not know itself.
    pub(crate) itself: u64,
    /// What there was no room for.
    pub(crate) room: u64,
}

impl Guard {
    /// The guard of a node of this cluster.
    pub(crate) fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            room: Room::default(),
        }
    }

    /// Reads a message. Takes memory in proportion to what is in it unpacked, some 8 MiB at most.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Letter, Refusal> {
        if bytes.len() > GOSSIP_BYTES_MAX {
            return Err(Refusal::TooLong(bytes.len()));
        }
        Letter::read(bytes, self.cluster.as_str())
    }

    /// Leaves out of a message what its reader, who has these states, must not take in.
    pub(crate) fn fit(
        &mut self,
        letter: &mut Letter,
        own: &ChitchatId,
        states: &BTreeMap<ChitchatId, NodeState>,
    ) -> LeftOut {
        LeftOut {
            itself: leave_out_itself(letter, own, states.get(own)),
            room: self.room.fit(letter, own, states),
        }
    }
}

/// Takes out what is told of the reader itself, who alone writes its state. That may be late, and so
/// be nothing new; counted is what claims to be newer.
///
/// What a digest says of the reader stays: chitchat does no more with it than tell its sender what
/// that one lacks.
fn leave_out_itself(letter: &mut Letter, own: &ChitchatId, state: Option<&NodeState>) -> u64 {
    let version = state.map_or(0, NodeState::max_version);
    let heartbeat = state.map_or(0, |state| state.heartbeat().into());
    let digest = letter.digest.iter();
    let known = digest.filter(|known| known.node == *own);
    let ahead = known.filter(|known| known.version > version || known.heartbeat > heartbeat);
    let mut claims = ahead.count();
    letter.delta.retain(|told| {
        let is_own = told.node == *own;
        claims += usize::from(is_own && told.version > version);
        !is_own
    });
    claims as u64
}
