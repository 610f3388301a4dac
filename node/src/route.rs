use std::sync::Arc;

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::MemberId;
use tidings_transport::Peer;

use crate::locals::Locals;
use crate::mailbox::Subscriber;
use crate::registry::SessionId;
use crate::window::Window;

/// A peer that has members, and the handle to send to it.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) peer: Arc<Peer>,
    window_bytes: usize,
    /// Of the sessions on this node that have sent something to it.
    windows: papaya::HashMap<SessionId, Arc<Window>>,
}

/// Where the messages of one pattern go: an immutable version, replaced as a whole on a change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    pub(crate) local: Locals,
    /// Each interested peer once, and how many members it has.
    pub(crate) remote: Vec<(Arc<Remote>, usize)>,
}

/// One change of a route.
#[derive(Debug, Clone)]
pub(crate) enum RouteChange {
    AddLocal(Arc<Subscriber>),
    RemoveLocal(MemberId),
    /// All subscriptions of this session, however many of them are in the route.
    RemoveSession(SessionId),
    AddRemote(Arc<Remote>),
    RemoveRemote(NodeId),
}

impl Remote {
    /// This run of a peer, to which each publisher has a window of so many bytes.
    pub(crate) fn new(peer: Arc<Peer>, incarnation: Incarnation, window_bytes: usize) -> Self {
        Self {
            node: peer.name().clone(),
            incarnation,
            peer,
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

impl Route {
    /// The next version; None if nobody is left.
    pub(crate) fn changed(old: Option<&Route>, change: &RouteChange) -> Option<Route> {
        let mut next = old.cloned().unwrap_or_default();
        match change {
            RouteChange::AddLocal(subscriber) => next.local.push(Arc::clone(subscriber)),
            RouteChange::RemoveLocal(member) => next.local.remove(*member),
            RouteChange::RemoveSession(session) => {
                next.local.retain(|own| own.session != *session);
            }
            RouteChange::AddRemote(remote) => {
                match next
                    .remote
                    .iter_mut()
                    .find(|(own, _)| own.node == remote.node)
                {
                    Some((_, members)) => *members += 1,
                    None => next.remote.push((Arc::clone(remote), 1)),
                }
            }
            RouteChange::RemoveRemote(node) => next.remote.retain_mut(|(own, members)| {
                *members -= usize::from(own.node == *node);
                *members > 0
            }),
        }
        (!next.local.is_empty() || !next.remote.is_empty()).then_some(next)
    }
}
