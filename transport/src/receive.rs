use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use tidings_identity::Incarnation;

use crate::{Answering, Credit, Peer};

/// Takes the frames, the credit and the questions that arrive, by direct call from the task that reads them.
pub trait Receive: Send + Sync + 'static {
    /// A frame has arrived from a peer, in the run `incarnation` of that peer.
    ///
    /// It must not block: the lane is not read until it returns. Calls for one lane come one after
    /// the other and in order, those for different lanes at the same time. The frame may share
    /// its memory with others that arrived with it, up to 64 KiB; copy what is small and kept for
    /// long.
    ///
    /// # Errors
    /// When no peer that keeps to the protocol sends such a frame: its link is closed, and nothing
    /// more comes over it.
    fn frame(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        frame: Bytes,
    ) -> Result<(), Violation>;

    /// A peer, in this run of it, has room again for what a publisher on this node sends. It must
    /// not block: nothing else on the control stream is read until it returns.
    fn credit(&self, from: &Arc<Peer>, incarnation: Incarnation, credit: Credit);

    /// A peer asks something, in this run of it. To be answered with what it comes with, at once or
    /// later; up to 32 questions of a peer have no answer yet at a time. It must not block, as
    /// [`credit`](Self::credit).
    ///
    /// By default nobody answers, which the peer is told.
    fn question(
        &self,
        from: &Arc<Peer>,
        incarnation: Incarnation,
        question: Bytes,
        answering: Answering,
    ) {
        let _ = (from, incarnation, question);
        drop(answering);
    }

    /// A peer, in this run of it, has something to [say](Peer::assure) about assured messages. It must not
    /// block, like [`credit`](Self::credit). Whoever knows of no assured messages need not heed it.
    ///
    /// # Errors
    /// When no peer that keeps to the protocol says so: its link is closed.
    fn assurance(
        &self,
        _from: &Arc<Peer>,
        _incarnation: Incarnation,
        _message: Bytes,
    ) -> Result<(), Violation> {
        Ok(())
    }
}

/// What a [`Receive`] has against what a peer has sent. The peer is told.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Violation(Box<dyn Error + Send + Sync>);

impl Violation {
    /// For this reason.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}
