use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// In how many mailboxes a message waits. Two messages are the same wherever they wait, and a copy
/// waits nowhere yet.
#[derive(Debug, Default)]
pub(crate) struct Places(AtomicU32);

impl Places {
    /// It waits in one more. True if that is the first.
    pub(crate) fn enter(&self) -> bool {
        self.0.fetch_add(1, Relaxed) == 0
    }

    /// It waits in one less. True if that was the last.
    pub(crate) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Relaxed) == 1
    }
}

impl Clone for Places {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}
