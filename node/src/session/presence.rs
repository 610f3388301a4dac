//! What the memberships of a session say of themselves.

use std::sync::atomic::Ordering::Relaxed;

use tidings_membership::{MemberId, Metadata, Pattern, Profile, Share};

use super::{Session, SessionState, Subscriptions, lock};
use crate::session_error::PresenceError;

impl Session {
    /// Lets a membership say this of itself from now on, and nothing of what it said before. It stays a
    /// member all the while: watches tell an [`Updated`](crate::Event::Updated), and of several updates
    /// between two looks the last. This node shows it at once, connected nodes within milliseconds.
    ///
    /// # Errors
    /// See [`PresenceError`]; nothing has changed then.
    pub fn update(&self, member: MemberId, metadata: Metadata) -> Result<(), PresenceError> {
        let state = &self.state;
        let mut subscriptions = state.subscriptions()?;
        let own = subscriptions.made.get(&member);
        let pattern = own.ok_or(PresenceError::NotSubscribed)?.pattern.clone();
        state.update(&mut subscriptions, &pattern, &[member], metadata)
    }

    /// [Updates](Self::update) all memberships that the session has of exactly this topic or pattern, in
    /// one step, and returns how many they are.
    ///
    /// # Errors
    /// See [`PresenceError`]; nothing has changed then.
    pub fn update_all(
        &self,
        pattern: &Pattern,
        metadata: Metadata,
    ) -> Result<usize, PresenceError> {
        let state = &self.state;
        let mut subscriptions = state.subscriptions()?;
        let own = subscriptions.made.iter();
        let own = own.filter(|(_, own)| own.pattern == *pattern);
        let members: Vec<_> = own.map(|(member, _)| *member).collect();
        if members.is_empty() {
            return Err(PresenceError::NotSubscribed);
        }
        state.update(&mut subscriptions, pattern, &members, metadata)?;
        Ok(members.len())
    }
}

impl SessionState {
    /// What the session has subscribed to, while it is open.
    fn subscriptions(&self) -> Result<std::sync::MutexGuard<'_, Subscriptions>, PresenceError> {
        let subscriptions = lock(&self.subscriptions);
        if self.ended.load(Relaxed) {
            return Err(PresenceError::Ended);
        }
        Ok(subscriptions)
    }

    fn update(
        &self,
        subscriptions: &mut Subscriptions,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: Metadata,
    ) -> Result<(), PresenceError> {
        let limits = &self.node.limits;
        let (bytes, max) = (metadata.bytes(), limits.metadata_bytes_max.get());
        if bytes > max {
            return Err(PresenceError::TooLarge { bytes, max });
        }
        let scope = &self.routes.scope;
        let bytes_of = |member: &MemberId, metadata: Option<&Metadata>| {
            let profile = Profile {
                agent: self.agent.clone(),
                queue: subscriptions
                    .made
                    .get(member)
                    .and_then(|own| own.queue.clone()),
                metadata: metadata.cloned().unwrap_or_default(),
            };
            Share::bytes_of(scope, pattern, &profile)
        };
        let said = |member| bytes_of(member, subscriptions.metadata.get(member));
        let before: usize = members.iter().map(said).sum();
        let says = |member| bytes_of(member, Some(&metadata));
        let after: usize = members.iter().map(says).sum();
        let (bytes, max) = (
            subscriptions.share.bytes() + after - before,
            limits.membership_bytes_per_session_max.get(),
        );
        if after > before && bytes > max {
            return Err(PresenceError::TooManyBytes { bytes, max });
        }
        let (share, membership) = (&mut subscriptions.share, &self.node.membership);
        membership.update_within(share, scope, pattern, members, &metadata)?;
        for member in members {
            if metadata.is_empty() {
                subscriptions.metadata.remove(member);
            } else {
                subscriptions.metadata.insert(*member, metadata.clone());
            }
        }
        Ok(())
    }
}
