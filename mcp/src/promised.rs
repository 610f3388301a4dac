use std::collections::VecDeque;

use tokio::time::Instant;

/// What clients were promised to hear of, since when, until their listening begins.
///
/// The SDK acknowledges a listener before it lets it listen. In between lie microseconds, or much more on
/// a machine that has other work; and nothing may be missed in them.
#[derive(Debug)]
pub(crate) struct Promised<K> {
    /// By what tells the listeners apart, those first that were promised first.
    open: VecDeque<(K, Instant)>,
    open_max: usize,
}

impl<K: PartialEq> Promised<K> {
    pub(crate) fn new(open_max: usize) -> Self {
        Self {
            open: VecDeque::new(),
            open_max,
        }
    }

    /// From now on this listener is to hear of everything. One that does not come back is forgotten when there
    /// are too many.
    pub(crate) fn add(&mut self, listener: K, now: Instant) {
        if self.open.len() == self.open_max {
            self.open.pop_front();
        }
        self.open.push_back((listener, now));
    }

    /// Since when a listener is to hear of everything; none if that is forgotten.
    pub(crate) fn take(&mut self, listener: K) -> Option<Instant> {
        let found = self.open.iter().rposition(|(open, _)| *open == listener)?;
        self.open.remove(found).map(|(_, since)| since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_promise_is_kept_until_it_is_taken_or_there_are_too_many() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut promised = Promised::new(3);
        (0..3).for_each(|n| promised.add(n, at(n)));
        assert_eq!(promised.take(1), Some(at(1)));
        assert_eq!(promised.take(1), None);
        (3..5).for_each(|n| promised.add(n, at(n)));
        assert_eq!(promised.take(0), None);
        assert_eq!(promised.take(4), Some(at(4)));
    }
}
