use std::collections::VecDeque;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::mailbox::{Closed, Delivery, Mailbox};

/// How many deliveries are taken out of the mailbox at a time, under one lock.
const BATCH: usize = 256;

/// The receiving end of a session.
#[derive(Debug)]
pub struct Inbox {
    mailbox: Arc<Mailbox>,
    /// Taken from the mailbox, not yet received.
    batch: VecDeque<Delivery>,
    delivered: Counter,
    session_ended: Counter,
}

impl Inbox {
    pub(crate) fn new(mailbox: Arc<Mailbox>, delivered: Counter, session_ended: Counter) -> Self {
        Self {
            mailbox,
            batch: VecDeque::new(),
            delivered,
            session_ended,
        }
    }

    /// Waits for the next delivery. An error means that nothing more will come. Cancelling the call
    /// loses nothing.
    pub async fn recv(&mut self) -> Result<Delivery, Closed> {
        loop {
            if let Some(delivery) = self.try_recv()? {
                return Ok(delivery);
            }
            self.mailbox.ready().await;
        }
    }

    /// Waits until the session is cut off because its mailbox overflowed, which may never happen.
    /// For those who cannot receive at the moment and so would not hear of it.
    pub(crate) async fn cut_off(&self) -> Closed {
        loop {
            match self.mailbox.closed() {
                Some(closed @ Closed::Overflow { .. }) => return closed,
                Some(_) => std::future::pending().await,
                None => self.mailbox.ready().await,
            }
        }
    }

    /// The next delivery, if one is there.
    pub fn try_recv(&mut self) -> Result<Option<Delivery>, Closed> {
        if self.batch.is_empty() {
            self.mailbox.take(&mut self.batch, BATCH)?;
        }
        let delivery = self.batch.pop_front();
        if let Some(Delivery::Message { .. }) = delivery {
            self.delivered.inc();
        }
        Ok(delivery)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let is_message = |delivery: &&Delivery| matches!(delivery, Delivery::Message { .. });
        let taken = self.batch.iter().filter(is_message).count() as u64;
        let lost = self.mailbox.close(Closed::Ended);
        self.session_ended.inc_by(taken + lost);
    }
}
