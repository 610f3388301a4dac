use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::Incarnation;
use tidings_membership::View;
use tidings_transport::AskError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::prefix::Piece;
use super::pulls::{Pull, Told};
use super::stream_end::StreamEnd;
use super::stream_error::FollowError;
use super::stream_id::StreamId;
use super::streams_here::StreamsHere;
use crate::question::Reply;
use crate::session::SessionState;

/// What [`Following::next`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// A chunk, as it was pushed.
    Chunk {
        /// How many chunks come before it.
        offset: u64,
        /// What was pushed.
        bytes: Bytes,
    },
    /// The chunks from here on are not kept any more, up to where the stream goes on.
    Missed {
        /// How many chunks come before the first that is missing.
        from: u64,
        /// How many come before the next that is told.
        to: u64,
    },
    /// The stream has ended, and all of it was told.
    End(StreamEnd),
}

/// Follows a stream, from wherever it is. Nothing is sent to it before it asks, so it can take its time; what
/// of it is under way or waits here is no more than 64 KiB.
#[derive(Debug)]
pub struct Following {
    session: Arc<SessionState>,
    id: StreamId,
    next: u64,
    chunks: VecDeque<Bytes>,
    end: Option<StreamEnd>,
    source: Source,
}

/// Where the stream is.
#[derive(Debug)]
enum Source {
    Here(Arc<StreamsHere>),
    There(There),
}

#[derive(Debug)]
pub(crate) struct There {
    pub(crate) pulls: mpsc::UnboundedSender<Pull>,
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// Among those who follow streams of other nodes.
    pub(crate) place: Arc<OwnedSemaphorePermit>,
    /// The question that is open.
    asked: Option<oneshot::Receiver<Told>>,
    /// Since when it is asked in vain.
    since: Option<Instant>,
    /// Whether its node was live since it is followed.
    was_live: bool,
}

/// What is known of the node of a stream.
enum Standing {
    Live,
    /// It is not known, at least not yet.
    Unknown,
    Gone,
}

impl There {
    pub(crate) fn new(
        pulls: mpsc::UnboundedSender<Pull>,
        views: watch::Receiver<Arc<View>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            pulls,
            views,
            place: Arc::new(place),
            asked: None,
            since: None,
            was_live: false,
        }
    }
}

impl Following {
    pub(crate) fn here(
        session: &Arc<SessionState>,
        streams: Arc<StreamsHere>,
        id: StreamId,
        from: u64,
    ) -> Self {
        // An earlier run of this node is gone with all that it had.
        let is_gone = id.incarnation != streams.incarnation;
        Self {
            end: is_gone.then_some(StreamEnd::Aborted),
            ..Self::new(session, id, from, Source::Here(streams))
        }
    }

    pub(crate) fn there(
        session: &Arc<SessionState>,
        id: StreamId,
        from: u64,
        there: There,
    ) -> Self {
        Self::new(session, id, from, Source::There(there))
    }

    fn new(session: &Arc<SessionState>, id: StreamId, from: u64, source: Source) -> Self {
        Self {
            session: Arc::clone(session),
            id,
            next: from,
            chunks: VecDeque::new(),
            end: None,
            source,
        }
    }

    /// What is followed.
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// How many chunks come before the next: from where to follow it later.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// The next of what is on this node already, without asking for more.
    pub fn at_hand(&mut self) -> Option<Followed> {
        if let Some(bytes) = self.chunks.pop_front() {
            let offset = self.next;
            // The node of a writer may have said any number.
            self.next = self.next.saturating_add(1);
            return Some(Followed::Chunk { offset, bytes });
        }
        self.end.clone().map(Followed::End)
    }

    /// The next chunk as soon as it is there, or the end. After the end it is told again and again.
    /// Cancelling the call loses nothing.
    ///
    /// The stream has [aborted](StreamEnd::Aborted) for who follows it when this node takes its node for dead,
    /// though it may have more.
    ///
    /// # Errors
    /// See [`FollowError`]. It may be called again, and goes on where it was.
    pub async fn next(&mut self) -> Result<Followed, FollowError> {
        loop {
            if let Some(followed) = self.read(WAIT).await? {
                return Ok(followed);
            }
        }
    }

    /// The next chunk if it is written already, or the end if that was all; none if there is nothing more yet. It
    /// takes as long as its node needs to answer, and first what [`next`](Self::next) has asked before it was cancelled:
    /// 1 s at most. Cancelling the call loses nothing.
    ///
    /// # Errors
    /// As of [`next`](Self::next).
    pub async fn so_far(&mut self) -> Result<Option<Followed>, FollowError> {
        self.read(Duration::ZERO).await
    }

    /// The next that is told, if there is something within this time or about it.
    async fn read(&mut self, wait: Duration) -> Result<Option<Followed>, FollowError> {
        if let Some(followed) = self.at_hand() {
            return Ok(Some(followed));
        }
        self.may_follow()?;
        let piece = match &mut self.source {
            Source::Here(streams) => {
                let scope = &self.session.routes.scope;
                let read = streams.read_within(scope, self.id.number, self.next, wait);
                read.await.ok_or_else(|| FollowError::NoSuchStream {
                    id: self.id.clone(),
                })?
            }
            Source::There(there) => {
                let asked = there.ask(&self.session, &self.id, self.next, wait);
                asked.await?
            }
        };
        let Piece { at, chunks, end } = piece;
        let from = std::mem::replace(&mut self.next, at);
        (self.chunks, self.end) = (chunks.into(), end);
        if self.next > from {
            let to = self.next;
            return Ok(Some(Followed::Missed { from, to }));
        }
        Ok(self.at_hand())
    }

    fn may_follow(&self) -> Result<(), FollowError> {
        if self.session.ended.load(Relaxed) || self.session.node.has_stopped() {
            return Err(FollowError::Ended);
        }
        match &self.session.grant {
            Some(grant) => Ok(grant.subscribe(&self.id.pattern(), None)?),
            None => Ok(()),
        }
    }
}

impl There {
    /// What follows, as soon as there is something; an empty piece if there is nothing yet.
    async fn ask(
        &mut self,
        session: &SessionState,
        id: &StreamId,
        from: u64,
        wait: Duration,
    ) -> Result<Piece, FollowError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        loop {
            let standing = self.standing(id);
            let until = match standing {
                Standing::Gone => {
                    return Ok(Piece {
                        at: from,
                        chunks: Vec::new(),
                        end: Some(StreamEnd::Aborted),
                    });
                }
                Standing::Live => since + SILENCE_MAX,
                Standing::Unknown => since + UNKNOWN_MAX,
            };
            if self.asked.is_none() {
                let (told, asked) = oneshot::channel();
                let pull = Pull {
                    run: (id.node.clone(), id.incarnation),
                    scope: session.routes.scope.clone(),
                    number: id.number,
                    from,
                    wait,
                    told,
                    place: Arc::clone(&self.place),
                };
                // Nobody takes it only when the node has stopped.
                self.pulls.send(pull).map_err(|_| FollowError::Ended)?;
                self.asked = Some(asked);
            }
            let Some(asked) = &mut self.asked else {
                continue;
            };
            let told = tokio::select! {
                told = asked => told,
                changed = self.views.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(FollowError::Ended),
                },
                () = sleep_until(until) => {
                    self.since = None;
                    return Err(match standing {
                        Standing::Unknown => FollowError::NoSuchStream { id: id.clone() },
                        _ => FollowError::Unreachable {
                            node: id.node.clone(),
                            silence: SILENCE_MAX,
                        },
                    });
                }
            };
            self.asked = None;
            match told {
                Ok(Ok(Some(Reply::Stream(piece)))) if piece.at >= from => {
                    self.since = None;
                    return Ok(piece);
                }
                Ok(Ok(Some(Reply::NoStream))) => {
                    return Err(FollowError::NoSuchStream { id: id.clone() });
                }
                Ok(Err(AskError::NoLink)) => sleep(ASK_AGAIN).await,
                Ok(_) => {
                    let node = id.node.clone();
                    return Err(FollowError::NotUnderstood { node });
                }
                Err(_) => return Err(FollowError::Ended),
            }
        }
    }

    fn standing(&mut self, id: &StreamId) -> Standing {
        let known: Option<(Incarnation, bool)> = self.views.borrow_and_update().run(&id.node);
        match known {
            Some((run, true)) if run == id.incarnation => {
                self.was_live = true;
                Standing::Live
            }
            Some((run, _)) if run >= id.incarnation => Standing::Gone,
            _ if self.was_live => Standing::Gone,
            _ => Standing::Unknown,
        }
    }
}

/// How long a stream is waited for before it is looked whether it may be followed still.
const WAIT: Duration = Duration::from_secs(1);
/// How long a node may say nothing until who follows is told: three times as long as a question waits there.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a node is waited for of which nothing is known, as one that has just started knows nobody.
const UNKNOWN_MAX: Duration = Duration::from_secs(2);
/// How long to wait before a question that was lost is asked anew: about as long as a link takes to be
/// there again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
