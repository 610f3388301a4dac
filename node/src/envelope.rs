//! A message on its way to another node.
//!
//! The body of a frame on a lane is a `postcard` header (publisher, whether it asks for credit and is for
//! anybody in particular, scope, topic, reply topic, header lines), followed by the payload as it is. The header tells its own length, so nothing stands between.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_membership::{MemberId, Scope, ScopeError, Topic, TopicError};
use tidings_transport::Frame;

use crate::assurance::{Id, Numbered};
use crate::{Headers, HeadersError, Message};

/// A payload up to this size is copied out of the frame: as a slice it would keep a whole received
/// chunk of many messages in memory for as long as it waits in a mailbox.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// Who published a message, as its node calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) publisher: u64,
    /// The position for which the frame asks for credit, if it does.
    pub(crate) asks: Option<u64>,
}

/// For whom a message is, on the node that it is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// All subscribers of its topic.
    Topic,
    /// One of them.
    Member(MemberId),
    /// All of them, and its publisher is told what became of it.
    Assured(Numbered),
}

/// What a frame carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) origin: Origin,
    pub(crate) aim: Aim,
    pub(crate) scope: Scope,
    pub(crate) message: Message,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    publisher: u64,
    extra: Extra,
    scope: &'a str,
    topic: &'a str,
    reply_to: Option<&'a str>,
    #[serde(borrow)]
    headers: &'a [u8],
}

/// What stands in one byte for almost all messages.
#[derive(Serialize, Deserialize)]
enum Extra {
    None,
    Asks(u64),
    Member {
        asks: Option<u64>,
        member: Id,
    },
    Assured {
        asks: Option<u64>,
        numbered: Numbered,
    },
}

/// The frame that carries a message: one for all peers, but for those who are asked for credit.
pub(crate) fn encode(origin: Origin, aim: Aim, scope: &Scope, message: &Message) -> Frame {
    let header = encode_header(origin, aim, scope, message);
    Frame::new(&header, message.payload.clone())
}

pub(crate) fn encode_header(origin: Origin, aim: Aim, scope: &Scope, message: &Message) -> Vec<u8> {
    let Origin { publisher, asks } = origin;
    let header = Header {
        publisher,
        extra: Extra::new(asks, aim),
        scope: scope.as_str(),
        topic: message.topic.as_str(),
        reply_to: message.reply_to.as_ref().map(Topic::as_str),
        headers: message.headers.as_bytes(),
    };
    postcard::to_stdvec(&header).expect("strings and bytes always have a postcard form")
}

/// Reads the body of a frame.
pub(crate) fn decode(body: Bytes) -> Result<Envelope, EnvelopeError> {
    let (header, payload) = postcard::take_from_bytes::<Header<'_>>(&body)?;
    let payload = match payload.len() {
        ..=COPIED_BYTES_MAX => Bytes::copy_from_slice(payload),
        _ => body.slice_ref(payload),
    };
    let message = Message {
        reply_to: header.reply_to.map(Topic::parse).transpose()?,
        headers: Headers::parse(Bytes::copy_from_slice(header.headers))?,
        ..Message::new(Topic::parse(header.topic)?, payload)
    };
    let (asks, aim) = header.extra.parts();
    Ok(Envelope {
        origin: Origin {
            publisher: header.publisher,
            asks,
        },
        aim,
        scope: Scope::parse(header.scope)?,
        message,
    })
}

impl Extra {
    fn new(asks: Option<u64>, aim: Aim) -> Self {
        match (aim, asks) {
            (Aim::Topic, None) => Self::None,
            (Aim::Topic, Some(position)) => Self::Asks(position),
            (Aim::Member(member), asks) => Self::Member {
                asks,
                member: member.to_bytes(),
            },
            (Aim::Assured(numbered), asks) => Self::Assured { asks, numbered },
        }
    }

    fn parts(self) -> (Option<u64>, Aim) {
        match self {
            Self::None => (None, Aim::Topic),
            Self::Asks(position) => (Some(position), Aim::Topic),
            Self::Member { asks, member } => (asks, Aim::Member(MemberId::from_bytes(member))),
            Self::Assured { asks, numbered } => (asks, Aim::Assured(numbered)),
        }
    }
}

/// Why the body of a frame is not a message. The frame is counted, and its link closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("its header cannot be decoded")]
    Header(#[from] postcard::Error),
    #[error("its scope is none")]
    Scope(#[from] ScopeError),
    #[error("its topic is none")]
    Topic(#[from] TopicError),
    #[error("its header lines are none")]
    Headers(#[from] HeadersError),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn body(envelope: &Envelope) -> Bytes {
        let Envelope {
            origin,
            aim,
            scope,
            message,
        } = envelope;
        [
            encode_header(*origin, *aim, scope, message).as_slice(),
            message.payload.as_ref(),
        ]
        .concat()
        .into()
    }

    #[test]
    fn a_message_travels_whole() {
        let headers = Headers::default().with("a", "1").unwrap();
        for payload_bytes in [0, 5, COPIED_BYTES_MAX + 1] {
            let message = Message {
                reply_to: Some(Topic::parse("_INBOX.1").unwrap()),
                headers: headers.clone(),
                ..Message::new(Topic::parse("a:b").unwrap(), vec![7; payload_bytes])
            };
            let second = Duration::from_secs(1);
            let aims = [
                Aim::Topic,
                Aim::Member(MemberId::from_bytes([3; 16])),
                Aim::Assured(Numbered::new(9, Some(8), true, second)),
            ];
            for (asks, aim) in aims
                .into_iter()
                .flat_map(|aim| [(None, aim), (Some(u64::MAX), aim)])
            {
                let envelope = Envelope {
                    origin: Origin { publisher: 7, asks },
                    aim,
                    scope: Scope::default(),
                    message: message.clone(),
                };
                assert_eq!(decode(body(&envelope)).unwrap(), envelope);
            }
        }
    }

    #[test]
    fn for_whom_a_message_is_costs_one_byte_when_it_is_for_all() {
        let message = Message::new(Topic::parse("a").unwrap(), "");
        let header = |aim| {
            let origin = Origin {
                publisher: 7,
                asks: None,
            };
            encode_header(origin, aim, &Scope::default(), &message).len()
        };
        let names = 1 + Scope::default().as_str().len() + 1 + 1;
        let (publisher, no_reply, no_headers) = (1, 1, 1);
        assert_eq!(
            header(Aim::Topic),
            publisher + 1 + names + no_reply + no_headers
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(bytes.into());
        }
    }
}
