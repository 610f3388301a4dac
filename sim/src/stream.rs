//! Who writes a stream, and who follows one.

use std::time::Duration;

use tidings::{FollowError, Followed, Node, StreamEnd, StreamId, StreamOptions};
use tokio::time::sleep;

use crate::journal::Journal;
use crate::note::{Finish, Note, Telling};
use crate::server;

/// Somebody on a host who writes a stream in a session of its own.
#[derive(Debug)]
pub struct Writer {
    /// The node.
    pub node: Node,
    /// Where that is.
    pub host: usize,
    /// As what the plan knows the stream.
    pub stream: usize,
    /// How many chunks it has.
    pub chunks: u64,
    /// How long is waited after each.
    pub pause: Duration,
    /// How it ends.
    pub finish: Finish,
    /// Where it is told.
    pub journal: Journal,
}

/// Somebody on a host who follows a stream in a session of its own.
#[derive(Debug)]
pub struct Follower {
    /// The node.
    pub node: Node,
    /// Where that is.
    pub host: usize,
    /// The number of the stream among all that were begun.
    pub stream: usize,
    /// Its name.
    pub id: StreamId,
    /// After how many chunks it begins.
    pub from: u64,
    /// How long it takes over each.
    pub pause: Duration,
    /// Where it is told.
    pub journal: Journal,
}

impl Writer {
    /// Writes it from its beginning to its end.
    pub async fn write(self) {
        let place = (self.host, STREAMING);
        // The node leaves.
        let Ok((number, session, _inbox)) = server::open(&self.node, place, &self.journal) else {
            return;
        };
        let Ok(mut writer) = session.stream(StreamOptions::default()) else {
            return;
        };
        let begun = self.journal.truth(|truth| truth.streams.len());
        self.journal.note(Note::StreamBegun {
            stream: self.stream,
            host: self.host,
            id: writer.id().to_string(),
        });
        for chunk in 0..self.chunks {
            // Before, since it may be told at once.
            self.journal.note(Note::StreamPushed { stream: begun });
            if writer.push(text(begun, chunk)).is_err() {
                return;
            }
            if !self.pause.is_zero() {
                sleep(self.pause).await;
            }
        }
        self.journal.note(Note::StreamFinished {
            stream: begun,
            finish: self.finish,
        });
        match self.finish {
            Finish::Finish => drop(writer.finish()),
            Finish::Fail => drop(writer.fail(REASON)),
            Finish::Drop => drop(writer),
        }
        let is_open = self.journal.truth(|truth| truth.sessions[number].open);
        drop(session);
        if is_open {
            self.journal.note(server::ended(number, "it has written"));
        }
    }
}

impl Follower {
    /// Follows it to its end.
    pub async fn follow(self) {
        let place = (self.host, STREAMING);
        // The node leaves.
        let Ok((number, session, _inbox)) = server::open(&self.node, place, &self.journal) else {
            return;
        };
        let Ok(mut following) = session.follow(&self.id, self.from) else {
            return;
        };
        let follower = self.journal.truth(|truth| truth.followers);
        self.journal.note(Note::StreamFollowed {
            stream: self.stream,
            host: self.host,
            from: self.from,
        });
        let tell = |told| self.journal.note(Note::StreamTold { follower, told });
        loop {
            match following.next().await {
                Ok(Followed::Chunk { offset, bytes }) => tell(Telling::Chunk {
                    offset,
                    is_as_written: bytes == text(self.stream, offset),
                }),
                Ok(Followed::Missed { .. }) => tell(Telling::Missed),
                Ok(Followed::End(end)) => {
                    tell(match end {
                        StreamEnd::Complete => Telling::Complete,
                        StreamEnd::Failed(reason) if *reason == *REASON => Telling::Failed,
                        StreamEnd::Failed(_) => Telling::Missed,
                        StreamEnd::Aborted => Telling::Aborted,
                    });
                    break;
                }
                Err(FollowError::Unreachable { .. }) => tell(Telling::Unreachable),
                Err(FollowError::NoSuchStream { .. }) => {
                    tell(Telling::Unknown);
                    break;
                }
                // The node leaves.
                Err(FollowError::Ended) => return,
                Err(error) => return self.journal.violate(format!("streams: {error}")),
            }
            if !self.pause.is_zero() {
                sleep(self.pause).await;
            }
        }
        let is_open = self.journal.truth(|truth| truth.sessions[number].open);
        drop((following, session));
        if is_open {
            self.journal.note(server::ended(number, "it has followed"));
        }
    }
}

/// What a chunk says.
fn text(stream: usize, offset: u64) -> String {
    format!("{stream}/{offset}")
}

/// Why streams fail.
const REASON: &str = "it was to fail";
/// As what those who write and follow are numbered, who are many.
const STREAMING: usize = 20_000;
