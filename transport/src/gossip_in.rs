use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidings_identity::{NodeId, NodeRun};
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::intake::{Intake, Next};

/// The gossip that arrives, message by message, each with its sender: its name is what its certificate
/// says, its run and address what it says itself.
///
/// No peer waits for the backlog of another: they take turns. Of each up to 64 messages, or 1 MiB,
/// wait here; of a peer of which more has arrived, the control stream is read no further until there is
/// room. A peer has a budget of 4,096 messages and 32 MiB a second, and after a rest of one
/// second's messages and 64 MiB at once; what goes beyond waits.
///
/// When it is dropped, what arrives from then on is dropped.
pub struct GossipReceiver {
    gossip: Arc<GossipIn>,
    token: CancellationToken,
}

/// Takes gossip from the readers of control streams to who receives it.
#[derive(Debug, Default)]
pub(crate) struct GossipIn {
    state: Mutex<State>,
    /// Wakes who receives.
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    intake: Intake,
    /// What wakes those who wait for room in the queue of a peer, of the peers of which some do.
    rooms: BTreeMap<NodeId, Arc<Notify>>,
    /// Nobody receives any more.
    is_closed: bool,
}

impl GossipReceiver {
    /// What arrives here, until the token is cancelled.
    pub(crate) fn new(gossip: Arc<GossipIn>, token: CancellationToken) -> Self {
        Self { gossip, token }
    }

    /// The next message, or `None` when the transport has ended. Cancelling the call loses nothing.
    pub async fn recv(&mut self) -> Option<(NodeRun, Bytes)> {
        // However much there is, others on this thread are to have their turn.
        consume_budget().await;
        loop {
            let at = match self.gossip.take() {
                Next::Message(from, message) => return Some((from, message)),
                Next::At(at) => Some(at),
                Next::Nothing => None,
            };
            let within = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.token.cancelled() => return None,
                () = self.gossip.filled.notified() => {}
                () = within => {}
            }
        }
    }
}

impl Drop for GossipReceiver {
    fn drop(&mut self) {
        let mut state = self.gossip.state();
        let State { rooms, .. } = std::mem::replace(
            &mut *state,
            State {
                is_closed: true,
                ..State::default()
            },
        );
        drop(state);
        rooms.values().for_each(|room| room.notify_waiters());
    }
}

impl fmt::Debug for GossipReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipReceiver").finish_non_exhaustive()
    }
}

impl GossipIn {
    /// Lets a message wait for its turn, once there is room for it. False when nobody receives it.
    pub(crate) async fn push(&self, from: NodeRun, message: Bytes) -> bool {
        let mut waiting = (from, message);
        loop {
            let room: Arc<Notify>;
            let made_room;
            {
                let mut state = self.state();
                if state.is_closed {
                    return false;
                }
                waiting = match state.intake.push(waiting.0, waiting.1) {
                    Ok(()) => break,
                    Err(waiting) => waiting,
                };
                room = state.room(&waiting.0.node);
                // From here on it hears of room, also before it waits.
                made_room = room.notified();
            }
            made_room.await;
        }
        self.filled.notify_one();
        true
    }

    /// Drops what waits of a run of a peer. Returns how many messages that were.
    pub(crate) fn discard(&self, run: &NodeRun) -> u64 {
        let mut state = self.state();
        let discarded = state.intake.discard(run);
        state.make_room(&run.node);
        discarded
    }

    fn take(&self) -> Next {
        let mut state = self.state();
        let next = state.intake.take(Instant::now());
        if let Next::Message(from, _) = &next {
            state.make_room(&from.node);
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing done under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What wakes those who wait for room in the queue of a peer.
    fn room(&mut self, peer: &NodeId) -> Arc<Notify> {
        Arc::clone(self.rooms.entry(peer.clone()).or_default())
    }

    fn make_room(&mut self, peer: &NodeId) {
        if let Some(room) = self.rooms.remove(peer) {
            room.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn run(peer: &str) -> NodeRun {
        NodeRun::new(peer.parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into())
    }

    fn gossip() -> (Arc<GossipIn>, GossipReceiver, CancellationToken) {
        let (gossip, token) = (Arc::<GossipIn>::default(), CancellationToken::new());
        let receiver = GossipReceiver::new(gossip.clone(), token.clone());
        (gossip, receiver, token)
    }

    /// Pushes until it has to wait; returns how many messages were taken in.
    fn fill(gossip: &GossipIn, peer: &str) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut pushed = 0;
        while pin!(gossip.push(run(peer), Bytes::from_static(b"flood")))
            .poll(&mut cx)
            .is_ready()
        {
            pushed += 1;
        }
        pushed
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_too_much_waits_until_its_own_is_taken_and_others_do_not() {
        let (gossip, mut receiver, _token) = gossip();
        let full = fill(&gossip, "a");
        let mut waits = pin!(gossip.push(run("a"), Bytes::from_static(b"late")));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        assert!(gossip.push(run("b"), Bytes::from_static(b"hi")).await);
        assert_eq!(receiver.recv().await.unwrap().0, run("a"));
        assert_eq!(receiver.recv().await.unwrap().0, run("b"));
        let waits = timeout(Duration::from_secs(1), waits).await;
        assert_eq!(waits, Ok(true), "there is room");
        for _ in 1..full {
            assert_eq!(receiver.recv().await.unwrap().1, "flood");
        }
        assert_eq!(receiver.recv().await.unwrap().1, "late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_comes_back_with_time() {
        let (gossip, mut receiver, _token) = gossip();
        let start = Instant::now();
        let flood = async {
            for _ in 0..3 * 4_096 {
                gossip.push(run("a"), Bytes::new()).await;
            }
        };
        let receive = async {
            for _ in 0..3 * 4_096 {
                receiver.recv().await;
            }
        };
        tokio::join!(flood, receive);
        let took = start.elapsed().as_millis();
        assert!((1_950..2_050).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_when_nobody_receives() {
        let (gossip, receiver, _token) = gossip();
        fill(&gossip, "a");
        let waits = gossip.push(run("a"), Bytes::new());
        let ends = async {
            tokio::task::yield_now().await;
            drop(receiver);
        };
        assert!(!tokio::join!(waits, ends).0);
        assert!(!gossip.push(run("b"), Bytes::new()).await);
    }

    #[tokio::test]
    async fn it_ends_with_the_transport() {
        let (_gossip, mut receiver, token) = gossip();
        let cancel = async { token.cancel() };
        assert_eq!(tokio::join!(receiver.recv(), cancel).0, None);
    }
}
