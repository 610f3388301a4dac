//! Whether a session may subscribe once more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidings_membership::{MemberId, Pattern, Profile, QueueGroup, Share};

use super::{Pending, SessionState, Subscriptions};
use crate::homes::is_private;
use crate::mailbox::Subscriber;
use crate::session_error::SubscribeError;

impl SessionState {
    /// Admits a subscription to this pattern, besides those that were admitted and are not made yet,
    /// and returns its id. Under the lock, so that ending finds every one that was made before.
    pub(super) fn admit(
        &self,
        subscriptions: &Subscriptions,
        pending: &mut Pending,
        pattern: &Pattern,
        profile: &Profile,
    ) -> Result<MemberId, SubscribeError> {
        if let Some(grant) = &self.grant {
            grant.subscribe(pattern, profile.queue.as_ref().map(QueueGroup::as_str))?;
        }
        let limits = &self.node.limits;
        let (bytes, max) = (pattern.as_str().len(), limits.topic_bytes_max.get());
        if bytes > max {
            return Err(SubscribeError::TopicTooLong { bytes, max });
        }
        let (bytes, max) = (profile.metadata.bytes(), limits.metadata_bytes_max.get());
        if bytes > max {
            return Err(SubscribeError::MetadataTooLarge { bytes, max });
        }
        if self.ended.load(Relaxed) || self.mailbox.closed().is_some() {
            return Err(SubscribeError::Ended);
        }
        let max = limits.subscriptions_per_session_max.get();
        let max = self
            .grant
            .as_ref()
            .map_or(max, |own| own.subscriptions_max(max));
        if subscriptions.made.len() + pending.count >= max {
            return Err(SubscribeError::TooMany { max });
        }
        let own = Share::bytes_of(&self.routes.scope, pattern, profile);
        let bytes = subscriptions.share.bytes() + pending.bytes + own;
        let max = limits.membership_bytes_per_session_max.get();
        if bytes > max {
            return Err(SubscribeError::TooManyBytes { bytes, max });
        }
        pending.count += 1;
        pending.bytes += own;
        Ok(self.node.next_member())
    }

    /// The route's side of a subscription to this pattern.
    pub(super) fn subscriber(
        &self,
        pattern: &Pattern,
        member: MemberId,
        tag: u64,
        queue: Option<QueueGroup>,
    ) -> Subscriber {
        // What is allowed as a whole has no part that is not.
        let grant = self.grant.as_ref().filter(|_| !pattern.is_literal());
        Subscriber {
            member,
            tag,
            session: self.id,
            is_private: is_private(pattern, queue.as_ref()),
            queue,
            mailbox: Arc::clone(&self.mailbox),
            grant: grant.cloned(),
        }
    }
}
