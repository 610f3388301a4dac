//! Messages that a client is to acknowledge.

use std::collections::BTreeMap;

use tidings::{Asker, Delivery};

/// The messages that were given to a client with a subject of the node for its answer, because their
/// publishers wait until it says something there.
#[derive(Debug, Default)]
pub(super) struct Acks {
    last: u64,
    /// By the number in the subject. Of too many the oldest cannot be acknowledged any more, and its publisher
    /// waits in vain.
    open: BTreeMap<u64, Asker>,
}

/// What stands between `$TIDINGS.` and the number.
pub(super) const ACK: &str = "ack";

impl Acks {
    /// The number for the answer to a message, if its publisher waits for one.
    pub(super) fn offer(&mut self, delivery: &Delivery) -> Option<u64> {
        delivery.acknowledger()?;
        if self.open.len() >= OPEN_MAX {
            self.open.pop_first();
        }
        self.last += 1;
        self.open.insert(self.last, delivery.asker()?);
        Some(self.last)
    }

    /// Who is answered by this.
    pub(super) fn take(&mut self, number: &str) -> Option<Asker> {
        self.open.remove(&number.parse().ok()?)
    }
}

/// How many messages of a client are not acknowledged yet.
const OPEN_MAX: usize = 4_096;
