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
//! Of each node only its own word is heard ([`Voices`]), whoever passes it on. So what a member makes up
//! gets no further than to the first node that it tells it to.

mod allowance;
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
#[cfg(test)]
mod lies;
mod marks;
mod pulse;
mod reader;
mod refusal;
mod room;
#[cfg(test)]
mod script;
mod seal;
mod shelf;
mod voices;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chitchat::{ChitchatId, NodeState};
use tidings_identity::{ClusterName, NodeRun};

pub(crate) use letter::{Letter, Told};
pub(crate) use pulse::Pulse;
pub(crate) use refusal::Refusal;
pub(crate) use seal::{Statement, Sum, text};
pub(crate) use voices::{shown_validity, write_chain};

use crate::credentials::Keyring;
use crate::fault::Fault;
use crate::pipe::GOSSIP_BYTES_MAX;
use cut::cut;
use pulse::Tokens;
use room::Room;
use voices::{Heard, Voices};

/// Reads the gossip of peers for one node.
#[derive(Debug)]
pub(crate) struct Guard {
    cluster: ClusterName,
    own: ChitchatId,
    heart: Option<Tokens>,
    voices: Voices,
    room: Room,
}

/// How many parts of a message were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// What was said of the reader that it does not know itself.
    pub(crate) itself: u64,
    /// What there was no room for.
    pub(crate) room: u64,
    /// What was not taken for its node's word, or is not all of it.
    pub(crate) heard: Heard,
}

impl LeftOut {
    /// How much of it is the fault of whoever sent it, or of whom it is about.
    pub(crate) fn faults(&self) -> [(Fault, u64); 4] {
        [
            (Fault::Itself, self.itself),
            (Fault::Room, self.room),
            (Fault::Certificate, self.heard.uncertified),
            (Fault::Pace, self.heard.hasty),
        ]
    }
}

impl Guard {
    /// The guard of this run of a node, whose heart this is. A node without credentials hears nobody.
    pub(crate) fn new(
        cluster: ClusterName,
        own: ChitchatId,
        heart: Option<&Pulse>,
        keyring: Keyring,
    ) -> Self {
        Self {
            voices: Voices::new(cluster.clone(), keyring),
            cluster,
            own,
            heart: heart.cloned().map(Tokens::new),
            room: Room::default(),
        }
    }

    /// Reads a message. Takes memory in proportion to what is in it unpacked, some 2 MiB at most.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Letter, Refusal> {
        if bytes.len() > GOSSIP_BYTES_MAX {
            return Err(Refusal::TooLong(bytes.len()));
        }
        Letter::read(bytes, self.cluster.as_str())
    }

    /// Leaves out of a message of this peer what its reader, who has these states, must not take in.
    ///
    /// # Errors
    /// When something in it is made up.
    pub(crate) fn fit(
        &mut self,
        from: &NodeRun,
        letter: &mut Letter,
        states: &BTreeMap<ChitchatId, NodeState>,
    ) -> Result<LeftOut, Refusal> {
        let (own, beat) = (&self.own, self.heart.as_mut().map(Tokens::beat));
        let beats = beat.map_or(0, |beat| beat.count);
        let itself = leave_out_itself(letter, own, states.get(own), beats);
        let heard = self.voices.hear(from, letter, own, states)?;
        Ok(LeftOut {
            itself,
            heard,
            room: self.room.fit(letter, own, states),
        })
    }

    /// Makes a message of this node's own chitchat what it says to this peer: cut to length, each run
    /// with its newest beat, and up to where this peer has told of it.
    pub(crate) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
        let mut bytes = cut(bytes);
        let beat = self.heart.as_mut().map(Tokens::beat);
        let marked = marks::put(&mut bytes, |node, version| match beat {
            Some(beat) if *node == self.own => (beat, version),
            _ => self.voices.marks(to, node, version),
        });
        debug_assert!(marked.is_ok(), "chitchat has said what cannot be read");
        bytes
    }
}

/// Takes out what is told of the reader itself, who alone writes its state. That may be late, and so
/// be nothing new; counted is what claims to be newer.
///
/// What a digest says of the reader stays: chitchat does no more with it than tell its sender what
/// that one lacks.
fn leave_out_itself(
    letter: &mut Letter,
    own: &ChitchatId,
    state: Option<&NodeState>,
    beats: u64,
) -> u64 {
    let version = state.map_or(0, NodeState::max_version);
    let digest = letter.digest.iter();
    let known = digest.filter(|known| known.node == *own);
    let ahead = known.filter(|known| known.version > version || known.heartbeat > beats);
    let mut claims = ahead.count();
    letter.delta.retain(|told| {
        let is_own = told.node == *own;
        claims += usize::from(is_own && told.version > version);
        !is_own
    });
    claims as u64
}
