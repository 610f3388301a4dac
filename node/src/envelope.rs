//! A message on its way to another node.
//!
//! The body of a frame on a lane is a `postcard` header (publisher, whether it asks for credit and for whom
//! in particular it is, scope, topic, reply topic and where that is, headers), followed by the payload as it is. The
//! header tells its own length, so nothing stands between.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_identity::{NameError, NodeId};
use tidings_membership::{
    MemberId, QueueGroup, QueueGroupError, Scope, ScopeError, Topic, TopicError,
};
use tidings_transport::Frame;

use crate::assurance::{Id, Numbered};
use crate::homes::Home;
use crate::{Headers, Message};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    /// All subscribers of its topic that are in no queue group.
    Topic,
    /// Them, and one of each of these queue groups.
    Queues(Vec<QueueGroup>),
    /// Them, and one of each queue group of which there is one there: it goes to no other node.
    Node,
    /// One of this queue group and nobody else. It was passed on so often, by nodes where there was none.
    Passed { queue: QueueGroup, times: u8 },
    /// One subscriber.
    Member(MemberId),
    /// All that are in no queue group, and these of those that are in one; the publisher is told what became
    /// of it.
    Assured {
        numbered: Numbered,
        chosen: Vec<MemberId>,
    },
}

impl Origin {
    /// Of a message that this node passes on: of its publisher's, wherever that is, the order is kept as far
    /// as can be. The number is that of no session here, so that none is slowed or speeded up for it.
    pub(crate) fn passing_on(publisher: u64) -> Self {
        Self {
            publisher: publisher | PASSED_ON,
            asks: None,
        }
    }
}

/// Set in the number of a publisher whose message is passed on. No session has so great a number.
const PASSED_ON: u64 = 1 << 63;

/// What a frame carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) origin: Origin,
    pub(crate) aim: Aim,
    pub(crate) scope: Scope,
    /// Where the inbox is that the message names.
    pub(crate) home: Home,
    pub(crate) message: Message,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    publisher: u64,
    #[serde(borrow)]
    extra: Extra<'a>,
    scope: &'a str,
    topic: &'a str,
    #[serde(borrow)]
    reply: Reply<'a>,
    headers: &'a [u8],
}

/// What stands in one byte for almost all messages.
#[derive(Serialize, Deserialize)]
enum Extra<'a> {
    None,
    Asks(u64),
    Member {
        asks: Option<u64>,
        member: Id,
    },
    Assured {
        asks: Option<u64>,
        numbered: Numbered,
        chosen: Vec<Id>,
    },
    Queues {
        asks: Option<u64>,
        #[serde(borrow)]
        queues: Vec<&'a str>,
    },
    Passed {
        queue: &'a str,
        times: u8,
    },
    Node {
        asks: Option<u64>,
    },
}

/// Where answers go.
#[derive(Serialize, Deserialize)]
enum Reply<'a> {
    None,
    To(&'a str),
    /// To an inbox of the sender.
    Here(&'a str),
    /// To an inbox on this node.
    At(&'a str, &'a str),
}

/// The frame that carries a message: one for all peers, but for those who are asked for credit.
pub(crate) fn encode(
    origin: Origin,
    aim: &Aim,
    scope: &Scope,
    home: &Home,
    message: &Message,
) -> Frame {
    let header = encode_header(origin, aim, scope, home, message);
    Frame::new(&header, message.payload.clone())
}

pub(crate) fn encode_header(
    origin: Origin,
    aim: &Aim,
    scope: &Scope,
    home: &Home,
    message: &Message,
) -> Vec<u8> {
    let Origin { publisher, asks } = origin;
    let reply = match (&message.reply_to, home) {
        (None, _) => Reply::None,
        (Some(topic), Home::Unknown) => Reply::To(topic.as_str()),
        (Some(topic), Home::Sender) => Reply::Here(topic.as_str()),
        (Some(topic), Home::Node(node)) => Reply::At(topic.as_str(), node.as_str()),
    };
    let header = Header {
        publisher,
        extra: Extra::new(asks, aim),
        scope: scope.as_str(),
        topic: message.topic.as_str(),
        reply,
        headers: message.headers.as_block(),
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
    let (reply_to, home) = match header.reply {
        Reply::None => (None, Home::Unknown),
        Reply::To(topic) => (Some(topic), Home::Unknown),
        Reply::Here(topic) => (Some(topic), Home::Sender),
        Reply::At(topic, node) => (Some(topic), Home::Node(NodeId::parse(node)?)),
    };
    let message = Message {
        reply_to: reply_to.map(Topic::parse).transpose()?,
        headers: Headers::from_block(Bytes::copy_from_slice(header.headers)),
        ..Message::new(Topic::parse(header.topic)?, payload)
    };
    let (asks, aim) = header.extra.parts()?;
    Ok(Envelope {
        origin: Origin {
            publisher: header.publisher,
            asks,
        },
        aim,
        scope: Scope::parse(header.scope)?,
        home,
        message,
    })
}

impl<'a> Extra<'a> {
    fn new(asks: Option<u64>, aim: &'a Aim) -> Self {
        match (aim, asks) {
            (Aim::Topic, None) => Self::None,
            (Aim::Topic, Some(position)) => Self::Asks(position),
            (Aim::Node, asks) => Self::Node { asks },
            (Aim::Member(member), asks) => Self::Member {
                asks,
                member: member.to_bytes(),
            },
            (Aim::Assured { numbered, chosen }, asks) => Self::Assured {
                asks,
                numbered: *numbered,
                chosen: chosen.iter().map(|member| member.to_bytes()).collect(),
            },
            (Aim::Queues(queues), asks) => Self::Queues {
                asks,
                queues: queues.iter().map(QueueGroup::as_str).collect(),
            },
            (Aim::Passed { queue, times }, _) => Self::Passed {
                queue: queue.as_str(),
                times: *times,
            },
        }
    }

    fn parts(self) -> Result<(Option<u64>, Aim), QueueGroupError> {
        Ok(match self {
            Self::None => (None, Aim::Topic),
            Self::Asks(position) => (Some(position), Aim::Topic),
            Self::Node { asks } => (asks, Aim::Node),
            Self::Member { asks, member } => (asks, Aim::Member(MemberId::from_bytes(member))),
            Self::Assured {
                asks,
                numbered,
                chosen,
            } => {
                let chosen = chosen.into_iter().map(MemberId::from_bytes).collect();
                (asks, Aim::Assured { numbered, chosen })
            }
            Self::Queues { asks, queues } => {
                let queues = queues.into_iter().map(QueueGroup::parse);
                (asks, Aim::Queues(queues.collect::<Result<_, _>>()?))
            }
            Self::Passed { queue, times } => {
                let queue = QueueGroup::parse(queue)?;
                (None, Aim::Passed { queue, times })
            }
        })
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
    #[error("a queue group that it is for is none")]
    Queue(#[from] QueueGroupError),
    #[error("the node of its inbox is none")]
    Node(#[from] NameError),
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
            home,
            message,
        } = envelope;
        [
            encode_header(*origin, aim, scope, home, message).as_slice(),
            message.payload.as_ref(),
        ]
        .concat()
        .into()
    }

    #[test]
    fn a_message_travels_whole() {
        let headers = Headers::from_block(Bytes::from_static(b"NATS/1.0 503\r\na\xff\n"));
        for payload_bytes in [0, 5, COPIED_BYTES_MAX + 1] {
            let message = Message {
                reply_to: Some(Topic::parse("_INBOX.1").unwrap()),
                headers: headers.clone(),
                ..Message::new(Topic::parse("a:b").unwrap(), vec![7; payload_bytes])
            };
            let second = Duration::from_secs(1);
            let (member, queue) = (
                MemberId::from_bytes([3; 16]),
                QueueGroup::parse("q").unwrap(),
            );
            let aims = [
                Aim::Topic,
                Aim::Node,
                Aim::Member(member),
                Aim::Assured {
                    numbered: Numbered::new(9, Some(8), true, second),
                    chosen: vec![member],
                },
                Aim::Queues(vec![queue.clone(), queue]),
            ];
            let homes = [
                Home::Unknown,
                Home::Sender,
                Home::Node(NodeId::parse("n7").unwrap()),
            ];
            let aims = aims
                .into_iter()
                .flat_map(|aim| [(None, aim.clone()), (Some(u64::MAX), aim)]);
            for ((asks, aim), home) in aims.zip(homes.into_iter().cycle()) {
                let envelope = Envelope {
                    origin: Origin { publisher: 7, asks },
                    aim,
                    scope: Scope::default(),
                    home,
                    message: message.clone(),
                };
                assert_eq!(decode(body(&envelope)).unwrap(), envelope);
            }
            let envelope = Envelope {
                origin: Origin {
                    publisher: 7,
                    asks: None,
                },
                aim: Aim::Passed {
                    queue: QueueGroup::parse("q").unwrap(),
                    times: 2,
                },
                scope: Scope::default(),
                home: Home::Unknown,
                message,
            };
            assert_eq!(decode(body(&envelope)).unwrap(), envelope);
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
            encode_header(origin, &aim, &Scope::default(), &Home::Unknown, &message).len()
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
