use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidings_membership::Topic;
use tokio::sync::mpsc;

use crate::Message;
use crate::counters::Counters;
use crate::mailbox::{Pushed, Subscriber};
use crate::outgoing::Publisher;
use crate::receipt::Receipt;
use crate::registry::SessionId;
use crate::source::Source;
use crate::waits::Filling;

/// Puts messages into the mailboxes of this node, and counts what becomes of them.
#[derive(Debug)]
pub(crate) struct Mailroom {
    pub(crate) counters: Arc<Counters>,
    /// Where sessions go for which a task of the node has something to do.
    errands: mpsc::UnboundedSender<Errand>,
}

/// What a task of the node is to do for a session.
#[derive(Debug)]
pub(crate) enum Errand {
    /// To end it, because its mailbox overflowed.
    CutOff(SessionId),
    /// To hand over what waited for it, because its inbox was dropped.
    Abandoned(SessionId),
}

/// A message that is to be put into mailboxes.
pub(crate) struct Arrival<'a> {
    source: Source,
    /// Who publishes it, if that is on this node.
    publisher: Option<Publisher>,
    message: &'a Arc<Message>,
}

impl Mailroom {
    /// One, and what it leaves to a task. Each is told once of a session, so no more wait than twice as many as
    /// there are sessions.
    pub(crate) fn new(counters: Arc<Counters>) -> (Self, mpsc::UnboundedReceiver<Errand>) {
        let (errands, to_do) = mpsc::unbounded_channel();
        (Self { counters, errands }, to_do)
    }

    /// The inbox of a session was dropped, and something waited there that others can have.
    pub(crate) fn abandoned(&self, session: SessionId) {
        // Nobody listens only when the node has stopped, and its sessions with it.
        let _ = self.errands.send(Errand::Abandoned(session));
    }

    /// Puts a message into the mailboxes of these subscribers. `pushed` hears what became of it with
    /// each.
    pub(crate) fn deliver<'s>(
        &self,
        arrival: &Arrival<'_>,
        subscribers: impl Iterator<Item = &'s Arc<Subscriber>>,
        mut pushed: impl FnMut(&Arc<Subscriber>, Pushed),
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let Arrival {
            source,
            publisher,
            message,
        } = *arrival;
        let mut sent = 0;
        for subscriber in subscribers {
            let mailbox = &subscriber.mailbox;
            let outcome = if !subscriber.may_receive(&message.topic) {
                Pushed::Denied
            } else if publisher.is_some_and(|own| own.would_rather_drop(&**mailbox)) {
                mailbox.refuse(source)
            } else {
                mailbox.push(source, subscriber, message)
            };
            pushed(subscriber, outcome);
            sent += u64::from(!matches!(outcome, Pushed::Closed | Pushed::Denied));
            self.settle(subscriber, outcome, receipt, pressing);
        }
        if sent > 0 {
            self.counters.sent_local.fetch_add(sent, Relaxed);
        }
    }

    /// Puts a message into the mailbox of the first of these subscribers that has room for it. False if
    /// none has; nothing has changed then.
    pub(crate) fn deliver_to_one<'s>(
        &self,
        arrival: &Arrival<'_>,
        subscribers: impl Iterator<Item = &'s Arc<Subscriber>>,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) -> bool {
        let Arrival {
            source,
            publisher,
            message,
        } = *arrival;
        for subscriber in subscribers {
            let mailbox = &subscriber.mailbox;
            let rather_drops = || publisher.is_some_and(|own| own.would_rather_drop(&**mailbox));
            if !subscriber.may_receive(&message.topic) || rather_drops() {
                continue;
            }
            if let Some(outcome) = mailbox.offer(source, subscriber, message) {
                self.settle(subscriber, outcome, receipt, pressing);
                self.counters.sent_local.fetch_add(1, Relaxed);
                return true;
            }
        }
        false
    }

    /// Counts what became of a message with a subscriber.
    fn settle(
        &self,
        subscriber: &Subscriber,
        outcome: Pushed,
        receipt: &mut Receipt,
        pressing: &mut Vec<Arc<dyn Filling>>,
    ) {
        let counters = &self.counters;
        match outcome {
            Pushed::Kept => receipt.local += 1,
            Pushed::KeptPressing => {
                receipt.local += 1;
                pressing.push(Arc::clone(&subscriber.mailbox) as _);
            }
            Pushed::KeptLosing(lost) => {
                receipt.local += 1;
                counters.dropped_mailbox_full.fetch_add(lost, Relaxed);
            }
            Pushed::Lost { pressing: waits } => {
                receipt.dropped += 1;
                counters.dropped_mailbox_full.fetch_add(1, Relaxed);
                if waits {
                    pressing.push(Arc::clone(&subscriber.mailbox) as _);
                }
            }
            Pushed::CutOff(lost) => {
                receipt.dropped += 1;
                counters.dropped_slow_subscriber.fetch_add(lost, Relaxed);
                // Nobody listens only when the node has stopped, and its sessions with it.
                let _ = self.errands.send(Errand::CutOff(subscriber.session));
            }
            Pushed::Closed | Pushed::Denied => {}
        }
    }
}

impl<'a> Arrival<'a> {
    pub(crate) fn topic(&self) -> &'a Topic {
        &self.message.topic
    }

    pub(crate) fn here(publisher: Publisher, message: &'a Arc<Message>) -> Self {
        Self {
            source: Source::here(publisher.session),
            publisher: Some(publisher),
            message,
        }
    }

    pub(crate) fn there(source: Source, message: &'a Arc<Message>) -> Self {
        Self {
            source,
            publisher: None,
            message,
        }
    }
}

/// What does not hear what became of a message.
pub(crate) fn ignore(_: &Arc<Subscriber>, _: Pushed) {}
