//! Credit for the publishers of peers that is held back while their messages fill mailboxes here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_identity::NodeId;
use tidings_transport::{Credit, Peer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

use crate::waits::{Filling, Waits};

/// The publishers on peers whose credit is held back.
#[derive(Debug)]
pub(crate) struct Holds {
    /// Those of each peer, by publisher.
    open: Mutex<HashMap<NodeId, HashMap<u64, Arc<Hold>>>>,
    begun: mpsc::UnboundedSender<Arc<Hold>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Hold {
    peer: Arc<Peer>,
    publisher: u64,
    /// The mailboxes that are to have room first.
    waits: Waits,
    state: Mutex<HoldState>,
}

#[derive(Debug, Default)]
struct HoldState {
    /// For what credit was asked meanwhile.
    asked: Option<u64>,
    /// It is over.
    ended: bool,
}

impl Holds {
    /// None yet; those that begin come out of the receiver, for [`give`](Self::give).
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Arc<Hold>>) {
        let (begun, holds) = mpsc::unbounded_channel();
        let open = Mutex::default();
        (Self { open, begun }, holds)
    }

    /// A message of a peer's publisher has filled these mailboxes, and may have asked for credit.
    pub(crate) fn received(
        &self,
        peer: &Arc<Peer>,
        publisher: u64,
        pressing: Vec<Arc<dyn Filling>>,
        asks: Option<u64>,
    ) {
        loop {
            let Some(hold) = self.hold(peer, publisher, pressing.is_empty()) else {
                if let Some(position) = asks {
                    give(peer, publisher, position);
                }
                return;
            };
            let mut state = hold.state();
            if state.ended {
                drop(state);
                self.close(&hold);
                continue;
            }
            hold.waits.add(pressing);
            state.asked = state.asked.max(asks);
            return;
        }
    }

    /// The hold of this publisher. One begins if there is none, unless it is only to be `looked` for,
    /// or there are too many.
    fn hold(&self, peer: &Arc<Peer>, publisher: u64, looked: bool) -> Option<Arc<Hold>> {
        let mut open = self.lock();
        if looked {
            return open.get(peer.name())?.get(&publisher).cloned();
        }
        let holds = open.entry(peer.name().clone()).or_default();
        let is_full = holds.len() >= HOLDS_MAX;
        match holds.get(&publisher) {
            Some(hold) => Some(Arc::clone(hold)),
            None if is_full => None,
            None => {
                let hold = Arc::new(Hold {
                    peer: Arc::clone(peer),
                    publisher,
                    waits: Waits::default(),
                    state: Mutex::default(),
                });
                holds.insert(publisher, Arc::clone(&hold));
                // Nobody listens only when the node has stopped.
                let _ = self.begun.send(Arc::clone(&hold));
                Some(hold)
            }
        }
    }

    fn close(&self, hold: &Arc<Hold>) {
        let mut open = self.lock();
        let Some(holds) = open.get_mut(hold.peer.name()) else {
            return;
        };
        // It may have made room for another already.
        if holds
            .get(&hold.publisher)
            .is_some_and(|own| Arc::ptr_eq(own, hold))
        {
            holds.remove(&hold.publisher);
        }
        if holds.is_empty() {
            open.remove(hold.peer.name());
        }
    }

    /// Gives all credit that is held back, each as soon as there is room.
    pub(crate) async fn give(
        self: Arc<Self>,
        mut begun: mpsc::UnboundedReceiver<Arc<Hold>>,
        wait_max: Duration,
    ) {
        let mut waiting = JoinSet::new();
        loop {
            tokio::select! {
                Some(hold) = begun.recv() => {
                    waiting.spawn(Arc::clone(&self).give_one(hold, wait_max));
                }
                Some(_) = waiting.join_next() => {}
                else => return,
            }
        }
    }

    async fn give_one(self: Arc<Self>, hold: Arc<Hold>, wait_max: Duration) {
        let (peer, publisher) = (&hold.peer, hold.publisher);
        let mut repeats = interval_at(Instant::now() + REPEAT, REPEAT);
        let asked = loop {
            tokio::select! {
                () = hold.waits.room(wait_max) => {}
                // The publisher waits no longer than for a node that says nothing.
                _ = repeats.tick() => {
                    give(peer, publisher, HELD_BACK);
                    continue;
                }
            }
            let mut state = hold.state();
            // Messages go on to arrive.
            if hold.waits.is_empty() {
                state.ended = true;
                break state.asked;
            }
        };
        self.close(&hold);
        if let Some(position) = asked {
            give(peer, publisher, position);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, HashMap<u64, Arc<Hold>>>> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    fn state(&self) -> MutexGuard<'_, HoldState> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give(peer: &Peer, publisher: u64, position: u64) {
    peer.give(Credit {
        publisher,
        position,
    });
}

/// The position that says: the credit is held back, and the publisher not forgotten.
pub(crate) const HELD_BACK: u64 = 0;
/// Credit for more publishers of one peer at a time is not held back.
const HOLDS_MAX: usize = 4 << 10;
/// How often a publisher is told that it is not forgotten: several times in the time after which it
/// would wait no longer.
const REPEAT: Duration = Duration::from_millis(100);
