use std::collections::{HashSet, VecDeque};

use crate::Change;

/// What a listener has not been told yet: a set, in the order in which it became so. However often
/// something changes, it is in it once.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    order: VecDeque<Change>,
    changes: HashSet<Change>,
}

impl Untold {
    pub(crate) fn add(&mut self, change: &Change) {
        if self.changes.insert(change.clone()) {
            self.order.push_back(change.clone());
        }
    }

    /// Takes out what has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Change> {
        let change = self.order.pop_front()?;
        self.changes.remove(&change);
        Some(change)
    }

    #[cfg(any(test, feature = "rmcp"))]
    /// It is not to be told any more.
    pub(crate) fn remove(&mut self, change: &Change) {
        if self.changes.remove(change) {
            self.order.retain(|other| other != change);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_waits_once_and_can_come_again_after_it_was_told() {
        let mut untold = Untold::default();
        for change in [Change::Tools, Change::Prompts, Change::Tools] {
            untold.add(&change);
        }
        assert_eq!(untold.len(), 2);
        assert_eq!(untold.pop(), Some(Change::Tools));
        untold.add(&Change::Tools);
        assert_eq!(untold.pop(), Some(Change::Prompts));
        assert_eq!(untold.pop(), Some(Change::Tools));
        assert_eq!((untold.pop(), untold.len()), (None, 0));
    }
}
