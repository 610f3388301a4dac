use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidings_identity::NodeId;
use tidings_membership::{MemberId, Scope};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Message;
use crate::account::Account;
use crate::assurance::Numbered;
use crate::counters::Counters;
use crate::envelope::{self, Aim, Origin};
use crate::homes::Home;
use crate::leg::Leg;
use crate::outcome::{Outcomes, WaitFor};
use crate::outgoing::Publisher;
use crate::remote::Remote;

/// An assured message of which it is not known yet what became of it with every member.
#[derive(Debug)]
pub(crate) struct OpenMessage {
    pub(crate) parcel: Parcel,
    pub(crate) wait_for: WaitFor,
    pub(crate) deadline: Instant,
    pub(crate) account: Account,
    /// For each node of its account; none to one that is gone.
    pub(crate) legs: Vec<Option<Leg>>,
    pub(crate) done: oneshot::Sender<Outcomes>,
}

/// A message, and what goes with it.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) publisher: Publisher,
    pub(crate) scope: Scope,
    /// Where the inbox is that it names.
    pub(crate) home: Home,
    pub(crate) message: Arc<Message>,
    /// The members of queue groups that get it, one of each.
    pub(crate) chosen: Vec<(NodeId, MemberId)>,
}

/// What became, in one pass, of the message before another one of the same publisher and node.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    number: u64,
    /// It was sent again just now, so those behind it are.
    is_repeated: bool,
    /// It is to be sent later, and those behind it then.
    put_off: Option<Instant>,
}

impl OpenMessage {
    /// Sends the message to a node that has not seen it, if it is due or the one before it was sent again.
    pub(crate) fn send_again(
        &self,
        leg: &mut Leg,
        remote: &Remote,
        before: Option<&Before>,
        now: Instant,
        counters: &Counters,
    ) -> Before {
        let number = leg.number;
        let put_off = before.and_then(|before| before.put_off);
        if let Some(until) = put_off {
            leg.put_off(until);
        }
        let is_due = leg.due().is_some_and(|due| due <= now);
        let is_repeated = is_due || before.is_some_and(|before| before.is_repeated);
        if put_off.is_none() && is_repeated {
            let publisher = self.parcel.publisher.session.number();
            let after = before.map(|before| before.number);
            let left = self.deadline - now;
            let acknowledged = self.wait_for == WaitFor::Acknowledged;
            let numbered = Numbered::new(number, after, acknowledged, left);
            let origin = Origin {
                publisher,
                asks: None,
            };
            let aim = self.parcel.aim(&remote.node, numbered);
            let Parcel {
                scope,
                home,
                message,
                ..
            } = &self.parcel;
            let frame = envelope::encode(origin, &aim, scope, home, message);
            let over = remote.peer.carrier(publisher);
            leg.sent(remote.peer.send(publisher, &frame).is_ok(), over, now);
            counters.sent_remote.fetch_add(1, Relaxed);
            counters.assured_repeated.fetch_add(1, Relaxed);
        }
        Before {
            number,
            is_repeated,
            put_off: leg.due(),
        }
    }

    /// What it counts for of all that may wait on the node.
    pub(crate) fn cost(&self) -> usize {
        cost(&self.parcel.message, self.account.len())
    }
}

impl Parcel {
    /// For whom it is on this node.
    pub(crate) fn aim(&self, node: &NodeId, numbered: Numbered) -> Aim {
        let chosen = self.chosen.iter().filter(|(own, _)| own == node);
        Aim::Assured {
            numbered,
            chosen: chosen.map(|(_, member)| *member).collect(),
        }
    }
}

/// What a message with so many members would count for.
pub(crate) fn cost(message: &Message, members: usize) -> usize {
    message.size_bytes() + MESSAGE_BYTES + members * MEMBER_BYTES
}

/// What a message counts for besides payload and headers, and each of its members.
const MESSAGE_BYTES: usize = 512;
const MEMBER_BYTES: usize = 128;
