use bytes::Bytes;
use tidings_membership::Topic;

use crate::Headers;
use crate::places::Places;
use crate::ticket::Ticket;

/// What is broadcast: a topic, a payload, and what travels with it.
///
/// Delivery is at most once. Every subscriber of the topic gets the topic, headers and payload
/// exactly as they were published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is published on.
    pub topic: Topic,
    /// Where the publisher would like an answer; carried along, nothing is done with it.
    pub reply_to: Option<Topic>,
    /// Name and value pairs, as a block of bytes.
    pub headers: Headers,
    /// The content, of which nothing is assumed.
    pub payload: Bytes,
    /// For the accounts of the node that delivers it.
    pub(crate) places: Places,
    /// With what it is acknowledged, if its publisher waits for that.
    pub(crate) ticket: Ticket,
}

impl Message {
    /// A message without headers.
    pub fn new(topic: Topic, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            reply_to: None,
            headers: Headers::default(),
            payload: payload.into(),
            places: Places::default(),
            ticket: Ticket::default(),
        }
    }

    /// The same message with these headers.
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// What it counts for against limits in bytes: payload and headers.
    pub fn size_bytes(&self) -> usize {
        self.payload.len() + self.headers.as_block().len()
    }
}
