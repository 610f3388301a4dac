//! Credit for the publishers of peers that is held back while their messages fill mailboxes here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_identity::NodeId;
use tidings_transport::{Credit, Peer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

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
        repeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use tidings_identity::{Authority, Identity, Incarnation, Validity};
    use tidings_membership::MemberId;
    use tidings_transport::{Budget, Config, Local, Net, Receive, SystemNet, Transport, Violation};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::mailbox::{Mailbox, MailboxConfig, Pushed, Subscriber};
    use crate::registry::SessionId;
    use crate::source::Source;
    use crate::{Count, Message};

    struct Nobody;

    impl Receive for Nobody {
        fn frame(&self, _: &Arc<Peer>, _: Incarnation, _: Bytes) -> Result<(), Violation> {
            Ok(())
        }

        fn credit(&self, _: &Arc<Peer>, _: Incarnation, _: Credit) {}
    }

    fn peer(token: &CancellationToken) -> Arc<Peer> {
        let validity = Validity::starting(SystemNet.unix_time(), REPEAT * 1_000).unwrap();
        let authority = Authority::create(&"test".parse().unwrap(), validity).unwrap();
        let issued = authority.issue(&"a".parse().unwrap(), validity).unwrap();
        let ca = authority.certificate_pem();
        let identity = Identity::from_pem(ca, &issued.certificate_pem, &issued.key_pem).unwrap();
        let local = Local {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            incarnation: 1.into(),
            frame_bytes_max: 1_000,
            budget: Arc::new(Budget::new(usize::MAX)),
        };
        let (net, receive) = (Arc::new(SystemNet), Arc::new(Nobody));
        let (config, tasks, token) = (Config::default(), TaskTracker::new(), token.clone());
        let started = Transport::start(config, local, identity, net, receive, tasks, token);
        started.unwrap().0.peer(&"b".parse().unwrap())
    }

    /// A mailbox of a session that is full and asks publishers to wait.
    fn full() -> Arc<Mailbox> {
        let config = MailboxConfig {
            messages_max: Count::of::<1>(),
            ..MailboxConfig::default()
        };
        let budget = Arc::new(Budget::new(usize::MAX));
        let mailbox = Arc::new(Mailbox::new(config, &budget));
        let subscriber = Arc::new(Subscriber {
            member: MemberId::from_bytes([0; 16]),
            tag: 0,
            session: SessionId::new(1),
            is_private: false,
            queue: None,
            mailbox: Arc::clone(&mailbox),
            grant: None,
        });
        let message = Arc::new(Message::new("t".parse().unwrap(), "x"));
        let source = Source::here(SessionId::new(2));
        let pushed = mailbox.push(source, &subscriber, &message);
        assert_eq!(pushed, Pushed::KeptPressing);
        mailbox
    }

    #[tokio::test]
    async fn what_a_peer_makes_up_is_bounded_and_over_once_there_is_room() {
        let token = CancellationToken::new();
        let (peer, mailbox) = (peer(&token), full());
        let (holds, begun) = Holds::new();
        let holds = Arc::new(holds);
        let pressing = || vec![Arc::clone(&mailbox) as Arc<dyn Filling>];
        for publisher in 0..3 * HOLDS_MAX as u64 {
            holds.received(&peer, publisher, pressing(), Some(1));
            holds.received(&peer, publisher, Vec::new(), Some(2));
        }
        let count = || holds.lock().values().map(HashMap::len).sum::<usize>();
        assert_eq!(count(), HOLDS_MAX);

        let giving = Arc::clone(&holds).give(begun, REPEAT * 100);
        let emptied = async {
            mailbox.take(&mut VecDeque::new(), 1).unwrap();
            while count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = giving => panic!("it goes on as long as the node"),
            () = emptied => {}
        }
        // Nothing is left of them, and the next one is held as the first was.
        let again = full();
        holds.received(&peer, 1, vec![again as Arc<dyn Filling>], Some(3));
        assert_eq!(count(), 1);
        token.cancel();
    }
}
