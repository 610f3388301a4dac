use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::outcome::{AssuredOptions, Outcomes};
use crate::outstanding::{Begun, Outstanding};

/// What becomes of a message that was published with assurance: a future of the [`Outcomes`].
///
/// It is ready within the timeout of the message. The message is sent whether this is awaited or not; once
/// this is dropped, it is not sent again.
#[derive(Debug)]
#[must_use = "whoever does not want to know what becomes of a message can broadcast it"]
pub struct Assured {
    outstanding: Arc<Outstanding>,
    id: u64,
    members: usize,
    done: oneshot::Receiver<Outcomes>,
    over: Pin<Box<Sleep>>,
}

impl Assured {
    pub(crate) fn new(
        outstanding: Arc<Outstanding>,
        begun: Begun,
        options: AssuredOptions,
    ) -> Self {
        Self {
            outstanding,
            id: begun.id,
            members: begun.members,
            done: begun.done,
            over: Box::pin(sleep(options.timeout.get())),
        }
    }

    /// With how many members it is told what becomes of the message.
    pub fn members(&self) -> usize {
        self.members
    }
}

impl Future for Assured {
    type Output = Outcomes;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcomes> {
        loop {
            if let Poll::Ready(done) = Pin::new(&mut self.done).poll(cx) {
                return Poll::Ready(done.expect("every message that is closed has a last word"));
            }
            ready!(self.over.as_mut().poll(cx));
            self.outstanding.close(self.id);
        }
    }
}

impl Drop for Assured {
    fn drop(&mut self) {
        self.outstanding.close(self.id);
    }
}
