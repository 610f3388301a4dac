use std::sync::Arc;

use tidings_transport::{Budget, Held};

use crate::Message;

/// What the messages in one mailbox count to the budget of the node.
///
/// A large payload that waits in several mailboxes is in memory once, and counts once. Small messages
/// count in each: what that is too much is little, and nobody has to touch what others use, too.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    held: Held,
}

impl Charge {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            held: budget.part(),
        }
    }

    /// Whether a mailbox in which so much waits may take this message, too.
    pub(crate) fn admits(&self, own: usize, message: &Message) -> bool {
        self.budget.admits(own, cost(message))
    }

    /// How much may wait in a mailbox in which so much does, as things stand.
    pub(crate) fn share(&self, own: usize) -> usize {
        self.budget.share(own)
    }

    /// A message waits from now on.
    pub(crate) fn add(&mut self, message: &Message) {
        let bytes = message.size_bytes();
        if bytes < SHARED_BYTES_MIN {
            self.held.set(self.held.bytes() + cost(message));
            return;
        }
        self.held.set(self.held.bytes() + MESSAGE_BYTES);
        if message.places.enter() {
            self.budget.take(bytes);
        }
    }

    /// A message that was added waits no more.
    pub(crate) fn remove(&mut self, message: &Message) {
        let bytes = message.size_bytes();
        if bytes < SHARED_BYTES_MIN {
            self.held.set(self.held.bytes() - cost(message));
            return;
        }
        self.held.set(self.held.bytes() - MESSAGE_BYTES);
        if message.places.leave() {
            self.budget.give_back(bytes);
        }
    }
}

fn cost(message: &Message) -> usize {
    message.size_bytes() + MESSAGE_BYTES
}

/// What a message counts for besides payload and headers.
pub(crate) const MESSAGE_BYTES: usize = 128;
const SHARED_BYTES_MIN: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_payload_counts_once_wherever_it_waits() {
        let budget = Arc::new(Budget::new(1 << 20));
        let mut mailboxes: Vec<Charge> = (0..100).map(|_| Charge::new(&budget)).collect();
        let message = Message::new("t".parse().unwrap(), vec![0; 100_000]);
        for (count, mailbox) in (1..).zip(&mut mailboxes) {
            mailbox.add(&message);
            assert!((100_000..100_000 + count * 5_000).contains(&budget.held()));
        }
        for mailbox in &mut mailboxes {
            assert!(budget.held() >= 100_000);
            mailbox.remove(&message);
        }
        assert!(budget.held() <= 100 * 12_000, "it is over");
        drop(mailboxes);
        assert_eq!(budget.held(), 0);
    }
}
