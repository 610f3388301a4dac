//! What a session may do by its access.

use std::future::pending;
use std::sync::{Arc, Weak};

use tidings_membership::{Pattern, QueueGroup, Scope};

use super::{Session, SessionState, Subscribed, lock};
use crate::RecvError;
use crate::access::{Access, Denied, Disallowed, Holder};
use crate::registry::OpenError;
use crate::session_error::{BroadcastError, SubscribeError};

impl Session {
    /// What it may do.
    pub fn access(&self) -> &Access {
        &self.state.access
    }

    /// Whether it may ask the node for something under this name, which is that of a topic or pattern: whether
    /// it may publish there.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub fn may_ask(&self, subject: &Pattern) -> Result<(), BroadcastError> {
        match &self.state.grant {
            Some(grant) => Ok(grant.publish_all(subject)?),
            None => Ok(()),
        }
    }

    /// Whether it may listen to what the node tells under this name: whether it may subscribe to it.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub fn may_listen(&self, subject: &Pattern) -> Result<(), SubscribeError> {
        match &self.state.grant {
            Some(grant) => Ok(grant.subscribe(subject, None)?),
            None => Ok(()),
        }
    }

    /// Whether its agent may see what is in this scope, or, without one, of the whole cluster.
    ///
    /// # Errors
    /// When it may not. That is counted and logged.
    pub fn sees(&self, scope: Option<&Scope>) -> Result<(), Denied> {
        let SessionState { node, routes, .. } = &*self.state;
        let counters = &node.broker.counters;
        self.state.access.sees(&routes.scope, scope, counters)
    }

    /// The memberships that have ended because its permissions have [changed](Access::change), as soon as
    /// they have; none if all may stay. Each is told once, and several changes may be told as one. Cancelling the
    /// call loses nothing.
    pub async fn disallowed(&self) -> Vec<Disallowed> {
        match &self.state.grant {
            // Apart, so that it takes no room where there is nothing to wait for.
            Some(grant) => Box::pin(grant.disallowed()).await,
            None => pending().await,
        }
    }
}

impl SessionState {
    /// Takes its place among the sessions of its access.
    pub(super) fn sit(self: &Arc<Self>) -> Result<(), OpenError> {
        let Some(seat) = &self.seat else {
            return Ok(());
        };
        let weak: Weak<Self> = Arc::downgrade(self);
        if seat.fill(weak) {
            return Ok(());
        }
        self.end_for(RecvError::Withdrawn);
        Err(OpenError::Withdrawn)
    }
}

impl Holder for SessionState {
    /// Ends the memberships that are not allowed any more. One that is made meanwhile is judged by the new
    /// permissions, or found here.
    fn review(&self) {
        let Some(grant) = &self.grant else { return };
        let subscriptions = lock(&self.subscriptions);
        let allows = |own: &Subscribed| {
            grant.subscribes(&own.pattern, own.queue.as_ref().map(QueueGroup::as_str))
        };
        let disallowed = subscriptions.made.iter().filter(|(_, own)| !allows(own));
        let disallowed: Vec<_> = disallowed.map(|(member, _)| *member).collect();
        drop(subscriptions);
        let ended = disallowed.into_iter();
        let ended: Vec<_> = ended
            .filter_map(|member| Some((self.take(member)?, member)))
            .collect();
        self.withdraw_members(&ended);
        let scope = &self.routes.scope;
        let memberships = ended.iter().cloned();
        let memberships = memberships.map(|(own, member)| (scope.clone(), own.pattern, member));
        self.node.membership.leave_many(memberships);
        let told = ended.into_iter();
        grant.ended(told.map(|(own, member)| Disallowed {
            member,
            pattern: own.pattern,
        }));
    }

    fn withdraw(self: Arc<Self>) {
        self.end_for(RecvError::Withdrawn);
    }
}
