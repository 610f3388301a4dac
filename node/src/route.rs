use std::sync::Arc;

use rpds::HashTrieMapSync;
use tidings_identity::NodeId;
use tidings_membership::{MemberId, QueueGroup};

use crate::interested::Interested;
use crate::mailbox::Subscriber;
use crate::registry::SessionId;
use crate::remote::Remote;

/// Where the messages of one pattern go: an immutable version, replaced as a whole on a change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    /// Those who get each message.
    pub(crate) everybody: Interested,
    /// Those of whom one gets each message, by group; none is empty. A version shares all with the one
    /// before but the group that has changed. None instead of an empty map, which would be allocated.
    pub(crate) queues: Option<HashTrieMapSync<QueueGroup, Arc<Interested>>>,
}

/// One change of a route.
#[derive(Debug, Clone)]
pub(crate) enum RouteChange {
    AddLocal(Arc<Subscriber>),
    /// A subscription in this queue group or in none.
    RemoveLocal(MemberId, Option<QueueGroup>),
    /// All subscriptions of this session in this queue group or in none, however many they are.
    RemoveSession(SessionId, Option<QueueGroup>),
    /// A peer has one member more, in this queue group or in none.
    AddRemote(Arc<Remote>, Option<QueueGroup>),
    RemoveRemote(NodeId, Option<QueueGroup>),
}

impl Route {
    /// The next version; None if nobody is left.
    pub(crate) fn changed(old: Option<&Route>, change: &RouteChange) -> Option<Route> {
        let mut next = old.cloned().unwrap_or_default();
        match change {
            RouteChange::AddLocal(subscriber) => {
                let queue = subscriber.queue.as_ref();
                next.change(queue, |those| those.add_local(subscriber));
            }
            RouteChange::RemoveLocal(member, queue) => {
                next.change(queue.as_ref(), |those| those.remove_local(*member));
            }
            RouteChange::RemoveSession(session, queue) => {
                next.change(queue.as_ref(), |those| those.remove_session(*session));
            }
            RouteChange::AddRemote(remote, queue) => {
                next.change(queue.as_ref(), |those| those.add_remote(remote));
            }
            RouteChange::RemoveRemote(node, queue) => {
                next.change(queue.as_ref(), |those| those.remove_remote(node));
            }
        }
        (!next.everybody.is_empty() || next.queues.is_some()).then_some(next)
    }

    /// Changes those of a queue group, or of none.
    fn change(&mut self, queue: Option<&QueueGroup>, change: impl FnOnce(&mut Interested)) {
        let Some(queue) = queue else {
            return change(&mut self.everybody);
        };
        let queues = self.queues.get_or_insert_with(HashTrieMapSync::new_sync);
        let mut those = queues.get(queue).cloned().unwrap_or_default();
        change(Arc::make_mut(&mut those));
        if those.is_empty() {
            queues.remove_mut(queue);
        } else {
            queues.insert_mut(queue.clone(), those);
        }
        if queues.is_empty() {
            self.queues = None;
        }
    }
}
