use std::sync::Arc;

use tidings_identity::{Incarnation, NodeId};
use tidings_transport::Transport;
use tokio::sync::{Semaphore, mpsc};

use super::pulls::{FOLLOWERS_MAX, Pull, pull};
use super::serving::{StreamAsked, serve};
use super::streams_here::StreamsHere;
use crate::limits::Limits;

/// What the sessions of a node share for streams.
#[derive(Debug)]
pub(crate) struct StreamsShared {
    /// The streams of this node.
    pub(crate) here: Arc<StreamsHere>,
    /// Where goes what is to be read of streams of other nodes.
    pub(crate) pulls: mpsc::UnboundedSender<Pull>,
    /// How many more may follow those.
    pub(crate) followers: Arc<Semaphore>,
}

/// What a task of the node does for streams.
#[derive(Debug)]
pub(crate) struct StreamsWork {
    here: Arc<StreamsHere>,
    /// No more of it waits than may follow.
    pulls: mpsc::UnboundedReceiver<Pull>,
}

impl StreamsShared {
    pub(crate) fn new(node: NodeId, run: Incarnation, limits: &Limits) -> (Self, StreamsWork) {
        let here = Arc::new(StreamsHere::new(node, run, limits));
        let (sender, pulls) = mpsc::unbounded_channel();
        let shared = Self {
            here: Arc::clone(&here),
            pulls: sender,
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
        };
        (shared, StreamsWork { here, pulls })
    }
}

impl StreamsWork {
    /// Answers other nodes, of whose questions no more wait than may be open on links, and asks them.
    pub(crate) async fn run(
        self,
        asked: mpsc::UnboundedReceiver<StreamAsked>,
        transport: Transport,
    ) {
        tokio::join!(serve(asked, self.here), pull(self.pulls, transport));
    }
}
