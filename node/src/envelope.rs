//! A message on its way to another node.
//!
//! The body of a frame on a lane is a `postcard` header (scope, topic, reply topic, header lines),
//! followed by the payload as it is. The header tells its own length, so nothing stands between.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_membership::{Scope, ScopeError, Topic, TopicError};
use tidings_transport::Frame;

use crate::{Headers, HeadersError, Message};

/// A payload up to this size is copied out of the frame: as a slice it would keep a whole received
/// chunk of many messages in memory for as long as it waits in a mailbox.
const COPIED_BYTES_MAX: usize = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    scope: &'a str,
    topic: &'a str,
    reply_to: Option<&'a str>,
    #[serde(borrow)]
    headers: &'a [u8],
}

/// The frame that carries a message, encoded once for all peers.
pub(crate) fn encode(scope: &Scope, message: &Message) -> Frame {
    Frame::new(&encode_header(scope, message), message.payload.clone())
}

pub(crate) fn encode_header(scope: &Scope, message: &Message) -> Vec<u8> {
    let header = Header {
        scope: scope.as_str(),
        topic: message.topic.as_str(),
        reply_to: message.reply_to.as_ref().map(Topic::as_str),
        headers: message.headers.as_bytes(),
    };
    postcard::to_stdvec(&header).expect("strings and bytes always have a postcard form")
}

/// Reads the body of a frame.
pub(crate) fn decode(body: Bytes) -> Result<(Scope, Message), EnvelopeError> {
    let (header, payload) = postcard::take_from_bytes::<Header<'_>>(&body)?;
    let message = Message {
        topic: Topic::parse(header.topic)?,
        reply_to: header.reply_to.map(Topic::parse).transpose()?,
        headers: Headers::parse(Bytes::copy_from_slice(header.headers))?,
        payload: match payload.len() {
            ..=COPIED_BYTES_MAX => Bytes::copy_from_slice(payload),
            _ => body.slice_ref(payload),
        },
    };
    Ok((Scope::parse(header.scope)?, message))
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

    fn body(scope: &Scope, message: &Message) -> Bytes {
        [
            encode_header(scope, message).as_slice(),
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
            let (same_scope, same) = decode(body(&scope, &message)).unwrap();
            assert_eq!((same_scope, same), (scope, message));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(bytes.into());
        }
    }
}
