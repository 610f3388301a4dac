//! A message on its way to another node.
//!
//! The body of a frame on a lane is a `postcard` header (publisher, whether it asks for credit, scope,
//! topic, reply topic, header lines), followed by the payload as it is. The header tells its own length, so nothing stands between.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_membership::{Scope, ScopeError, Topic, TopicError};
use tidings_transport::Frame;

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

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    publisher: u64,
    asks: Option<u64>,
    scope: &'a str,
    topic: &'a str,
    reply_to: Option<&'a str>,
    #[serde(borrow)]
    headers: &'a [u8],
}

/// The frame that carries a message: one for all peers, but for those who are asked for credit.
pub(crate) fn encode(origin: Origin, scope: &Scope, message: &Message) -> Frame {
    let header = encode_header(origin, scope, message);
    Frame::new(&header, message.payload.clone())
}

pub(crate) fn encode_header(origin: Origin, scope: &Scope, message: &Message) -> Vec<u8> {
    let Origin { publisher, asks } = origin;
    let header = Header {
        publisher,
        asks,
        scope: scope.as_str(),
        topic: message.topic.as_str(),
        reply_to: message.reply_to.as_ref().map(Topic::as_str),
        headers: message.headers.as_bytes(),
    };
    postcard::to_stdvec(&header).expect("strings and bytes always have a postcard form")
}

/// Reads the body of a frame.
pub(crate) fn decode(body: Bytes) -> Result<(Origin, Scope, Message), EnvelopeError> {
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
    let Header {
        publisher, asks, ..
    } = header;
    Ok((
        Origin { publisher, asks },
        Scope::parse(header.scope)?,
        message,
    ))
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
    use super::*;
    use proptest::prelude::*;

    fn body(origin: Origin, scope: &Scope, message: &Message) -> Bytes {
        [
            encode_header(origin, scope, message).as_slice(),
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
            let scope = Scope::default();
            for asks in [None, Some(u64::MAX)] {
                let origin = Origin { publisher: 7, asks };
                let decoded = decode(body(origin, &scope, &message)).unwrap();
                assert_eq!(decoded, (origin, scope.clone(), message.clone()));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(bytes.into());
        }
    }
}
