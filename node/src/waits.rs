use std::collections::HashSet;
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
pub(crate) struct Waits(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    order: Vec<Weak<dyn Filling>>,
    /// The addresses of those in `order`, which stay theirs as long as they are there.
    known: HashSet<usize>,
    /// When it has become so long, those that are gone are taken out.
    prune_at: usize,
}

impl Waits {
    /// Has the next call of `room` wait for these, too.
    pub(crate) fn add(&self, fillings: Vec<Arc<dyn Filling>>) {
        if fillings.is_empty() {
            return;
        }
        let mut list = self.lock();
        for filling in fillings {
            let filling = Arc::downgrade(&filling);
            if list.known.insert(address(&filling)) {
                list.order.push(filling);
            }
        }
        // Of those who never wait, it is about as many as there are to fill.
        if list.order.len() >= list.prune_at {
            list.prune();
        }
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().order.is_empty()
    }

    /// Waits until each of them has room, or it is of no use to wait.
    pub(crate) async fn room(&self, wait_max: Duration) {
        loop {
            // Taken one by one, so that the others are still waited for if this call is cancelled.
            let Some(weak) = self.lock().order.last().cloned() else {
                return;
            };
            let filling = weak.upgrade();
            if let Some(filling) = &filling {
                room(&**filling, wait_max).await;
            }
            let mut list = self.lock();
            // Somebody else may have filled it again.
            let is_full = |own: &Arc<dyn Filling>| own.wait(Instant::now(), wait_max).is_some();
            if !filling.as_ref().is_some_and(is_full) {
                list.remove(&weak);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing panics while the lock is held, so the list behind a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn remove(&mut self, filling: &Weak<dyn Filling>) {
        if self.known.remove(&address(filling)) {
            let at = self.order.iter().rposition(|own| own.ptr_eq(filling));
            at.map(|at| self.order.remove(at));
        }
    }

    fn prune(&mut self) {
        let Self { order, known, .. } = self;
        order.retain(|own| own.strong_count() > 0 || !known.remove(&address(own)));
        self.prune_at = 2 * self.order.len() + PRUNED_MIN;
    }
}

fn address(filling: &Weak<dyn Filling>) -> usize {
    filling.as_ptr().addr()
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

/// A list below this is not worth looking through.
const PRUNED_MIN: usize = 64;
