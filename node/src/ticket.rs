use std::fmt::Debug;
use std::sync::Arc;

use tidings_membership::MemberId;

/// Says that an agent has acknowledged a message for a member.
pub(crate) trait Acknowledge: Debug + Send + Sync {
    fn acknowledge(&self, member: MemberId);
}

/// What a message carries whose publisher waits until it is acknowledged. Two messages are
/// the same whether they have one or not, and a copy of a message has none.
#[derive(Debug, Default)]
pub(crate) struct Ticket(pub(crate) Option<Arc<dyn Acknowledge>>);

impl Clone for Ticket {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl PartialEq for Ticket {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Ticket {}

/// With what an agent acknowledges a message for one of its memberships
/// ([`Delivery::acknowledger`](crate::Delivery::acknowledger)).
#[derive(Debug, Clone)]
pub struct Acknowledger {
    pub(crate) ticket: Arc<dyn Acknowledge>,
    pub(crate) member: MemberId,
}

impl Acknowledger {
    /// Tells the publisher that the agent has what it needs of the message: that it has stored it, say,
    /// or acted on it. Doing so again changes nothing, nor does it when the publisher waits no more, or
    /// the session has ended.
    pub fn acknowledge(&self) {
        self.ticket.acknowledge(self.member);
    }
}
