use std::sync::Arc;
use std::time::Duration;

use tidings_membership::{QueueGroup, Scope};
use tidings_transport::Frame;
use tokio::time::Instant;

use crate::envelope::{self, Aim, Origin};
use crate::homes::Home;
use crate::limits::QUEUES_BYTES_MAX;
use crate::receipt::Receipt;
use crate::registry::SessionId;
use crate::remote::Remote;
use crate::waits::Filling;
use crate::window::Sent;
use crate::{Congestion, Message};

/// Who publishes, as far as delivery goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher {
    pub(crate) session: SessionId,
    /// Whether its own subscriptions are left out.
    pub(crate) skips_itself: bool,
    pub(crate) congestion: Congestion,
    /// How long one that waits waits.
    pub(crate) wait_max: Duration,
}

/// A message on its way to peers, and the frame that most of them get.
pub(crate) struct Outgoing<'a> {
    publisher: Publisher,
    aim: Aim,
    scope: &'a Scope,
    /// Where the inbox is that it names.
    home: Home,
    message: &'a Message,
    frame: Option<Frame>,
}

impl Publisher {
    /// Whether a message is to be dropped rather than put where publishers are asked to wait.
    pub(crate) fn would_rather_drop(&self, filling: &dyn Filling) -> bool {
        let waits = || filling.wait(Instant::now(), self.wait_max).is_some();
        self.congestion == Congestion::Drop && waits()
    }

    /// Whether it gets nothing of what it publishes, and this is its session.
    pub(crate) fn skips(&self, session: SessionId) -> bool {
        self.skips_itself && self.session == session
    }

    pub(crate) fn never_asked(&self, pressing: &mut Vec<Arc<dyn Filling>>) {
        if self.congestion == Congestion::Drop {
            pressing.clear();
        }
    }
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(
        publisher: Publisher,
        aim: Aim,
        scope: &'a Scope,
        home: Home,
        message: &'a Message,
    ) -> Self {
        Self {
            publisher,
            aim,
            scope,
            home,
            message,
            frame: None,
        }
    }

    /// Sends it to a peer. Adds what it has filled, and for whose room the publisher is to wait, to
    /// `pressing`.
    pub(crate) fn send(
        &mut self,
        remote: &Remote,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        self.send_as(remote, None, receipt, pressing);
    }

    /// Sends it to a peer as [`send`](Self::send) does, and for these queue groups: with all names that a
    /// frame has room for, and once more for each other group.
    pub(crate) fn send_to_queues(
        &mut self,
        remote: &Remote,
        mut queues: Vec<QueueGroup>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let mut bytes = 0;
        let mut fits = |queue: &QueueGroup| {
            bytes += queue.as_str().len() + size_of::<u16>();
            bytes <= QUEUES_BYTES_MAX
        };
        let count = queues.iter().take_while(|queue| fits(queue)).count();
        let others = queues.split_off(count);
        self.send_as(remote, Some(&Aim::Queues(queues)), receipt, pressing);
        for queue in others {
            // It is one node, however many frames it takes.
            let mut one = Receipt::default();
            let aim = Aim::Passed { queue, times: 0 };
            self.send_as(remote, Some(&aim), &mut one, pressing);
            receipt.dropped += one.dropped;
        }
    }

    fn send_as(
        &mut self,
        remote: &Remote,
        other: Option<&Aim>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let Self {
            publisher,
            aim,
            scope,
            home,
            message,
            frame,
        } = self;
        let aim = other.unwrap_or(aim);
        let window = remote.window(publisher.session);
        let rather_drops = publisher.would_rather_drop(&*window);
        let publisher = publisher.session.number();
        if rather_drops {
            remote.peer.withhold(publisher);
            receipt.dropped += 1;
            return;
        }
        let sent = window.send(message.size_bytes(), |asks| {
            let origin = Origin { publisher, asks };
            let encode = || envelope::encode(origin, aim, scope, home, message);
            match asks {
                None if other.is_none() => {
                    let frame = frame.get_or_insert_with(encode);
                    remote.peer.send(publisher, frame)
                }
                _ => remote.peer.send(publisher, &encode()),
            }
        });
        match sent {
            Sent::Kept => receipt.nodes += 1,
            Sent::KeptPressing => {
                receipt.nodes += 1;
                pressing.push(window);
            }
            Sent::Lost => receipt.dropped += 1,
            Sent::LostPressing => {
                receipt.dropped += 1;
                pressing.push(window);
            }
        }
    }
}
