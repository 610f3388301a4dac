use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};

/// Takes the frames that arrive, by direct call from the task that reads a lane.
pub trait Receive: Send + Sync + 'static {
    /// A frame has arrived from a peer, in the run `incarnation` of that peer.
    ///
    /// It must not block: the lane is not read until it returns. Calls for one lane come one after
    /// the other and in order, those for different lanes at the same time. The frame may share
    /// its memory with others that arrived with it, up to 64 KiB; copy what is small and kept for
    /// long.
    fn frame(&self, from: &NodeId, incarnation: Incarnation, frame: Bytes);
}
