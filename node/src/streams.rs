//! Streams: what a tool says as it says it, kept for whoever comes late.
//!
//! A stream is an object on the node of its writer, which keeps what was written, and not a series of
//! messages. Whoever follows it asks that node for what comes after the first so many chunks, over the link that there is
//! anyway, and the answer waits there until there is something. So nothing that was written can be missed,
//! repeated or out of order, a writer waits for nobody, and a node has nothing to send to who does not ask.

pub(crate) mod following;
pub(crate) mod prefix;
pub(crate) mod pulls;
pub(crate) mod serving;
mod store;
pub(crate) mod stream_end;
mod stream_error;
mod stream_id;
mod stream_writer;
mod streams_here;
pub(crate) mod streams_shared;

use std::sync::Arc;

pub use self::following::{Followed, Following};
pub use self::stream_end::StreamEnd;
pub use self::stream_error::{FollowError, StreamError};
pub use self::stream_id::{StreamId, StreamIdError};
pub use self::stream_writer::{STREAM_END_HEADER, STREAM_OFFSET_HEADER, StreamWriter};

use self::following::There;
use self::pulls::FOLLOWERS_MAX;
use crate::session::Session;

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Whether each chunk is broadcast as well, for those who have subscribed to the
    /// [topic](StreamId::topic) of the stream: at most once, as any message. By default it is; it costs
    /// nothing when nobody has.
    pub live: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { live: true }
    }
}

impl Session {
    /// Begins a stream, which this node keeps: the last MiB of it (`stream_bytes_max` of
    /// [`Limits`](crate::Limits)), until five minutes after its end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidings::{Config, Followed, Node, SessionOptions, StreamEnd, StreamOptions};
    ///
    /// let node = Node::start(Config::default(), None).await?;
    /// let (session, _inbox) = node.session(SessionOptions::default())?;
    /// let mut writer = session.stream(StreamOptions::default())?;
    /// writer.push("it is ")?;
    /// writer.push("sunny")?;
    ///
    /// // Anybody on any node of the cluster, with the id of the stream.
    /// let mut following = session.follow(writer.id(), 1)?;
    /// writer.finish();
    /// let Followed::Chunk { offset, bytes } = following.next().await? else {
    ///     unreachable!("it is kept");
    /// };
    /// assert_eq!((offset, &bytes[..]), (1, &b"sunny"[..]));
    /// assert_eq!(following.next().await?, Followed::End(StreamEnd::Complete));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the session may not publish on the topics of streams, `stream.<id>`, when the node has 4,096
    /// streams (`streams_max`) none of which has ended, or when the session has ended.
    pub fn stream(&self, options: StreamOptions) -> Result<StreamWriter, StreamError> {
        StreamWriter::open(&self.state, &self.state.node.streams.here, options.live)
    }

    /// Follows a stream of this scope, on whatever node it is, from after its first `from` chunks.
    ///
    /// # Errors
    /// When the session may not subscribe to the [topic](StreamId::topic) of the stream or has ended, or 2,048
    /// follow streams of other nodes on this one.
    pub fn follow(&self, id: &StreamId, from: u64) -> Result<Following, FollowError> {
        self.may_follow(id)?;
        let (state, id) = (&self.state, id.clone());
        let shared = &state.node.streams;
        if id.node == shared.here.node {
            let streams = Arc::clone(&shared.here);
            return Ok(Following::here(state, streams, id, from));
        }
        let followers = Arc::clone(&shared.followers);
        let place = followers.try_acquire_owned();
        let place = place.map_err(|_| FollowError::TooMany { max: FOLLOWERS_MAX })?;
        let views = state.node.membership.views();
        let there = There::new(shared.pulls.clone(), views, place);
        Ok(Following::there(state, id, from, there))
    }

    fn may_follow(&self, id: &StreamId) -> Result<(), FollowError> {
        match &self.state.grant {
            Some(grant) => Ok(grant.subscribe(&id.pattern(), None)?),
            None => Ok(()),
        }
    }
}
