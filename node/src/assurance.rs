//! What two nodes say to each other about assured messages, on the control stream.
//!
//! A node numbers the assured messages that it sends to each run of a peer, from 0 on. The peer tells
//! what became of a message once it has it, and again when it is asked about members of its own. What is
//! lost of that does no harm: the publisher's node asks until it knows, or its time is over.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_membership::MemberId;

/// What the frame of an assured message says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    /// The message of the same publisher that is to be there before.
    pub(crate) after: Option<u64>,
    /// Whether its publisher waits until agents acknowledge it.
    pub(crate) acknowledged: bool,
    /// For how much longer its publisher waits.
    left_ms: u64,
}

/// One word about an assured message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Assurance {
    /// The publisher's node: what became of it with these members?
    Ask { number: u64, members: Vec<Id> },
    /// The other node: it is not there yet.
    Unseen { number: u64 },
    /// The other node: this is what became of it.
    Told { number: u64, fates: Vec<(Id, Fate)> },
    /// The publisher's node: it is not asked about any more.
    Settled { number: u64 },
}

/// The bytes of a member's id.
pub(crate) type Id = [u8; 16];

/// What became of an assured message with one member, as the member's node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// It is in the mailbox, or has been received.
    Taken,
    /// The agent said so.
    Acknowledged,
    /// There was no room in the mailbox.
    Refused,
    /// There is no such member any more.
    Left,
    /// The member's session has ended.
    Died,
}

impl Numbered {
    pub(crate) fn new(number: u64, after: Option<u64>, acknowledged: bool, left: Duration) -> Self {
        Self {
            number,
            after,
            acknowledged,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// For how much longer its publisher waits. A peer may say anything.
    pub(crate) fn left(&self) -> Duration {
        Duration::from_millis(self.left_ms)
    }
}

impl Assurance {
    /// What became of a message with all these members, in messages that are short enough to be sent.
    pub(crate) fn told(number: u64, fates: &[(MemberId, Fate)]) -> impl Iterator<Item = Self> {
        fates.chunks(MEMBERS_MAX).map(move |fates| Self::Told {
            number,
            fates: fates
                .iter()
                .map(|(member, fate)| (member.to_bytes(), *fate))
                .collect(),
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let bytes = postcard::to_stdvec(self);
        bytes
            .expect("numbers and bytes always have a postcard form")
            .into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, AssuranceError> {
        match postcard::take_from_bytes(bytes) {
            Ok((assurance, [])) => Ok(assurance),
            Ok(_) => Err(AssuranceError::Trailing),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why something is no word about an assured message. The link of who says it is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssuranceError {
    #[error("what it says about an assured message cannot be decoded")]
    Malformed(#[from] postcard::Error),
    #[error("what it says about an assured message has something behind it")]
    Trailing,
}

/// Of how many members one message speaks at most: 17 kB, which every node takes whatever its settings.
pub(crate) const MEMBERS_MAX: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_survives_the_way_and_is_short_enough() {
        let member = MemberId::from_bytes([7; 16]);
        let fates = [(member, Fate::Taken); 2 * MEMBERS_MAX + 1];
        let told: Vec<_> = Assurance::told(u64::MAX, &fates).collect();
        assert_eq!(told.len(), 3);
        let others = [
            Assurance::Unseen { number: 3 },
            Assurance::Settled { number: 4 },
            Assurance::Ask {
                number: 5,
                members: vec![[1; 16]; MEMBERS_MAX],
            },
        ];
        for said in told.iter().chain(&others) {
            let encoded = said.encode();
            assert!(encoded.len() <= 18_000, "{} bytes", encoded.len());
            assert_eq!(Assurance::decode(&encoded).unwrap(), *said);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Assurance::decode(&bytes);
        }
    }
}
