use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_membership::{MemberId, Pattern, Topic};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::info;

use super::denied::Denied;
use super::handle::Access;
use super::replies::Replies;
use crate::counters::Counters;

/// What one session may do by its access, and where it may answer. There is none for a session that may do
/// everything.
#[derive(Debug)]
pub(crate) struct Grant {
    access: Access,
    replies: Replies,
    counters: Arc<Counters>,
    /// Memberships that have ended and that the agent was not told of: no more than it had. None if its
    /// permissions have not changed since it was told last.
    disallowed: Mutex<Option<Vec<Disallowed>>>,
    told: Notify,
}

/// A membership that has ended because the permissions of its session have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disallowed {
    /// What it was.
    pub member: MemberId,
    /// What it was for.
    pub pattern: Pattern,
}

impl Grant {
    /// That of a session with this access, unless it may do everything.
    pub(crate) fn new(access: &Access, counters: &Arc<Counters>) -> Option<Arc<Self>> {
        access.is_restricted().then(|| {
            Arc::new(Self {
                access: access.clone(),
                replies: Replies::default(),
                counters: Arc::clone(counters),
                disallowed: Mutex::default(),
                told: Notify::new(),
            })
        })
    }

    /// Whether it may publish on this topic, or answer there.
    pub(crate) fn publish(&self, topic: &Topic) -> Result<(), Denied> {
        let rules = self.access.rules();
        let answers = || {
            let allowed = rules.as_ref()?.permissions.responses?;
            Some(self.replies.answer(topic, allowed, Instant::now()))
        };
        let publishes = rules.as_ref().is_none_or(|rules| rules.publishes(topic));
        if publishes || answers().unwrap_or(false) {
            return Ok(());
        }
        Err(self.denied(
            &self.counters.denied_publish,
            Denied::Publish,
            topic.as_str(),
        ))
    }

    /// Whether it may publish on all topics of this pattern.
    pub(crate) fn publish_all(&self, pattern: &Pattern) -> Result<(), Denied> {
        let rules = self.access.rules();
        if rules.is_none_or(|rules| rules.publishes_all(pattern)) {
            return Ok(());
        }
        let text = pattern.as_str();
        Err(self.denied(&self.counters.denied_publish, Denied::Publish, text))
    }

    /// Whether it may subscribe to this, in this queue group if in one.
    pub(crate) fn subscribe(&self, pattern: &Pattern, queue: Option<&str>) -> Result<(), Denied> {
        if self.subscribes(pattern, queue) {
            return Ok(());
        }
        let text = pattern.as_str();
        Err(self.denied(&self.counters.denied_subscribe, Denied::Subscribe, text))
    }

    /// The same, without asking for it.
    pub(crate) fn subscribes(&self, pattern: &Pattern, queue: Option<&str>) -> bool {
        let rules = self.access.rules();
        rules.is_none_or(|rules| rules.subscribes(pattern, queue))
    }

    /// Whether a message on this topic may be delivered to a subscription that it has, in this queue group
    /// if in one.
    pub(crate) fn receives(&self, topic: &Topic, queue: Option<&str>) -> bool {
        let rules = self.access.rules();
        rules.is_none_or(|rules| rules.receives(topic, queue))
    }

    /// It has received a message that wants its answers there.
    pub(crate) fn received(&self, reply_to: &Topic) {
        let rules = self.access.rules();
        if rules.is_some_and(|rules| rules.permissions.responses.is_some()) {
            self.replies.received(reply_to, Instant::now());
        }
    }

    /// How many subscriptions it may have, if that is less than `max`.
    pub(crate) fn subscriptions_max(&self, max: usize) -> usize {
        let rules = self.access.rules();
        let own = rules.and_then(|rules| rules.permissions.subscriptions_max);
        own.map_or(max, |own| own.get().min(max))
    }

    /// How large a payload may be, if that is less than `max`.
    pub(crate) fn payload_bytes_max(&self, max: usize) -> usize {
        let rules = self.access.rules();
        let own = rules.and_then(|rules| rules.permissions.payload_bytes_max);
        own.map_or(max, |own| own.get().min(max))
    }

    /// The permissions have changed, and these memberships have ended for it.
    pub(crate) fn ended(&self, memberships: impl IntoIterator<Item = Disallowed>) {
        self.lock().get_or_insert_default().extend(memberships);
        self.told.notify_one();
    }

    /// The memberships that have ended and were not told yet, as soon as the permissions have changed.
    pub(crate) async fn disallowed(&self) -> Vec<Disallowed> {
        loop {
            let told = self.told.notified();
            let ended = self.lock().take();
            if let Some(ended) = ended {
                return ended;
            }
            told.await;
        }
    }

    fn denied(&self, counter: &AtomicU64, what: Denied, subject: &str) -> Denied {
        counter.fetch_add(1, Relaxed);
        info!(identity = self.access.name(), %subject, "refused: {what}");
        what
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Disallowed>>> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.disallowed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
