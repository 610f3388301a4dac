use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What a node says to the publisher of a peer: there is room again for as much as it has sent to
/// this node up to here.
///
/// The transport only brings it, on the control stream. What a position counts is for those to say
/// who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// The publisher, as its node calls it.
    pub publisher: u64,
    /// How far the publisher was when it sent that for which there is room.
    pub position: u64,
}

/// Credit that waits for the writer of the control stream. Of one publisher only the
/// furthest waits, which says all that the others say.
#[derive(Debug, Default)]
pub(crate) struct CreditQueue {
    state: Mutex<State>,
    /// Wakes whoever empties the queue.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    positions: HashMap<u64, u64>,
    publishers: VecDeque<u64>,
}

impl CreditQueue {
    /// When there is no room, the credit is lost.
    pub(crate) fn push(&self, credit: Credit) {
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

    pub(crate) fn pop(&self) -> Option<Credit> {
        let mut state = self.state();
        let publisher = state.publishers.pop_front()?;
        let position = state.positions.remove(&publisher)?;
        if state.publishers.is_empty() {
            *state = State::default();
        }
        Some(Credit {
            publisher,
            position,
        })
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
        let queue = CreditQueue::default();
        queue.push(credit(1, 10));
        queue.push(credit(2, 20));
        queue.push(credit(1, 11));
        queue.push(credit(1, 0));
        assert_eq!(queue.pop(), Some(credit(1, 11)));
        assert_eq!(queue.pop(), Some(credit(2, 20)));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn it_does_not_grow_with_what_a_peer_makes_up() {
        let queue = CreditQueue::default();
        for publisher in 0..2 * PUBLISHERS_MAX as u64 {
            queue.push(credit(publisher, 1));
        }
        queue.push(credit(0, 2));
        assert_eq!(queue.state().publishers.len(), PUBLISHERS_MAX);
        assert_eq!(queue.pop(), Some(credit(0, 2)));
    }
}
