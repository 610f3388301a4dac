use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use tidings_membership::Topic;
use tokio::time::Instant;

use super::permissions::Responses;

/// Where a session may answer, because it has received a request from there.
///
/// The newest are kept, up to a number; who is slower to answer than so many requests come has to be
/// allowed the topics.
#[derive(Debug, Default)]
pub(super) struct Replies(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_topic: HashMap<Topic, Reply>,
    /// The topics by when they were last received.
    by_age: BTreeMap<u64, Topic>,
    received: u64,
}

#[derive(Debug)]
struct Reply {
    number: u64,
    since: Instant,
    answers: usize,
}

impl Replies {
    /// A request has come that wants its answer there.
    pub(super) fn received(&self, topic: &Topic, now: Instant) {
        let mut known = self.lock();
        known.received += 1;
        let number = known.received;
        let reply = Reply {
            number,
            since: now,
            answers: 0,
        };
        if let Some(before) = known.by_topic.insert(topic.clone(), reply) {
            known.by_age.remove(&before.number);
        }
        known.by_age.insert(number, topic.clone());
        if known.by_age.len() > KNOWN_MAX
            && let Some((_, oldest)) = known.by_age.pop_first()
        {
            known.by_topic.remove(&oldest);
        }
    }

    /// Whether one more answer may be given there. If so, it counts.
    pub(super) fn answer(&self, topic: &Topic, allowed: Responses, now: Instant) -> bool {
        let mut known = self.lock();
        let Some(reply) = known.by_topic.get_mut(topic) else {
            return false;
        };
        reply.answers += 1;
        let is_late = now.duration_since(reply.since) > allowed.expiry.get();
        if !is_late && reply.answers <= allowed.answers_max.get() {
            return true;
        }
        let number = reply.number;
        known.by_topic.remove(topic);
        known.by_age.remove(&number);
        false
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many as the NATS server keeps.
const KNOWN_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_bounds::{Count, Time};

    use super::*;

    fn topic(number: usize) -> Topic {
        Topic::parse(&format!("reply.{number}")).unwrap()
    }

    #[test]
    fn a_request_may_be_answered_so_often_and_for_so_long() {
        let (replies, now) = (Replies::default(), Instant::now());
        let allowed = Responses {
            answers_max: Count::of::<2>(),
            expiry: Time::of_ms::<1_000>(),
        };
        let answer = |number, after| {
            replies.answer(&topic(number), allowed, now + Duration::from_millis(after))
        };
        assert!(!answer(1, 0), "nobody has asked");
        replies.received(&topic(1), now);
        assert_eq!(
            [answer(1, 0), answer(1, 1_000), answer(1, 1_000)],
            [true, true, false]
        );
        replies.received(&topic(2), now);
        assert!(!answer(2, 1_001), "too late");
        assert!(!answer(2, 0), "and then it is forgotten");
        replies.received(&topic(1), now);
        assert!(answer(1, 0), "a new request is a new one");
    }

    #[test]
    fn only_so_many_requests_are_remembered_however_often_they_come() {
        let (replies, now) = (Replies::default(), Instant::now());
        for number in 0..2 * KNOWN_MAX {
            replies.received(&topic(number), now);
            replies.received(&topic(number), now);
        }
        let known = replies.lock();
        assert_eq!(
            (known.by_topic.len(), known.by_age.len()),
            (KNOWN_MAX, KNOWN_MAX)
        );
        drop(known);
        let answer = |number| replies.answer(&topic(number), Responses::default(), now);
        assert!(!answer(KNOWN_MAX - 1) && answer(KNOWN_MAX) && answer(2 * KNOWN_MAX - 1));
    }
}
