//! Credit for the publishers of peers that is held back while their messages fill mailboxes here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_identity::NodeId;
use tidings_transport::Credit;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

use crate::route::Remote;
use crate::waits::{Filling, Waits};

/// The publishers on peers whose credit is held back.
#[derive(Debug)]
pub(crate) struct Holds {
    open: Mutex<HashMap<(NodeId, u64), Arc<Hold>>>,
    begun: mpsc::UnboundedSender<Arc<Hold>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Hold {
    remote: Arc<Remote>,
    publisher: u64,
    /// The mailboxes that are to have room first.
    waits: Waits,
    /// For what credit was asked meanwhile.
    asked: Mutex<Option<u64>>,
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
        remote: &Arc<Remote>,
        publisher: u64,
        pressing: Vec<Arc<dyn Filling>>,
        asks: Option<u64>,
    ) {
        let mut open = self.lock();
        let key = (remote.node.clone(), publisher);
        let is_full = open.len() >= HOLDS_MAX;
        let hold = match open.get(&key) {
            Some(hold) => hold,
            None if pressing.is_empty() || is_full => {
                drop(open);
                if let Some(position) = asks {
                    remote.give(publisher, position);
                }
                return;
            }
            None => {
                let hold = Arc::new(Hold {
                    remote: Arc::clone(remote),
                    publisher,
                    waits: Waits::default(),
                    asked: Mutex::default(),
                });
                // Nobody listens only when the node has stopped.
                let _ = self.begun.send(Arc::clone(&hold));
                open.entry(key).or_insert(hold)
            }
        };
        hold.waits.add(pressing);
        if asks.is_some() {
            *hold.asked() = asks;
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
        let Hold {
            remote, publisher, ..
        } = &*hold;
        let mut repeats = interval_at(Instant::now() + REPEAT, REPEAT);
        loop {
            tokio::select! {
                () = hold.waits.room(wait_max) => {}
                // The publisher waits no longer than for a node that says nothing.
                _ = repeats.tick() => {
                    remote.give(*publisher, 0);
                    continue;
                }
            }
            let mut open = self.lock();
            // Messages go on to arrive.
            if hold.waits.is_empty() {
                open.remove(&(remote.node.clone(), *publisher));
                break;
            }
        }
        if let Some(position) = hold.asked().take() {
            remote.give(*publisher, position);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(NodeId, u64), Arc<Hold>>> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    fn asked(&self) -> MutexGuard<'_, Option<u64>> {
        // Nothing panics while the lock is held.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote {
    fn give(&self, publisher: u64, position: u64) {
        self.peer.give(Credit {
            publisher,
            position,
        });
    }
}

/// Credit for more publishers at a time is not held back.
const HOLDS_MAX: usize = 16 << 10;
/// How often a publisher is told that it is not forgotten: several times in the time after which it
/// would wait no longer.
const REPEAT: Duration = Duration::from_millis(100);
