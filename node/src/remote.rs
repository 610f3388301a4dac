use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tidings_identity::{Incarnation, NodeId};
use tidings_transport::Peer;

use crate::registry::SessionId;
use crate::window::Window;

/// A peer that has members, and the handle to send to it.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) peer: Arc<Peer>,
    /// Whether its clients go to other nodes, because it is going to leave.
    pub(crate) is_draining: AtomicBool,
    window_bytes: usize,
    /// Of the sessions on this node that have sent something to it.
    windows: papaya::HashMap<SessionId, Arc<Window>>,
}

impl Remote {
    /// This run of a peer, to which each publisher has a window of so many bytes.
    pub(crate) fn new(peer: Arc<Peer>, incarnation: Incarnation, window_bytes: usize) -> Self {
        Self {
            node: peer.name().clone(),
            incarnation,
            peer,
            is_draining: AtomicBool::new(false),
            window_bytes,
            windows: papaya::HashMap::new(),
        }
    }

    /// The window of a publisher that sends to this peer.
    pub(crate) fn window(&self, publisher: SessionId) -> Arc<Window> {
        let windows = self.windows.pin();
        if let Some(window) = windows.get(&publisher) {
            return Arc::clone(window);
        }
        let peer = Arc::clone(&self.peer);
        let moved = Box::new(move || peer.frames_taken(publisher.number()));
        let window = Arc::new(Window::new(self.window_bytes, moved));
        Arc::clone(windows.get_or_insert(publisher, window))
    }

    /// The peer has room again for what a publisher sends.
    pub(crate) fn credit(&self, publisher: SessionId, position: u64) {
        if let Some(window) = self.windows.pin().get(&publisher) {
            window.credit(position);
        }
    }

    /// A session is gone, and publishes no more.
    pub(crate) fn close_window(&self, publisher: SessionId) {
        self.windows.pin().remove(&publisher);
    }
}
