use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidings_membership::Topic;
use tokio::time::Instant;

use super::prefix::CHUNK_BYTES_MAX;
use super::stream_end::StreamEnd;
use super::stream_error::StreamError;
use super::stream_id::StreamId;
use super::streams_here::StreamsHere;
use crate::broker::Reach;
use crate::session::SessionState;
use crate::{Headers, Message};

/// The header of a broadcast chunk that says how many chunks come before it.
pub const STREAM_OFFSET_HEADER: &str = "Tidings-Stream-Offset";
/// The header of the last broadcast of a stream, which has no chunk, that says how it has ended.
pub const STREAM_END_HEADER: &str = "Tidings-Stream-End";

/// Writes a stream. Dropping it without [`finish`](Self::finish) or [`fail`](Self::fail) ends the stream as
/// [aborted](StreamEnd::Aborted), which those who follow are told at once.
#[derive(Debug)]
pub struct StreamWriter {
    session: Arc<SessionState>,
    streams: Arc<StreamsHere>,
    id: StreamId,
    topic: Topic,
    is_live: bool,
    has_ended: bool,
}

impl StreamWriter {
    /// Begins a stream.
    pub(crate) fn open(
        session: &Arc<SessionState>,
        streams: &Arc<StreamsHere>,
        is_live: bool,
    ) -> Result<Self, StreamError> {
        if has_ended(session) {
            return Err(StreamError::Ended);
        }
        let scope = session.routes.scope.clone();
        let number = streams.store().open(scope, Instant::now());
        let number = number.ok_or_else(|| StreamError::TooMany {
            max: session.node.limits.streams_max.get(),
        })?;
        let id = StreamId {
            node: streams.node.clone(),
            incarnation: streams.incarnation,
            number,
        };
        let writer = Self {
            session: Arc::clone(session),
            streams: Arc::clone(streams),
            topic: id.topic(),
            id,
            is_live,
            has_ended: false,
        };
        // If it may not, it ends here.
        writer.may_write()?;
        Ok(writer)
    }

    /// What the stream is called, by which anybody can follow it.
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// Adds a chunk. Never waits, whoever reads. Returns how many chunks the stream has.
    ///
    /// More than 32 KiB are several chunks, split between characters if they are text. No bytes are no chunk.
    ///
    /// # Errors
    /// When the session may not publish on the [topic](StreamId::topic) of the stream any more, or has ended.
    pub fn push(&mut self, bytes: impl Into<Bytes>) -> Result<u64, StreamError> {
        if has_ended(&self.session) {
            self.end(StreamEnd::Aborted);
            return Err(StreamError::Ended);
        }
        self.may_write()?;
        let mut rest: Bytes = bytes.into();
        loop {
            // Copied, so that a chunk keeps no more in memory than it counts for.
            let chunk = Bytes::copy_from_slice(&rest.split_to(first_chunk(&rest)));
            if chunk.is_empty() {
                return Ok(self.streams.store().written(self.id.number));
            }
            let written = self.streams.store().push(self.id.number, chunk.clone());
            self.tell(written.saturating_sub(1), chunk, None);
        }
    }

    /// Ends the stream as complete. Returns how many chunks it has.
    pub fn finish(mut self) -> u64 {
        self.end(StreamEnd::Complete)
    }

    /// Ends the stream as failed, for this reason, of which up to 1,024 bytes are told. Returns how many
    /// chunks it has.
    pub fn fail(mut self, reason: &str) -> u64 {
        self.end(StreamEnd::failed(reason))
    }

    fn end(&mut self, end: StreamEnd) -> u64 {
        let (now, is_first) = (Instant::now(), !self.has_ended);
        let written = self.streams.store().end(self.id.number, end.clone(), now);
        self.has_ended = true;
        if is_first {
            self.tell(written, end.reason().to_owned().into(), Some(&end));
        }
        written
    }

    fn may_write(&self) -> Result<(), StreamError> {
        match &self.session.grant {
            Some(grant) => Ok(grant.publish(&self.topic)?),
            None => Ok(()),
        }
    }

    /// Broadcasts it to those who have subscribed to the topic of the stream.
    fn tell(&self, offset: u64, payload: Bytes, end: Option<&StreamEnd>) {
        if !self.is_live || !self.session.routes.matching(&self.topic).has_any() {
            return;
        }
        let headers = Headers::default().with(STREAM_OFFSET_HEADER, &offset.to_string());
        let headers = headers.and_then(|headers| match end {
            Some(end) => headers.with(STREAM_END_HEADER, end.name()),
            None => Ok(headers),
        });
        let message = Message::new(self.topic.clone(), payload);
        let message = message.with_headers(headers.unwrap_or_default());
        // It is at most once, and whoever wants all of it follows the stream.
        let _ = self.session.publish(message, false, Reach::Everywhere);
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(StreamEnd::Aborted);
        }
    }
}

fn has_ended(session: &SessionState) -> bool {
    session.ended.load(Relaxed) || session.node.has_stopped()
}

/// How much of it is one chunk: all, or as much as may be, up to a character if it is text.
fn first_chunk(bytes: &[u8]) -> usize {
    if bytes.len() <= CHUNK_BYTES_MAX {
        return bytes.len();
    }
    let is_inside = |at: &usize| bytes[*at] & 0b1100_0000 == 0b1000_0000;
    let mut ends = (CHUNK_BYTES_MAX - 3..=CHUNK_BYTES_MAX).rev();
    ends.find(|at| !is_inside(at)).unwrap_or(CHUNK_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_split_between_characters() {
        assert_eq!(first_chunk(b"abc"), 3);
        let text = format!("x{}", "€".repeat(CHUNK_BYTES_MAX / 3 + 1));
        let end = first_chunk(text.as_bytes());
        assert!(end <= CHUNK_BYTES_MAX && end > CHUNK_BYTES_MAX - 3);
        assert!(text.is_char_boundary(end));
        assert_eq!(first_chunk(&[0x80; CHUNK_BYTES_MAX + 1]), CHUNK_BYTES_MAX);
    }
}
