//! Questions that the two ends of a link ask each other on its control stream.
//!
//! A question has a number of the asker's, under which it is answered: once, in whatever order, and when
//! the other end is ready to. What question and answer say is not known here. Of those that one end has
//! asked, no more than [`OPEN_MAX`] wait for an answer at a time, whether somebody still waits here or
//! not; so neither end can be made to keep more. All of them end with the link.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::control::{ANSWER_BYTES_MAX, Control, ControlError, OPEN_MAX, QUESTION_BYTES_MAX};

/// Why a question has no answer. The peer may have been asked it, and may have acted on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The question is longer than a peer takes.
    #[error("question of {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// There is no link to this run of the peer, or it was lost before the answer came.
    #[error("there is no link to the peer")]
    NoLink,
    /// Nobody at the peer has taken the question up.
    #[error("the peer does not answer such questions")]
    Unanswered,
}

/// The questions of a link: those that this end asks, and the answers to those of the other.
#[derive(Debug)]
pub(crate) struct Questions {
    state: Mutex<State>,
    /// Those that may still be asked.
    room: Arc<Semaphore>,
    /// Wakes whoever empties the queue.
    pub(crate) filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    asked: u64,
    /// Questions of this end that have no answer yet, by number.
    open: BTreeMap<u64, Open>,
    /// Questions of the other end that have no answer yet.
    owed: usize,
    /// What waits for the writer of the control stream.
    queue: VecDeque<Control>,
    is_closed: bool,
}

#[derive(Debug)]
struct Open {
    answer: oneshot::Sender<Bytes>,
    _room: OwnedSemaphorePermit,
}

/// A question of a peer that is to be answered, now or later. When it is dropped, the peer learns that
/// nobody does.
#[derive(Debug)]
pub struct Answering {
    questions: Arc<Questions>,
    number: u64,
    is_answered: bool,
}

impl Answering {
    /// Whether the link is up that it came over, so that the answer can get there.
    pub fn is_wanted(&self) -> bool {
        !self.questions.state().is_closed
    }

    /// Sends the answer. Nothing comes of it when the link is lost; the peer knows that, too.
    ///
    /// An answer that is empty, or longer than 64 KiB, is sent as none.
    pub fn answer(mut self, body: Bytes) {
        self.is_answered = true;
        let is_fit = body.len() <= ANSWER_BYTES_MAX;
        let body = if is_fit { body } else { Bytes::new() };
        self.questions.push_answer(self.number, body);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.is_answered {
            self.questions.push_answer(self.number, Bytes::new());
        }
    }
}

impl Questions {
    /// Asks, once there is room among those that have no answer yet, and waits for the answer.
    ///
    /// When it is cancelled, the question stays open until its answer is here.
    pub(crate) async fn ask(&self, body: Bytes) -> Result<Bytes, AskError> {
        if body.len() > QUESTION_BYTES_MAX {
            return Err(AskError::TooLarge {
                bytes: body.len(),
                bytes_max: QUESTION_BYTES_MAX,
            });
        }
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| AskError::NoLink)?;
        let (answer, answered) = oneshot::channel();
        self.push_question(body, answer, room)?;
        match answered.await {
            Ok(body) if body.is_empty() => Err(AskError::Unanswered),
            Ok(body) => Ok(body),
            Err(_) => Err(AskError::NoLink),
        }
    }

    fn push_question(
        &self,
        body: Bytes,
        answer: oneshot::Sender<Bytes>,
        room: OwnedSemaphorePermit,
    ) -> Result<(), AskError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(AskError::NoLink);
        }
        state.asked += 1;
        let number = state.asked;
        let open = Open {
            answer,
            _room: room,
        };
        state.open.insert(number, open);
        state.queue.push_back(Control::Ask { number, body });
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The other end asks. It never has more open than it may.
    pub(crate) fn asked(self: &Arc<Self>, number: u64) -> Result<Answering, ControlError> {
        let mut state = self.state();
        if state.owed >= OPEN_MAX {
            return Err(ControlError::TooManyQuestions);
        }
        state.owed += 1;
        drop(state);
        Ok(Answering {
            questions: Arc::clone(self),
            number,
            is_answered: false,
        })
    }

    /// The other end answers, what it was asked.
    pub(crate) fn answered(&self, number: u64, body: Bytes) -> Result<(), ControlError> {
        let open = self.state().open.remove(&number);
        let open = open.ok_or(ControlError::Unasked(number))?;
        // Whoever has asked may not wait for it any more.
        let _ = open.answer.send(body);
        Ok(())
    }

    fn push_answer(&self, number: u64, body: Bytes) {
        let mut state = self.state();
        if !state.is_closed {
            state.queue.push_back(Control::Answer { number, body });
        }
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn pop(&self) -> Option<Control> {
        let mut state = self.state();
        let next = state.queue.pop_front()?;
        if let Control::Answer { .. } = next {
            // From here on the other end may ask another one.
            state.owed -= 1;
        }
        Some(next)
    }

    /// The link has ended: nobody is asked or answered any more.
    pub(crate) fn close(&self) {
        self.room.close();
        let mut state = self.state();
        state.is_closed = true;
        let (open, queue) = (
            std::mem::take(&mut state.open),
            std::mem::take(&mut state.queue),
        );
        drop(state);
        // Who waits for an answer may be woken by this.
        drop((open, queue));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing done under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            room: Arc::new(Semaphore::new(OPEN_MAX)),
            filled: Notify::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const ASKED: Bytes = Bytes::from_static(b"how many?");
    const ANSWERED: Bytes = Bytes::from_static(b"four");

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn number_of(message: Option<Control>) -> u64 {
        match message {
            Some(Control::Ask { number, body }) if body == ASKED => number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_come_to_who_asked_in_whatever_order() {
        let ours = Questions::default();
        let (mut first, mut second) = (pin!(ours.ask(ASKED)), pin!(ours.ask(ASKED)));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        let (one, two) = (number_of(ours.pop()), number_of(ours.pop()));
        ours.answered(two, ANSWERED).unwrap();
        assert!(poll(first.as_mut()).is_pending());
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(ANSWERED)));
        ours.answered(one, Bytes::new()).unwrap();
        let nobody = Err(AskError::Unanswered);
        assert_eq!(poll(first.as_mut()), Poll::Ready(nobody));
        for unasked in [one, two + 1] {
            let refused = ours.answered(unasked, ANSWERED);
            assert!(matches!(refused, Err(ControlError::Unasked(_))));
        }
    }

    #[test]
    fn who_asks_too_much_waits_also_when_it_has_given_up() {
        let ours = Questions::default();
        for _ in 0..OPEN_MAX {
            let mut given_up = Box::pin(ours.ask(ASKED));
            assert!(poll(given_up.as_mut()).is_pending());
        }
        let mut waits = pin!(ours.ask(ASKED));
        assert!(poll(waits.as_mut()).is_pending());
        let asked: Vec<_> = std::iter::from_fn(|| ours.pop()).collect();
        assert_eq!(asked.len(), OPEN_MAX);
        ours.answered(7, ANSWERED).unwrap();
        assert!(poll(waits.as_mut()).is_pending());
        assert_eq!(number_of(ours.pop()), OPEN_MAX as u64 + 1);
    }

    #[test]
    fn what_is_owed_is_bounded_until_it_is_answered() {
        let theirs = Arc::new(Questions::default());
        let mut owed: Vec<_> = (0..OPEN_MAX as u64)
            .map(|number| theirs.asked(number).unwrap())
            .collect();
        let one_more = theirs.asked(99);
        assert!(matches!(one_more, Err(ControlError::TooManyQuestions)));
        let (forgotten, answered) = (owed.pop(), owed.pop());
        drop(forgotten);
        answered.unwrap().answer(ANSWERED);
        assert!(theirs.asked(99).is_err(), "the answers are still here");
        for body in [Bytes::new(), ANSWERED] {
            assert!(
                matches!(theirs.pop(), Some(Control::Answer { body: said, .. }) if said == body)
            );
            owed.push(theirs.asked(99).unwrap());
        }
        assert!(theirs.asked(100).is_err());
    }

    #[test]
    fn all_end_with_the_link() {
        let ours = Arc::new(Questions::default());
        let mut asked = pin!(ours.ask(ASKED));
        assert!(poll(asked.as_mut()).is_pending());
        let owed = ours.asked(1).unwrap();
        assert!(owed.is_wanted());
        ours.close();
        assert!(!owed.is_wanted());
        let lost = Err(AskError::NoLink);
        assert_eq!(poll(asked.as_mut()), Poll::Ready(lost.clone()));
        assert_eq!(poll(pin!(ours.ask(ASKED))), Poll::Ready(lost));
        owed.answer(ANSWERED);
        assert_eq!(ours.pop(), None);
    }

    #[test]
    fn what_is_too_long_is_not_said() {
        let ours = Arc::new(Questions::default());
        let long = Bytes::from(vec![0; ANSWER_BYTES_MAX + 1]);
        let refused = poll(pin!(ours.ask(long.slice(..=QUESTION_BYTES_MAX))));
        assert!(matches!(
            refused,
            Poll::Ready(Err(AskError::TooLarge { .. }))
        ));
        ours.asked(1).unwrap().answer(long);
        let none = Control::Answer {
            number: 1,
            body: Bytes::new(),
        };
        assert_eq!(ours.pop(), Some(none));
    }
}
