use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_bounds::Count;
use tidings_membership::{MemberId, QueueGroup, Topic};
use tidings_transport::Budget;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::access::Grant;
use crate::charge::{Charge, MESSAGE_BYTES};
use crate::pressure::{Level, Pressure};
use crate::registry::SessionId;
use crate::source::Source;
use crate::turns::{Popped, Turns};
use crate::waits::Filling;
use crate::{Delivery, Message, RecvError};

/// What a mailbox does with a message it has no room for. Each lost message is counted, and the
/// subscriber is told of it in its place among those of its publisher ([`Delivery::Missed`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The new message is lost; what waits stays. For those who need an unbroken past.
    DropNewest,
    /// What has waited longest is lost, of the publisher of whom most waits. For those who need the
    /// present.
    DropOldest,
    /// The session ends: whatever waits is lost, and nothing more is delivered. For those who would
    /// rather start over than have a gap.
    Disconnect,
}

/// The bounds of a mailbox, in which the messages of one session wait until it receives them.
///
/// They hold for all messages together. Which one is received next is no matter of bounds: publishers
/// take turns, and the messages of each stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailboxConfig {
    /// How many messages wait at most. Default 65,536, 1 to 100 million. More rides out longer pauses of
    /// the subscriber and costs memory when it pauses. With fewer than `publish_window_bytes` / 128
    /// (16,384 by default) publishers on other nodes can lose a burst before they are asked to wait.
    pub messages_max: Count<1, 100_000_000>,
    /// How many bytes of payload and headers wait at most; one message alone is always let in.
    /// Default 64 MiB, at least 1.
    pub bytes_max: Count<1, { isize::MAX as usize }>,
    /// What happens when either bound is reached. Default `drop-newest`.
    pub overflow: Overflow,
}

impl Default for MailboxConfig {
    fn default() -> Self {
        Self {
            messages_max: Count::of::<65_536>(),
            bytes_max: Count::of::<{ 64 << 20 }>(),
            overflow: Overflow::DropNewest,
        }
    }
}

/// One subscription of one session, as the broker delivers to it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) member: MemberId,
    pub(crate) tag: u64,
    pub(crate) session: SessionId,
    /// Whether nobody else is told of it, because it is for inboxes.
    pub(crate) is_private: bool,
    /// The group that it shares its messages with.
    pub(crate) queue: Option<QueueGroup>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// What decides which messages it gets, if it is not for all that it matches.
    pub(crate) grant: Option<Arc<Grant>>,
}

/// What became of a message that was put into a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits to be received, and nothing was lost.
    Kept,
    /// The same, and the publisher is to wait for room.
    KeptPressing,
    /// It waits, and so many older ones were lost for it.
    KeptLosing(u64),
    /// It was lost itself, and the publisher may be to wait for room all the same.
    Lost { pressing: bool },
    /// The session was cut off just now; so many were lost, this one included. What waited for queue groups is
    /// not among them.
    CutOff(u64),
    /// The mailbox had been closed before: its session is going away.
    Closed,
    /// Its session may not get it.
    Denied,
}

impl Subscriber {
    /// Whether a message on this topic may be for it, and it has not ended.
    pub(crate) fn may_have(&self, topic: &Topic) -> bool {
        self.may_receive(topic) && self.mailbox.closed().is_none()
    }

    /// Whether its session may get messages on this topic, which it matches.
    pub(crate) fn may_receive(&self, topic: &Topic) -> bool {
        let queue = self.queue.as_ref().map(QueueGroup::as_str);
        let grant = self.grant.as_ref();
        grant.is_none_or(|grant| grant.receives(topic, queue))
    }
}

/// Messages that waited for members of queue groups, in their order. Others of the group can have them.
pub(crate) type Leftovers = Vec<(QueueGroup, Arc<Message>)>;

/// A bounded queue between the broker, which pushes from any thread and never waits, and the one
/// [`Inbox`](crate::Inbox) that receives. Publishers take turns in it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    config: MailboxConfig,
    state: Mutex<State>,
    /// Wakes publishers that wait for room.
    room: Notify,
}

#[derive(Debug)]
struct State {
    queue: Turns<(Arc<Subscriber>, Arc<Message>)>,
    charge: Charge,
    closed: Option<RecvError>,
    /// What waited for queue groups when it overflowed or its inbox was dropped, until the session is ended.
    leftovers: Leftovers,
    /// Who waits for the queue to stop being empty, or for the end.
    waiting: Option<Waker>,
    pressure: Pressure,
}

impl Mailbox {
    /// With these bounds, and a part of the budget of the node.
    pub(crate) fn new(config: MailboxConfig, budget: &Arc<Budget>) -> Self {
        let state = State {
            queue: Turns::default(),
            charge: Charge::new(budget),
            closed: None,
            leftovers: Leftovers::new(),
            waiting: None,
            pressure: Pressure::default(),
        };
        Self {
            config,
            state: Mutex::new(state),
            room: Notify::new(),
        }
    }

    /// Puts a message in, or does what the overflow policy says.
    pub(crate) fn push(
        &self,
        source: Source,
        subscriber: &Arc<Subscriber>,
        message: &Arc<Message>,
    ) -> Pushed {
        let mut state = self.lock();
        if state.closed.is_some() {
            return Pushed::Closed;
        }
        let mut lost = 0;
        while !state.has_room(&self.config, message) {
            match self.config.overflow {
                // Nobody is to blame for that others have taken all there is.
                _ if state.queue.is_empty() => {
                    state.queue.lose(source);
                    wake(state);
                    return Pushed::Lost { pressing: false };
                }
                Overflow::DropNewest => {
                    state.queue.lose(source);
                    let pressing = state.pressure.is_asking();
                    return Pushed::Lost { pressing };
                }
                Overflow::DropOldest => {
                    state.lose_oldest();
                    lost += 1;
                }
                Overflow::Disconnect => {
                    let missed = state.queue.len() as u64 + 1;
                    state.closed = Some(RecvError::Overflow { missed });
                    let lost = state.clear() + 1;
                    wake(state);
                    self.room.notify_waiters();
                    return Pushed::CutOff(lost);
                }
            }
        }
        self.put(state, source, subscriber, message, lost)
    }

    /// Puts a message in, if there is room for it. None if there is not, or the session is going away;
    /// nothing has changed then, and nobody is told of a loss.
    pub(crate) fn offer(
        &self,
        source: Source,
        subscriber: &Arc<Subscriber>,
        message: &Arc<Message>,
    ) -> Option<Pushed> {
        let state = self.lock();
        let takes = state.closed.is_none() && state.has_room(&self.config, message);
        takes.then(|| self.put(state, source, subscriber, message, 0))
    }

    /// Puts in a message for which there is room, after so many were lost for it.
    fn put(
        &self,
        mut state: MutexGuard<'_, State>,
        source: Source,
        subscriber: &Arc<Subscriber>,
        message: &Arc<Message>,
        lost: u64,
    ) -> Pushed {
        let was_empty = state.queue.is_empty();
        let entry = (Arc::clone(subscriber), Arc::clone(message));
        state.charge.add(message);
        state.queue.push(source, message.size_bytes(), entry);
        // Who wants the present wants no publisher to wait for the past to be read.
        let wants_all = self.config.overflow != Overflow::DropOldest;
        let level = state.level(&self.config);
        let pressing = wants_all && state.pressure.pushed(level, Instant::now);
        if was_empty {
            wake(state);
        } else {
            drop(state);
        }
        match lost {
            0 if pressing => Pushed::KeptPressing,
            0 => Pushed::Kept,
            lost => Pushed::KeptLosing(lost),
        }
    }

    /// Loses a message that its publisher would rather have dropped than wait for.
    pub(crate) fn refuse(&self, source: Source) -> Pushed {
        let mut state = self.lock();
        if state.closed.is_some() {
            return Pushed::Closed;
        }
        state.queue.lose(source);
        Pushed::Lost { pressing: false }
    }

    /// Takes what is next: at most `max` deliveries, and only one if that is long. An empty queue gives
    /// nothing.
    pub(crate) fn take(&self, into: &mut VecDeque<Delivery>, max: usize) -> Result<(), RecvError> {
        let mut state = self.lock();
        let before = into.len();
        // What is taken counts as read. While somebody waits for that, it is looked at closely.
        let max = if state.pressure.is_asking() {
            max.min(TAKEN_MAX_WHILE_ASKING)
        } else {
            max
        };
        let mut bytes = 0;
        while into.len() - before < max && bytes < TAKEN_BYTES_MAX {
            let delivery = match state.queue.pop() {
                Some(Popped::Message((subscriber, message), message_bytes)) => {
                    state.charge.remove(&message);
                    bytes += message_bytes;
                    Delivery::Message {
                        member: subscriber.member,
                        tag: subscriber.tag,
                        queue: subscriber.queue.clone(),
                        message,
                    }
                }
                Some(Popped::Missed(count)) => Delivery::Missed(count),
                None => break,
            };
            into.push_back(delivery);
        }
        state.queue.give_back_memory();
        let taken = into.len() - before;
        let level = state.level(&self.config);
        if taken > 0 && state.pressure.took(level, Instant::now) {
            self.room.notify_waiters();
        }
        match state.closed {
            Some(closed) if taken == 0 => Err(closed),
            _ => Ok(()),
        }
    }

    /// Ready when there is something to take, or nothing will come any more. Who asked last is
    /// woken.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.queue.has_next() || state.closed.is_some() {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the mailbox has been closed. Who asked last is woken.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<RecvError> {
        let mut state = self.lock();
        match state.closed {
            Some(closed) => Poll::Ready(closed),
            None => {
                state.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Lets nothing more be put in. What waits can still be taken.
    pub(crate) fn close(&self, reason: RecvError) {
        let mut state = self.lock();
        state.closed.get_or_insert(reason);
        wake(state);
        self.room.notify_waiters();
    }

    /// Ends the mailbox: nobody takes anything any more. Returns how many messages were lost. Those that others
    /// of a queue group can have are kept for [`leftovers`](Self::leftovers).
    pub(crate) fn end(&self, reason: RecvError) -> u64 {
        let mut state = self.lock();
        state.closed.get_or_insert(reason);
        let lost = state.clear();
        wake(state);
        self.room.notify_waiters();
        lost
    }

    /// What others of queue groups can have, in its order. Each message is given once.
    pub(crate) fn leftovers(&self) -> Leftovers {
        std::mem::take(&mut self.lock().leftovers)
    }

    /// Whether there are any.
    pub(crate) fn has_leftovers(&self) -> bool {
        !self.lock().leftovers.is_empty()
    }

    /// How many bytes of messages wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.lock().queue.bytes()
    }

    /// Remembers what waits.
    pub(crate) fn mark(&self) {
        self.lock().queue.mark();
    }

    /// Whether all has been taken that waited when it was last remembered.
    pub(crate) fn is_past_mark(&self) -> bool {
        self.lock().queue.is_past_mark()
    }

    /// Why nothing can be put in any more, if so.
    pub(crate) fn closed(&self) -> Option<RecvError> {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filling for Mailbox {
    fn wait(&self, now: Instant, wait_max: Duration) -> Option<Instant> {
        let mut state = self.lock();
        match state.closed {
            Some(_) => None,
            None => state.pressure.wait(now, STALL_MAX, wait_max),
        }
    }

    fn room(&self) -> &Notify {
        &self.room
    }
}

impl State {
    fn level(&self, config: &MailboxConfig) -> Level {
        let messages = Level::of(self.queue.len(), config.messages_max.get());
        let bytes = Level::of(self.queue.bytes(), config.bytes_max.get());
        let share = Level::of(self.own(), self.charge.share(self.own()));
        messages.max(bytes).max(share)
    }

    fn has_room(&self, config: &MailboxConfig, message: &Message) -> bool {
        let is_within = self.queue.is_empty()
            || (self.queue.len() < config.messages_max.get()
                && self.queue.bytes() + message.size_bytes() <= config.bytes_max.get());
        is_within && self.charge.admits(self.own(), message)
    }

    /// What waits here, as it counts to the budget if it waits nowhere else.
    fn own(&self) -> usize {
        self.queue.bytes() + self.queue.len() * MESSAGE_BYTES
    }

    fn lose_oldest(&mut self) {
        if let Some((_, message)) = self.queue.lose_oldest() {
            self.charge.remove(&message);
        }
    }

    /// Loses all but what others of queue groups can have. Returns how many messages were lost.
    fn clear(&mut self) -> u64 {
        let mut lost = 0;
        for (subscriber, message) in self.queue.clear() {
            self.charge.remove(&message);
            match &subscriber.queue {
                Some(queue) if can_be_handed_over(&message) => {
                    self.leftovers.push((queue.clone(), message));
                }
                _ => lost += 1,
            }
        }
        lost
    }
}

/// Whether another of a queue group can have a message. Of one that is to be acknowledged the publisher is
/// told that the member has died.
pub(crate) fn can_be_handed_over(message: &Message) -> bool {
    message.ticket.0.is_none()
}

/// A mailbox of which nothing is taken for so long has no reader.
const STALL_MAX: Duration = Duration::from_millis(500);
/// How many messages are taken at a time while publishers wait.
const TAKEN_MAX_WHILE_ASKING: usize = 32;
/// Nothing is taken any more after so many bytes: what has been taken is past taking turns.
const TAKEN_BYTES_MAX: usize = 64 << 10;

/// Wakes who waits, after the lock has been given up.
fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = state.waiting.take();
    drop(state);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidings_membership::Topic;

    fn subscriber(messages_max: usize, bytes_max: usize, overflow: Overflow) -> Arc<Subscriber> {
        let config = MailboxConfig {
            messages_max: messages_max.try_into().unwrap(),
            bytes_max: bytes_max.try_into().unwrap(),
            overflow,
        };
        let mailbox = Arc::new(Mailbox::new(config, &Arc::new(Budget::new(usize::MAX))));
        let member = MemberId::from_bytes([0; 16]);
        Arc::new(Subscriber {
            member,
            tag: 1,
            session: SessionId::new(1),
            is_private: false,
            queue: None,
            mailbox,
            grant: None,
        })
    }

    fn message(content: &str) -> Arc<Message> {
        Arc::new(Message::new(Topic::parse("t").unwrap(), content.to_owned()))
    }

    fn push(subscriber: &Arc<Subscriber>, content: &str) -> Pushed {
        push_from(1, subscriber, content)
    }

    fn push_from(publisher: u64, subscriber: &Arc<Subscriber>, content: &str) -> Pushed {
        let source = Source::here(SessionId::new(publisher));
        let message = message(content);
        subscriber.mailbox.push(source, subscriber, &message)
    }

    /// What the subscriber sees: contents, and the lost as `-n`.
    fn take_all(subscriber: &Subscriber) -> Vec<String> {
        let mut taken = VecDeque::new();
        subscriber.mailbox.take(&mut taken, usize::MAX).unwrap();
        let show = |delivery: Delivery| match delivery {
            Delivery::Message { message, .. } => {
                String::from_utf8(message.payload.to_vec()).unwrap()
            }
            Delivery::Missed(count) => format!("-{count}"),
        };
        taken.into_iter().map(show).collect()
    }

    #[test]
    fn a_mailbox_has_no_more_of_the_budget_than_is_left_of_it() {
        let budget = Arc::new(Budget::new(1 << 20));
        let mailbox = |overflow| {
            let config = MailboxConfig {
                overflow,
                ..MailboxConfig::default()
            };
            Arc::new(Subscriber {
                member: MemberId::from_bytes([0; 16]),
                tag: 1,
                session: SessionId::new(1),
                is_private: false,
                queue: None,
                mailbox: Arc::new(Mailbox::new(config, &budget)),
                grant: None,
            })
        };
        let push = |to: &Arc<Subscriber>| {
            let message = Message::new(Topic::parse("t").unwrap(), vec![0; 10_000]);
            let source = Source::here(SessionId::new(2));
            to.mailbox.push(source, to, &Arc::new(message))
        };
        let newest = mailbox(Overflow::DropNewest);
        let mut pushed: Vec<Pushed> = Vec::new();
        while !matches!(pushed.last(), Some(Pushed::Lost { .. })) {
            pushed.push(push(&newest));
        }
        let kept = pushed.len() - 1;
        assert!(
            (40..50).contains(&kept),
            "{kept} of 90 that there is room for"
        );
        let pressing = pushed.iter().position(|one| *one == Pushed::KeptPressing);
        assert!((kept / 3..kept * 2 / 3).contains(&pressing.unwrap()));
        // The next finds as much as half of the rest, and one that drops the oldest goes on.
        let oldest = mailbox(Overflow::DropOldest);
        for _ in 0..100 {
            assert!(matches!(
                push(&oldest),
                Pushed::Kept | Pushed::KeptLosing(1)
            ));
        }
        let cut_off = mailbox(Overflow::Disconnect);
        let mut last = push(&cut_off);
        while !matches!(last, Pushed::CutOff(_)) {
            last = push(&cut_off);
        }
        // When others have all there is, who has nothing loses the message and no more.
        budget.take(1 << 20);
        let innocent = mailbox(Overflow::Disconnect);
        assert_eq!(push(&innocent), Pushed::Lost { pressing: false });
        let mut told = VecDeque::new();
        innocent.mailbox.take(&mut told, 9).unwrap();
        assert!(matches!(told[0], Delivery::Missed(1)));
        budget.give_back(1 << 20);
        for subscriber in [newest, oldest, innocent] {
            subscriber.mailbox.end(RecvError::Ended);
        }
        assert!(budget.held() <= 4 * 12_000, "{}", budget.held());
    }

    #[test]
    fn drop_newest_tells_the_gap_after_what_was_kept() {
        let s = subscriber(2, 100, Overflow::DropNewest);
        let pushed: Vec<_> = ["a", "b", "c", "d"].map(|m| push(&s, m)).to_vec();
        assert_eq!(
            pushed,
            [
                Pushed::KeptPressing,
                Pushed::KeptPressing,
                Pushed::Lost { pressing: true },
                Pushed::Lost { pressing: true }
            ]
        );
        assert_eq!(take_all(&s), ["a", "b", "-2"]);
        push(&s, "e");
        assert_eq!(take_all(&s), ["e"]);
    }

    #[test]
    fn drop_newest_tells_the_gap_before_the_next_message() {
        let s = subscriber(1, 100, Overflow::DropNewest);
        push(&s, "a");
        push(&s, "b");
        let mut one = VecDeque::new();
        s.mailbox.take(&mut one, 1).unwrap();
        push(&s, "c");
        assert_eq!(take_all(&s), ["-1", "c"]);
    }

    #[test]
    fn drop_oldest_keeps_the_present() {
        let s = subscriber(2, 100, Overflow::DropOldest);
        for content in ["a", "b", "c"] {
            push(&s, content);
        }
        assert_eq!(push(&s, "d"), Pushed::KeptLosing(1));
        assert_eq!(take_all(&s), ["-2", "c", "d"]);
    }

    #[test]
    fn drop_oldest_loses_of_the_publisher_with_most_waiting() {
        let s = subscriber(3, 100, Overflow::DropOldest);
        push_from(1, &s, "quiet");
        for content in ["a", "b", "c"] {
            push_from(2, &s, content);
        }
        assert_eq!(take_all(&s), ["-1", "quiet", "b", "c"]);
    }

    #[test]
    fn few_bytes_are_taken_at_a_time() {
        let s = subscriber(9, 1 << 20, Overflow::DropNewest);
        let long = "x".repeat(TAKEN_BYTES_MAX);
        for content in ["a", &long, "b"] {
            push(&s, content);
        }
        let mut taken = VecDeque::new();
        s.mailbox.take(&mut taken, usize::MAX).unwrap();
        assert_eq!(taken.len(), 2);
    }

    #[test]
    fn the_bound_in_bytes_holds_but_lets_one_message_in() {
        let s = subscriber(10, 4, Overflow::DropNewest);
        assert_eq!(push(&s, "too long"), Pushed::KeptPressing);
        assert_eq!(push(&s, "x"), Pushed::Lost { pressing: true });
        assert_eq!(take_all(&s), ["too long", "-1"]);
    }

    #[test]
    fn disconnect_loses_all_and_says_so() {
        let s = subscriber(1, 100, Overflow::Disconnect);
        push(&s, "a");
        assert_eq!(push(&s, "b"), Pushed::CutOff(2));
        assert_eq!(push(&s, "c"), Pushed::Closed);
        let closed = s.mailbox.take(&mut VecDeque::new(), 1).unwrap_err();
        assert_eq!(closed, RecvError::Overflow { missed: 2 });
    }

    #[test]
    fn a_stopped_node_lets_its_sessions_drain() {
        let s = subscriber(9, 100, Overflow::DropNewest);
        push(&s, "a");
        s.mailbox.close(RecvError::NodeStopped);
        assert_eq!(take_all(&s), ["a"]);
        assert_eq!(
            s.mailbox.take(&mut VecDeque::new(), 1),
            Err(RecvError::NodeStopped)
        );
    }

    proptest! {
        #[test]
        fn every_message_is_taken_or_told_as_missed_in_order(
            steps in proptest::collection::vec((any::<bool>(), 1_usize..4), 1..60),
            oldest in any::<bool>(),
        ) {
            let overflow = if oldest { Overflow::DropOldest } else { Overflow::DropNewest };
            let s = subscriber(3, 100, overflow);
            let (mut sent, mut seen) = (0_u64, 0_u64);
            let mut check = |taken: VecDeque<Delivery>| {
                for delivery in taken {
                    match delivery {
                        Delivery::Missed(count) => seen += count,
                        Delivery::Message { message, .. } => {
                            let number: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                            assert_eq!(number, seen, "out of order or not told");
                            seen += 1;
                        }
                    }
                }
            };
            for (pushing, count) in steps {
                if pushing {
                    for _ in 0..count {
                        push(&s, &sent.to_string());
                        sent += 1;
                    }
                } else {
                    let mut taken = VecDeque::new();
                    s.mailbox.take(&mut taken, count).unwrap();
                    check(taken);
                }
            }
            let mut taken = VecDeque::new();
            s.mailbox.take(&mut taken, usize::MAX).unwrap();
            check(taken);
            prop_assert_eq!(seen, sent);
        }
    }
}
