//! What becomes of the messages that wait for a session when it ends.

use std::sync::Arc;

use tidings_membership::QueueGroup;
use tokio::task::yield_now;

use super::{ENDED_AT_ONCE_MAX, SessionState};
use crate::Message;
use crate::mailbox::Leftovers;

impl SessionState {
    /// Hands them over, however many, and lets other tasks run in between.
    pub(super) async fn hand_over_all(&self, leftovers: Leftovers) {
        for some in leftovers.chunks(ENDED_AT_ONCE_MAX) {
            self.hand_over(some);
            yield_now().await;
        }
    }

    /// Hands them over. The session is in no route any more.
    pub(super) fn hand_over(&self, leftovers: &[(QueueGroup, Arc<Message>)]) {
        for (queue, message) in leftovers {
            self.node
                .broker
                .hand_over(&self.routes, self.id, queue, message);
        }
    }
}
