use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidings_membership::{MemberId, Pattern, Profile};

use super::{ENDED_AT_ONCE_MAX, Pending, Session, SessionState, Subscribed, lock};
use crate::homes::is_private;
use crate::route::RouteChange;
use crate::session_error::{SubscribeError, UnsubscribeError};

impl Session {
    /// Subscribes to many topics and patterns at once, without metadata, each for itself: the result
    /// tells of each, in their order, which membership it made or why it made none. What was refused
    /// has changed nothing, and no other is refused for it. One that is named n times makes n
    /// memberships.
    ///
    /// It takes much less time than as many calls of [`subscribe`](Self::subscribe): milliseconds for
    /// 10,000 topics. Others who subscribe meanwhile wait for a small part of that only. Until it
    /// returns, this node's view may show some of the memberships and not yet the others.
    pub fn subscribe_many<'a>(
        &self,
        patterns: impl IntoIterator<Item = &'a Pattern>,
    ) -> Vec<Result<MemberId, SubscribeError>> {
        let state = &*self.state;
        // Before the lock is taken: whatever the caller does to name them is its own affair.
        let patterns: Vec<_> = patterns.into_iter().collect();
        let mut subscriptions = lock(&state.subscriptions);
        let mut pending = Pending::default();
        let mut admitted = Vec::new();
        let profile = Profile {
            agent: state.agent.clone(),
            ..Profile::default()
        };
        let mut results: Vec<_> = patterns
            .into_iter()
            .map(|pattern| {
                let member = state.admit(&subscriptions, &mut pending, pattern, &profile)?;
                admitted.push((pattern.clone(), member));
                Ok(member)
            })
            .collect();
        // First the routes, then the memberships: whoever sees a member must reach it.
        for some in admitted.chunks(ENDED_AT_ONCE_MAX) {
            let changes = some.iter().map(|(pattern, member)| {
                let subscriber = Arc::new(state.subscriber(pattern, *member, 0, None));
                (pattern, RouteChange::AddLocal(subscriber))
            });
            state.routes.change_all(changes);
        }
        let (private, shown): (Vec<_>, Vec<_>) = admitted
            .iter()
            .cloned()
            .partition(|(pattern, _)| is_private(pattern, None));
        for (pattern, _) in &private {
            let (scope, share) = (&state.routes.scope, &mut subscriptions.share);
            share.take(scope, pattern, &profile);
        }
        let joined = state.node.membership.join_all_within(
            &mut subscriptions.share,
            &state.routes.scope,
            &shown,
            &profile,
        );
        let subscribed = |pattern| Subscribed {
            pattern,
            queue: None,
        };
        let private = private.into_iter();
        let private = private.map(|(pattern, member)| (member, subscribed(pattern)));
        subscriptions.made.extend(private);
        let mut refused = Vec::new();
        let of_shown = results.iter_mut().filter(
            |result| matches!(result, Ok(member) if !subscriptions.made.contains_key(member)),
        );
        let of_shown: Vec<_> = of_shown.collect();
        for (result, ((pattern, member), joined)) in
            of_shown.into_iter().zip(shown.into_iter().zip(joined))
        {
            match joined {
                Ok(()) => {
                    subscriptions.made.insert(member, subscribed(pattern));
                }
                Err(error) => {
                    *result = Err(error.into());
                    refused.push((subscribed(pattern), member));
                }
            }
        }
        state.withdraw_members(&refused);
        results
    }

    /// Ends many memberships at once, each for itself: the result tells of each, in their order,
    /// whether the session had it. Messages that wait in the inbox are still delivered. Until it
    /// returns, this node's view may still show some of them.
    pub fn unsubscribe_many(
        &self,
        members: impl IntoIterator<Item = MemberId>,
    ) -> Vec<Result<(), UnsubscribeError>> {
        let state = &*self.state;
        let mut ended = Vec::new();
        let results = members
            .into_iter()
            .map(|member| {
                let subscribed = state.take(member).ok_or(UnsubscribeError { member })?;
                ended.push((subscribed, member));
                Ok(())
            })
            .collect();
        state.withdraw_members(&ended);
        let scope = &state.routes.scope;
        let memberships = ended
            .into_iter()
            .map(|(own, member)| (scope.clone(), own.pattern, member));
        state.node.membership.leave_many(memberships);
        results
    }
}

impl SessionState {
    /// Takes these out of the routes, however many, some at a time.
    pub(super) fn withdraw_members(&self, members: &[(Subscribed, MemberId)]) {
        for some in members.chunks(ENDED_AT_ONCE_MAX) {
            let changes = some.iter().map(|(own, member)| {
                let change = RouteChange::RemoveLocal(*member, own.queue.clone());
                (&own.pattern, change)
            });
            self.routes.change_all(changes);
        }
    }

    /// Takes all subscriptions of the session to these out of the routes.
    pub(super) fn withdraw_routes(&self, subscribed: &[&Subscribed]) {
        let change = |own: &Subscribed| RouteChange::RemoveSession(self.id, own.queue.clone());
        let changes = subscribed.iter().map(|own| (&own.pattern, change(own)));
        self.routes.change_all(changes);
    }

    /// What they are subscribed to, and in which queue groups, each once.
    pub(super) fn distinct(memberships: &HashMap<MemberId, Subscribed>) -> Vec<&Subscribed> {
        let each: HashSet<_> = memberships.values().collect();
        each.into_iter().collect()
    }
}
