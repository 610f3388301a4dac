use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// What publishers fill, and may have to wait for.
pub(crate) trait Filling: Debug + Send + Sync {
    /// Until when publishers wait if nothing happens; None when they need not, or it is of no use.
    fn wait(&self, now: Instant, wait_max: Duration) -> Option<Instant>;

    /// Wakes those who wait when they need not any more.
    fn room(&self) -> &Notify;
}

/// What a publisher has filled to where it is to wait.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Vec<Weak<dyn Filling>>>);

impl Waits {
    /// Has the next call of `room` wait for these, too.
    pub(crate) fn add(&self, fillings: impl IntoIterator<Item = Arc<dyn Filling>>) {
        let mut waits = self.lock();
        // Of those who never wait, it is what there is to fill, and no more.
        waits.retain(|own| own.strong_count() > 0);
        for filling in fillings {
            let filling = Arc::downgrade(&filling);
            if !waits.iter().any(|own| own.ptr_eq(&filling)) {
                waits.push(filling);
            }
        }
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits until each of them has room, or it is of no use to wait.
    pub(crate) async fn room(&self, wait_max: Duration) {
        loop {
            // Taken one by one, so that the others are still waited for if this call is cancelled.
            let Some(filling) = self.lock().last().cloned() else {
                return;
            };
            if let Some(filling) = filling.upgrade() {
                room(&*filling, wait_max).await;
            }
            self.lock().retain(|own| !own.ptr_eq(&filling));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Filling>>> {
        // Nothing panics while the lock is held, so the list behind a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn room(filling: &dyn Filling, wait_max: Duration) {
    loop {
        let mut room = pin!(filling.room().notified());
        // Before looking, so that what happens afterwards is not missed.
        room.as_mut().enable();
        let Some(until) = filling.wait(Instant::now(), wait_max) else {
            return;
        };
        // Either way it is looked at again.
        let _ = timeout_at(until, room).await;
    }
}
