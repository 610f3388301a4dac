use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::Credit;
use crate::control::Control;

/// What waits for the writer of the control stream, of what a node has to say about the frames it has
/// received. Of the credit of one publisher only the furthest waits, which says all that the others
/// say; likewise of how many frames were lost. What is said about assured messages waits as it is, up to a
/// bound: whoever wants to know asks again.
#[derive(Debug, Default)]
pub(crate) struct ReportQueue {
    state: Mutex<State>,
    /// Wakes whoever empties the queue.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    lost: Option<u64>,
    positions: HashMap<u64, u64>,
    publishers: VecDeque<u64>,
    assurances: VecDeque<Bytes>,
    assurance_bytes: usize,
}

impl ReportQueue {
    /// So many frames were lost in all, of this run of the peer.
    pub(crate) fn push_lost(&self, frames: u64) {
        self.state().lost = Some(frames);
        self.filled.notify_one();
    }

    /// When there is no room, the credit is lost.
    pub(crate) fn push_credit(&self, credit: Credit) {
        let mut state = self.state();
        let is_full = state.publishers.len() >= PUBLISHERS_MAX;
        match state.positions.get_mut(&credit.publisher) {
            Some(position) => *position = credit.position.max(*position),
            None if is_full => return,
            None => {
                state.positions.insert(credit.publisher, credit.position);
                state.publishers.push_back(credit.publisher);
            }
        }
        drop(state);
        self.filled.notify_one();
    }

    /// When there is no room, the message is lost.
    pub(crate) fn push_assurance(&self, message: Bytes) {
        let mut state = self.state();
        let bytes = state.assurance_bytes + message.len();
        if state.assurances.len() >= ASSURANCES_MAX || bytes > ASSURANCE_BYTES_MAX {
            return;
        }
        state.assurance_bytes = bytes;
        state.assurances.push_back(message);
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn pop(&self) -> Option<Control> {
        let mut state = self.state();
        if let Some(frames) = state.lost.take() {
            return Some(Control::Lost(frames));
        }
        if let Some(publisher) = state.publishers.pop_front() {
            let position = state.positions.remove(&publisher)?;
            if state.publishers.is_empty() {
                (state.positions, state.publishers) = Default::default();
            }
            return Some(Control::Credit(Credit {
                publisher,
                position,
            }));
        }
        let message = state.assurances.pop_front()?;
        state.assurance_bytes -= message.len();
        if state.assurances.is_empty() {
            state.assurances = VecDeque::new();
        }
        Some(Control::Assurance(message))
    }

    pub(crate) fn clear(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step on the queue panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More publishers than a peer has in all likelihood. One whose credit is lost waits as long as for
/// a node that says nothing.
const PUBLISHERS_MAX: usize = 16 << 10;
/// Messages about assured messages, and their bytes: what is said of some 50,000 members.
const ASSURANCES_MAX: usize = 4 << 10;
const ASSURANCE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(publisher: u64, position: u64) -> Credit {
        Credit {
            publisher,
            position,
        }
    }

    #[test]
    fn the_furthest_credit_of_a_publisher_stands_for_all() {
        let queue = ReportQueue::default();
        queue.push_credit(credit(1, 10));
        queue.push_credit(credit(2, 20));
        queue.push_credit(credit(1, 11));
        queue.push_credit(credit(1, 0));
        queue.push_lost(3);
        queue.push_lost(5);
        assert_eq!(queue.pop(), Some(Control::Lost(5)));
        assert_eq!(queue.pop(), Some(Control::Credit(credit(1, 11))));
        assert_eq!(queue.pop(), Some(Control::Credit(credit(2, 20))));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn it_does_not_grow_with_what_a_peer_makes_up() {
        let queue = ReportQueue::default();
        for publisher in 0..2 * PUBLISHERS_MAX as u64 {
            queue.push_credit(credit(publisher, 1));
        }
        queue.push_credit(credit(0, 2));
        assert_eq!(queue.state().publishers.len(), PUBLISHERS_MAX);
        assert_eq!(queue.pop(), Some(Control::Credit(credit(0, 2))));
    }

    #[test]
    fn what_is_said_of_assured_messages_waits_in_order_and_is_bounded() {
        let queue = ReportQueue::default();
        let long = Bytes::from(vec![0; 1 << 10]);
        for number in 0..2 * ASSURANCE_BYTES_MAX / long.len() {
            queue.push_assurance(long.clone());
            queue.push_assurance(number.to_string().into());
        }
        assert!(queue.state().assurance_bytes <= ASSURANCE_BYTES_MAX);
        queue.push_credit(credit(1, 1));
        assert_eq!(queue.pop(), Some(Control::Credit(credit(1, 1))));
        for number in 0..3 {
            assert_eq!(queue.pop(), Some(Control::Assurance(long.clone())));
            let next = Control::Assurance(number.to_string().into());
            assert_eq!(queue.pop(), Some(next));
        }
        while queue.pop().is_some() {}
        assert_eq!(queue.state().assurance_bytes, 0);
        for _ in 0..2 * ASSURANCES_MAX {
            queue.push_assurance(Bytes::new());
        }
        assert_eq!(queue.state().assurances.len(), ASSURANCES_MAX);
    }
}
