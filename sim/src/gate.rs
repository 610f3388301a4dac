use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Stops a group of tasks and lets them go on.
///
/// While it is shut, a task behind it is not polled, whatever it waits for; what happened in the
/// meantime it finds when the gate opens.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    shut: bool,
    /// Of tasks that were woken in vain.
    waiting: Vec<Waker>,
}

impl Gate {
    /// Stops all tasks behind the gate.
    pub fn shut(&self) {
        self.lock().shut = true;
    }

    /// Lets all of them go on.
    pub fn open(&self) {
        let waiting = {
            let mut state = self.lock();
            state.shut = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether the tasks are stopped.
    pub fn is_shut(&self) -> bool {
        self.lock().shut
    }

    /// Puts a task behind the gate.
    pub fn guard<F: Future + Send + 'static>(&self, task: F) -> Guarded<F> {
        Guarded {
            gate: self.clone(),
            task: Box::pin(task),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task behind a [`Gate`].
#[derive(Debug)]
pub struct Guarded<F> {
    gate: Gate,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Guarded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut state = self.gate.lock();
        if state.shut {
            state.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        self.task.as_mut().poll(cx)
    }
}
