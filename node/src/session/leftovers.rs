//! What becomes of the messages that wait for a session when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidings_membership::QueueGroup;
use tokio::task::yield_now;

use super::{ENDED_AT_ONCE_MAX, Session, SessionState};
use crate::mailbox::{Leftovers, can_be_handed_over};
use crate::{Delivery, Message};

impl Session {
    /// Gives a message that was received for a queue group to another member of the group. Only who has room gets
    /// it; that none has is counted (`queue_empty`). False if the message did not come for a queue group, or is to
    /// be [acknowledged](Delivery::acknowledger): nothing has changed then.
    ///
    /// As long as the session is a member of the group itself, it may get it again.
    pub fn decline(&self, delivery: &Delivery) -> bool {
        let Delivery::Message {
            queue: Some(queue),
            message,
            ..
        } = delivery
        else {
            return false;
        };
        let can_be = can_be_handed_over(message);
        if can_be {
            let SessionState { node, routes, .. } = &*self.state;
            let broker = &node.broker;
            let counted = match broker.give_to_another(routes, self.state.id, queue, message) {
                true => &broker.counters.passed_on,
                false => &broker.counters.dropped_queue_empty,
            };
            counted.fetch_add(1, Relaxed);
        }
        can_be
    }
}

impl SessionState {
    /// Hands them over, however many, and lets other tasks run in between.
    pub(super) async fn hand_over_all(&self, leftovers: Leftovers) {
        for some in leftovers.chunks(ENDED_AT_ONCE_MAX) {
            self.hand_over(some);
            yield_now().await;
        }
    }

    /// Hands them over. The session takes nothing any more.
    pub(super) fn hand_over(&self, leftovers: &[(QueueGroup, Arc<Message>)]) {
        for (queue, message) in leftovers {
            self.node
                .broker
                .hand_over(&self.routes, self.id, queue, message);
        }
    }
}
