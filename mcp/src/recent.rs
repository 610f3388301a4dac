use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::Change;

/// What has changed of late, and when last: for whoever begins to listen, and was acknowledged before that.
///
/// It has the last so many things that have changed. What it does not have changed before
/// [`complete_since`](Self::is_complete_since).
#[derive(Debug)]
pub(crate) struct Recent {
    last: HashMap<Change, Instant>,
    /// Each of them, by a time that is not after the last: it may have changed again since it was put in here.
    order: VecDeque<(Instant, Change)>,
    changes_max: usize,
    /// Of what changed before, or at this time, some may be missing.
    incomplete_until: Option<Instant>,
}

impl Recent {
    pub(crate) fn new(changes_max: usize) -> Self {
        Self {
            last: HashMap::new(),
            order: VecDeque::new(),
            changes_max,
            incomplete_until: None,
        }
    }

    pub(crate) fn add(&mut self, change: &Change, now: Instant) {
        if let Some(last) = self.last.get_mut(change) {
            *last = now;
            return;
        }
        if self.last.len() == self.changes_max {
            self.forget_one();
        }
        self.last.insert(change.clone(), now);
        self.order.push_back((now, change.clone()));
    }

    /// Anything may have changed until now.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.incomplete_until = Some(now);
    }

    /// Whether it has all that changed since.
    pub(crate) fn is_complete_since(&self, since: Instant) -> bool {
        self.incomplete_until.is_none_or(|until| until < since)
    }

    /// Whether this has changed since, as far as it is known here.
    pub(crate) fn has(&self, change: &Change, since: Instant) -> bool {
        self.last.get(change).is_some_and(|last| *last >= since)
    }

    /// Forgets what has not changed for longest.
    fn forget_one(&mut self) {
        while let Some((at, change)) = self.order.pop_front() {
            let last = self.last[&change];
            if last == at {
                self.last.remove(&change);
                self.incomplete_until = self.incomplete_until.max(Some(last));
                return;
            }
            // Each is put back at most once for each time that it has changed.
            self.order.push_back((last, change));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Uri;

    fn resource(n: usize) -> Change {
        Change::Resource(Uri::parse(&format!("r:{n}")).unwrap())
    }

    #[test]
    fn what_changed_since_is_known_until_so_many_others_have_changed() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut recent = Recent::new(3);
        for (n, ms) in [(0, 0), (1, 1), (2, 2), (0, 3)] {
            recent.add(&resource(n), at(ms));
        }
        assert!(recent.is_complete_since(at(0)));
        assert!(recent.has(&resource(0), at(3)) && !recent.has(&resource(1), at(2)));
        // The one that goes is the one that has not changed for longest, not the one that came first.
        recent.add(&resource(3), at(4));
        assert!(recent.has(&resource(0), at(3)) && !recent.has(&resource(1), at(0)));
        assert!(!recent.is_complete_since(at(1)) && recent.is_complete_since(at(2)));
        recent.lost(at(5));
        assert!(!recent.is_complete_since(at(5)) && recent.is_complete_since(at(6)));
    }

    #[test]
    fn one_that_changes_all_the_time_takes_one_place() {
        let mut recent = Recent::new(2);
        let begun = Instant::now();
        for _ in 0..100_000 {
            recent.add(&resource(0), begun);
        }
        assert_eq!(recent.order.len(), 1);
    }
}
