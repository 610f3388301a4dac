//! The messages of the control stream, and how they lie on the wire.
//!
//! Each is a length (`u32`, big endian, of what follows), a kind (`u8`) and a body. The body of
//! Hello begins with the protocol version (`u16`), whose place never changes, so that a node can
//! refuse a version it knows nothing else about. Each node says its newest, and of the two the
//! lower is spoken, if both still do. So a newer node is taken at its word that it does, and what
//! its Hello has behind ours is passed over.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream};
use serde::{Deserialize, Serialize};
use tidings_identity::Incarnation;

use crate::config::LANES_MAX;
use crate::pair::Claim;
use crate::{Credit, LinkNumber};

/// A message on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// The first message each way.
    Hello(Hello),
    /// The dialler's last word: the link is up.
    Ready,
    /// A gossip message of the membership layer.
    Gossip(Bytes),
    /// There is room again for what a publisher sends.
    Credit(Credit),
    /// How many frames of this run of the receiver were lost with links in all.
    Lost(u64),
    /// What two nodes have to say to each other about assured messages. What it means is for those to say
    /// who use it.
    Assurance(Bytes),
    /// A revocation list. It is read by whoever knows whether it is new, because to check its
    /// signature costs more than to compare it.
    Revoked(Bytes),
    /// A question to the other end, under a number of the asker's.
    Ask { number: u64, body: Bytes },
    /// The answer to the question of this number. An empty one says that nobody answers it.
    Answer { number: u64, body: Bytes },
}

/// How a node introduces itself on a new connection. Its name is in its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) incarnation: Incarnation,
    pub(crate) advertised: SocketAddr,
    /// How many lanes it will open.
    pub(crate) lanes: u8,
    /// See the `pair` module.
    pub(crate) number: LinkNumber,
}

/// What can go wrong while reading the control stream. The stream is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("the control stream ended")]
    Read(#[from] ReadExactError),
    #[error("control message of {bytes} bytes, allowed are 1 to {bytes_max}")]
    Length { bytes: u32, bytes_max: usize },
    #[error("control message of unknown kind {0}")]
    Kind(u8),
    #[error(
        "peer speaks protocol version {0}; this node speaks {VERSION}, and none before {OLDEST}: \
         upgrade one version at a time"
    )]
    Version(u16),
    #[error("malformed hello: {0}")]
    Hello(&'static str),
    #[error("malformed credit")]
    Credit,
    #[error("malformed number of lost frames")]
    Lost,
    #[error("unexpected {0} message")]
    Unexpected(&'static str),
    #[error("malformed question or answer")]
    Question,
    #[error("more than {OPEN_MAX} questions that have no answer yet")]
    TooManyQuestions,
    #[error("an answer to question {0}, which is not open")]
    Unasked(u64),
}

impl Control {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u32(0);
        match self {
            Self::Hello(hello) => {
                bytes.put_u8(HELLO);
                bytes.put_u16(VERSION);
                let body = postcard::to_allocvec(hello)
                    .expect("a hello has no part that cannot be serialised");
                bytes.put_slice(&body);
            }
            Self::Ready => bytes.put_u8(READY),
            Self::Gossip(message) => {
                bytes.reserve(1 + message.len());
                bytes.put_u8(GOSSIP);
                bytes.put_slice(message);
            }
            Self::Revoked(list) => {
                bytes.reserve(1 + list.len());
                bytes.put_u8(REVOKED);
                bytes.put_slice(list);
            }
            Self::Assurance(message) => {
                bytes.reserve(1 + message.len());
                bytes.put_u8(ASSURANCE);
                bytes.put_slice(message);
            }
            Self::Lost(frames) => {
                bytes.put_u8(LOST);
                bytes.put_u64(*frames);
            }
            Self::Ask { number, body } => put_question(&mut bytes, ASK, *number, body),
            Self::Answer { number, body } => put_question(&mut bytes, ANSWER, *number, body),
            Self::Credit(credit) => {
                bytes.put_u8(CREDIT);
                let body =
                    postcard::to_allocvec(credit).expect("two numbers always have a postcard form");
                bytes.put_slice(&body);
            }
        }
        let length = u32::try_from(bytes.len() - LENGTH_BYTES)
            .expect("whatever is said here is limited to far less than 4 GiB before it is queued");
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        bytes.freeze()
    }

    /// Reads the next message. Not cancel-safe: a message read in part is lost.
    pub(crate) async fn read(
        stream: &mut RecvStream,
        bytes_max: usize,
    ) -> Result<Self, ControlError> {
        let mut length = [0; LENGTH_BYTES];
        stream.read_exact(&mut length).await?;
        let bytes = u32::from_be_bytes(length);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        if length == 0 || length > bytes_max {
            return Err(ControlError::Length { bytes, bytes_max });
        }
        let mut body = BytesMut::zeroed(length);
        stream.read_exact(&mut body).await?;
        Self::decode(body.freeze())
    }

    /// Decodes what follows the length.
    pub(crate) fn decode(mut body: Bytes) -> Result<Self, ControlError> {
        match body.get_u8() {
            HELLO => Hello::decode(body).map(Self::Hello),
            READY if body.is_empty() => Ok(Self::Ready),
            GOSSIP => Ok(Self::Gossip(body)),
            REVOKED => Ok(Self::Revoked(body)),
            ASSURANCE => Ok(Self::Assurance(body)),
            CREDIT => match postcard::take_from_bytes(&body) {
                Ok((credit, [])) => Ok(Self::Credit(credit)),
                _ => Err(ControlError::Credit),
            },
            LOST => match body.try_get_u64() {
                Ok(frames) if body.is_empty() => Ok(Self::Lost(frames)),
                _ => Err(ControlError::Lost),
            },
            ASK => {
                let (number, body) = take_question(body, QUESTION_BYTES_MAX)?;
                Ok(Self::Ask { number, body })
            }
            ANSWER => {
                let (number, body) = take_question(body, ANSWER_BYTES_MAX)?;
                Ok(Self::Answer { number, body })
            }
            kind => Err(ControlError::Kind(kind)),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Ready => "ready",
            Self::Gossip(_) => "gossip",
            Self::Credit(_) => "credit",
            Self::Lost(_) => "lost",
            Self::Revoked(_) => "revoked",
            Self::Ask { .. } => "ask",
            Self::Answer { .. } => "answer",
            Self::Assurance(_) => "assurance",
        }
    }
}

impl Hello {
    pub(crate) fn claim(&self) -> Claim {
        Claim {
            incarnation: self.incarnation,
            number: self.number,
        }
    }

    fn decode(mut body: Bytes) -> Result<Self, ControlError> {
        let version = body
            .try_get_u16()
            .map_err(|_| ControlError::Hello("no version"))?;
        if version < OLDEST {
            return Err(ControlError::Version(version));
        }
        let is_newer = version > VERSION;
        let (hello, rest) = postcard::take_from_bytes::<Self>(&body).map_err(|_| {
            if is_newer {
                ControlError::Version(version)
            } else {
                ControlError::Hello("cannot be decoded")
            }
        })?;
        if !rest.is_empty() && !is_newer {
            return Err(ControlError::Hello("trailing bytes"));
        }
        if !(1..=LANES_MAX).contains(&hello.lanes) {
            return Err(ControlError::Hello("number of lanes out of bounds"));
        }
        if hello.advertised.ip().is_unspecified() || hello.advertised.port() == 0 {
            return Err(ControlError::Hello("advertised address cannot be dialled"));
        }
        Ok(hello)
    }
}

fn put_question(bytes: &mut BytesMut, kind: u8, number: u64, body: &[u8]) {
    bytes.reserve(QUESTION_OVERHEAD_BYTES + body.len());
    bytes.put_u8(kind);
    bytes.put_u64(number);
    bytes.put_slice(body);
}

fn take_question(mut body: Bytes, bytes_max: usize) -> Result<(u64, Bytes), ControlError> {
    match body.try_get_u64() {
        Ok(number) if body.len() <= bytes_max => Ok((number, body)),
        _ => Err(ControlError::Question),
    }
}

/// The newest version of the protocol that this node speaks.
const VERSION: u16 = 5;
/// The oldest one that it still speaks. Of versions 3 and 4 there was no release.
const OLDEST: u16 = 5;
/// Bytes that a gossip message grows by on the wire, its length aside.
pub(crate) const GOSSIP_OVERHEAD_BYTES: usize = 1;
/// The same for a revocation list.
pub(crate) const REVOKED_OVERHEAD_BYTES: usize = 1;
/// The same for a question or an answer.
pub(crate) const QUESTION_OVERHEAD_BYTES: usize = 9;
/// How many questions of one end of a link have no answer at a time.
pub(crate) const OPEN_MAX: usize = 32;
/// The longest question.
pub(crate) const QUESTION_BYTES_MAX: usize = 16 << 10;
/// The longest answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;
const HELLO: u8 = 1;
const READY: u8 = 2;
const GOSSIP: u8 = 3;
const CREDIT: u8 = 4;
const LOST: u8 = 5;
const REVOKED: u8 = 6;
const ASK: u8 = 7;
const ANSWER: u8 = 8;
const ASSURANCE: u8 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            incarnation: 1_700_000_000_000.into(),
            advertised: ([10, 0, 0, 1], 7400).into(),
            lanes: 4,
            number: LinkNumber::default(),
        }
    }

    fn decode(encoded: &Bytes) -> Result<Control, ControlError> {
        Control::decode(encoded.slice(LENGTH_BYTES..))
    }

    #[test]
    fn messages_survive_the_wire() {
        let gossip = Control::Gossip(Bytes::from_static(b"digest"));
        let credit = Control::Credit(Credit {
            publisher: 7,
            position: 1 << 40,
        });
        let lost = Control::Lost(1 << 40);
        for message in [
            Control::Hello(hello()),
            Control::Ready,
            gossip,
            credit,
            lost,
            Control::Revoked(Bytes::from_static(b"list")),
            Control::Ask {
                number: 1 << 40,
                body: Bytes::from_static(b"who?"),
            },
            Control::Answer {
                number: 0,
                body: Bytes::new(),
            },
            Control::Assurance(Bytes::from_static(b"taken")),
        ] {
            let encoded = message.encode();
            let length = u32::from_be_bytes(encoded[..LENGTH_BYTES].try_into().unwrap());
            assert_eq!(length as usize, encoded.len() - LENGTH_BYTES);
            assert_eq!(decode(&encoded).unwrap(), message);
        }
    }

    /// Our Hello in another version, with something behind it.
    fn hello_of(version: u16, more: &[u8]) -> Result<Control, ControlError> {
        let mut encoded = Control::Hello(hello()).encode().to_vec();
        encoded[LENGTH_BYTES + 1..][..2].copy_from_slice(&version.to_be_bytes());
        encoded.extend_from_slice(more);
        decode(&encoded.into())
    }

    #[test]
    fn another_version_is_told_apart_from_nonsense() {
        for unreadable in [OLDEST - 1, VERSION + 1] {
            let mut bytes = vec![HELLO];
            bytes.put_u16(unreadable);
            bytes.put_slice(&[0xff; 2]);
            let decoded = Control::decode(bytes.into());
            assert!(
                matches!(decoded, Err(ControlError::Version(version)) if version == unreadable)
            );
        }
    }

    #[test]
    fn versions_that_have_one_in_common_speak_it() {
        for version in OLDEST..=VERSION {
            assert_eq!(hello_of(version, &[]).unwrap(), Control::Hello(hello()));
            assert!(matches!(
                hello_of(version, &[1]),
                Err(ControlError::Hello("trailing bytes"))
            ));
        }
        // A newer one speaks ours, or else refuses us itself.
        let newer = hello_of(VERSION + 1, &[1, 2, 3]);
        assert_eq!(newer.unwrap(), Control::Hello(hello()));
        let refusal = hello_of(OLDEST - 1, &[]).unwrap_err().to_string();
        for version in [OLDEST - 1, VERSION] {
            assert!(refusal.contains(&version.to_string()), "{refusal}");
        }
    }

    #[test]
    fn a_hello_that_cannot_be_acted_on_is_refused() {
        let refused = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            matches!(
                decode(&Control::Hello(hello).encode()),
                Err(ControlError::Hello(_))
            )
        };
        assert!(refused(|h| h.lanes = 0));
        assert!(refused(|h| h.lanes = 17));
        assert!(refused(|h| h.advertised.set_port(0)));
        assert!(refused(|h| h.advertised = ([0, 0, 0, 0], 7400).into()));
    }

    #[test]
    fn a_question_or_answer_that_is_too_long_is_refused() {
        for (kind, bytes_max) in [(ASK, QUESTION_BYTES_MAX), (ANSWER, ANSWER_BYTES_MAX)] {
            let body = |bytes: usize| {
                let mut body = vec![0; 1 + 8 + bytes];
                body[0] = kind;
                Control::decode(body.into())
            };
            assert!(body(bytes_max).is_ok());
            assert!(matches!(body(bytes_max + 1), Err(ControlError::Question)));
            let short = Control::decode(vec![kind; 8].into());
            assert!(matches!(short, Err(ControlError::Question)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 1..64)) {
            let decoded = Control::decode(body.clone().into());
            if let Ok(message) = decoded {
                let is_known = (HELLO..=ANSWER).contains(&body[0]) || body[0] == ASSURANCE;
                prop_assert!(is_known, "{}", message.name());
            }
        }
    }
}
