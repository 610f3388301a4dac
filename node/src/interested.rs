use std::sync::Arc;

use tidings_identity::NodeId;
use tidings_membership::MemberId;

use crate::locals::Locals;
use crate::mailbox::Subscriber;
use crate::registry::SessionId;
use crate::remote::Remote;

/// Who is to get messages, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interested {
    pub(crate) local: Locals,
    /// Each interested peer once, and how many members it has.
    pub(crate) remote: Vec<(Arc<Remote>, usize)>,
}

impl Interested {
    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty()
    }

    pub(crate) fn add_local(&mut self, subscriber: &Arc<Subscriber>) {
        self.local.push(Arc::clone(subscriber));
    }

    pub(crate) fn remove_local(&mut self, member: MemberId) {
        self.local.remove(member);
    }

    pub(crate) fn remove_session(&mut self, session: SessionId) {
        self.local.retain(|own| own.session != session);
    }

    /// A peer has one member more.
    pub(crate) fn add_remote(&mut self, remote: &Arc<Remote>) {
        let mut peers = self.remote.iter_mut();
        match peers.find(|(own, _)| own.node == remote.node) {
            Some((_, members)) => *members += 1,
            None => self.remote.push((Arc::clone(remote), 1)),
        }
    }

    /// A peer has one member less.
    pub(crate) fn remove_remote(&mut self, node: &NodeId) {
        self.remote.retain_mut(|(own, members)| {
            *members -= usize::from(own.node == *node);
            *members > 0
        });
    }
}
