//! Who listens for what, and what each is still to be told. No clock and no task of its own.
//!
//! A listener is a set, not a queue: *changed* means *read again*, so whatever a listener has not taken is
//! kept once. What changes again and again is told once in a [pause](Hub::new), the last time always: it
//! is due when the pause is over. So what is kept is bounded by what is listened for, however much is
//! published and however slowly a listener reads.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Change;
use crate::recent::Recent;
use crate::untold::Untold;

/// The listeners of a replica.
#[derive(Debug)]
pub(crate) struct Hub {
    listeners: Slab<Listener>,
    watched: HashMap<Change, Watched>,
    /// What has changed again before its pause was over, and when that is.
    due: BTreeSet<(Instant, Change)>,
    recent: Recent,
    bounds: Bounds,
    bytes: usize,
}

/// What the hub keeps within.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) listeners_max: usize,
    /// What all that is listened for may take.
    pub(crate) bytes_max: usize,
    pub(crate) recent_max: usize,
    /// How long what was told is not told again.
    pub(crate) pause: Duration,
}

/// Which listener. Given anew when it has gone.
pub(crate) type Id = usize;

#[derive(Debug)]
struct Listener {
    /// What it listens for, in order.
    changes: Vec<Change>,
    untold: Untold,
    /// From where on all changes are to be told, too: from the first when anything may have changed.
    all_from: usize,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Watched {
    listeners: BTreeSet<Id>,
    /// Until when it is not told again.
    pause_until: Option<Instant>,
    is_due: bool,
}

/// There is no room for another listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} clients listen already, which is as many as may")]
    Listeners(usize),
    #[error("what clients listen for takes {0} bytes, which is as much as it may")]
    Bytes(usize),
}

impl Hub {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            listeners: Slab::new(),
            watched: HashMap::new(),
            due: BTreeSet::new(),
            recent: Recent::new(bounds.recent_max),
            bounds,
            bytes: 0,
        }
    }

    /// Adds a listener, who is to be told what has changed since it was promised to hear of all changes; of
    /// whatever may have, if that is not known. It is woken by what is returned when there is something to
    /// [take](Self::take).
    pub(crate) fn listen(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        since: Option<Instant>,
    ) -> Result<(Id, Arc<Notify>), Full> {
        let distinct: BTreeSet<Change> = changes.into_iter().collect();
        let bytes: usize = distinct.iter().map(Change::bytes).sum();
        if self.listeners.len() >= self.bounds.listeners_max {
            return Err(Full::Listeners(self.listeners.len()));
        }
        if self.bytes + bytes > self.bounds.bytes_max {
            return Err(Full::Bytes(self.bytes));
        }
        self.bytes += bytes;
        let place = self.listeners.vacant_entry();
        let id = place.key();
        let mut untold = Untold::default();
        let mut own = Vec::with_capacity(distinct.len());
        let since = since.filter(|since| self.recent.is_complete_since(*since));
        for change in distinct {
            if since.is_some_and(|since| self.recent.has(&change, since)) {
                untold.add(&change);
            }
            // The texts are there once, however many listen for them.
            let shared = self.watched.get_key_value(&change);
            let change = shared.map_or(change, |(shared, _)| shared.clone());
            own.push(change.clone());
            self.watched.entry(change).or_default().listeners.insert(id);
        }
        let wake = Arc::new(Notify::new());
        place.insert(Listener {
            all_from: since.map_or(0, |_| own.len()),
            changes: own,
            untold,
            wake: Arc::clone(&wake),
        });
        wake.notify_one();
        Ok((id, wake))
    }

    #[cfg(any(test, feature = "rmcp"))]
    /// The listener listens for this, too. False if it does already.
    pub(crate) fn add(&mut self, id: Id, change: Change) -> Result<bool, Full> {
        let Some(listener) = self.listeners.get_mut(id) else {
            return Ok(false);
        };
        let Err(place) = listener.changes.binary_search(&change) else {
            return Ok(false);
        };
        if self.bytes + change.bytes() > self.bounds.bytes_max {
            return Err(Full::Bytes(self.bytes));
        }
        self.bytes += change.bytes();
        listener.all_from += usize::from(place <= listener.all_from);
        listener.changes.insert(place, change.clone());
        self.watched.entry(change).or_default().listeners.insert(id);
        Ok(true)
    }

    #[cfg(any(test, feature = "rmcp"))]
    /// It does so no more. False if it did not.
    pub(crate) fn remove(&mut self, id: Id, change: &Change) -> bool {
        let Some(listener) = self.listeners.get_mut(id) else {
            return false;
        };
        let place = listener.changes.binary_search(change);
        if let Ok(place) = place {
            listener.changes.remove(place);
            listener.all_from -= usize::from(place < listener.all_from);
            listener.untold.remove(change);
            self.forget(id, change);
        }
        place.is_ok()
    }

    /// The listener is gone.
    pub(crate) fn leave(&mut self, id: Id) {
        let Some(listener) = self.listeners.try_remove(id) else {
            return;
        };
        for change in listener.changes {
            self.forget(id, &change);
        }
    }

    /// One listens for this no more.
    fn forget(&mut self, id: Id, change: &Change) {
        self.bytes -= change.bytes();
        let Some(watched) = self.watched.get_mut(change) else {
            return;
        };
        watched.listeners.remove(&id);
        if watched.listeners.is_empty() {
            if let (true, Some(until)) = (watched.is_due, watched.pause_until) {
                self.due.remove(&(until, change.clone()));
            }
            self.watched.remove(change);
        }
    }

    /// What a listener is to be told next, which is so no more then.
    pub(crate) fn take(&mut self, id: Id) -> Option<Change> {
        let listener = self.listeners.get_mut(id)?;
        listener.untold.pop().or_else(|| {
            let change = listener.changes.get(listener.all_from)?;
            listener.all_from += 1;
            Some(change.clone())
        })
    }

    /// Something has changed.
    pub(crate) fn changed(&mut self, change: &Change, now: Instant) {
        self.recent.add(change, now);
        self.tell(change, now);
    }

    /// Anything may have changed, and it is not known what. All that is listened for is told: how much that is
    /// matters only to those who tell it.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.recent.lost(now);
        for (_, listener) in &mut self.listeners {
            listener.untold = Untold::default();
            listener.all_from = 0;
            listener.wake.notify_one();
        }
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Tells what is due.
    pub(crate) fn tell_due(&mut self, now: Instant) {
        while let Some((at, change)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, change));
                return;
            }
            if let Some(watched) = self.watched.get_mut(&change) {
                watched.is_due = false;
            }
            self.tell(&change, now);
        }
    }

    pub(crate) fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn tell(&mut self, change: &Change, now: Instant) {
        let Some((change, _)) = self.watched.get_key_value(change) else {
            return;
        };
        let change = change.clone();
        let Some(watched) = self.watched.get_mut(&change) else {
            return;
        };
        match watched.pause_until {
            _ if watched.is_due => {}
            Some(until) if now < until => {
                watched.is_due = true;
                self.due.insert((until, change));
            }
            _ => {
                watched.pause_until = Some(now + self.bounds.pause);
                for id in &watched.listeners {
                    if let Some(listener) = self.listeners.get_mut(*id) {
                        listener.tell(&change);
                    }
                }
            }
        }
    }
}

impl Listener {
    fn tell(&mut self, change: &Change) {
        let place = self.changes.binary_search(change);
        if place.is_ok_and(|place| place < self.all_from) {
            self.untold.add(change);
        }
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Uri;

    const PAUSE: Duration = Duration::from_millis(20);

    fn hub() -> Hub {
        Hub::new(Bounds {
            listeners_max: 100,
            bytes_max: 1 << 20,
            recent_max: 4,
            pause: PAUSE,
        })
    }

    fn resource(n: usize) -> Change {
        Change::Resource(Uri::parse(&format!("r:{n}")).unwrap())
    }

    fn taken(hub: &mut Hub, id: Id) -> Vec<Change> {
        std::iter::from_fn(|| hub.take(id)).collect()
    }

    #[test]
    fn a_burst_is_told_at_once_and_once_more_after_the_pause() {
        let (mut hub, begun) = (hub(), Instant::now());
        let (id, _) = hub
            .listen([resource(0), Change::Tools], Some(begun))
            .unwrap();
        for ms in 0..15 {
            hub.changed(&resource(0), begun + Duration::from_millis(ms));
            hub.changed(&resource(1), begun);
        }
        assert_eq!(taken(&mut hub, id), [resource(0)]);
        assert_eq!(hub.next_due(), Some(begun + PAUSE));
        hub.tell_due(begun + PAUSE - Duration::from_nanos(1));
        assert_eq!(taken(&mut hub, id), []);
        hub.tell_due(begun + PAUSE);
        assert_eq!(
            (taken(&mut hub, id), hub.next_due()),
            (vec![resource(0)], None)
        );
    }

    #[test]
    fn who_begins_to_listen_is_told_what_changed_since_it_was_promised_to_hear() {
        let (mut hub, begun) = (hub(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        hub.changed(&resource(0), at(0));
        hub.changed(&resource(1), at(1));
        let (early, _) = hub.listen([resource(0), resource(1)], Some(at(1))).unwrap();
        assert_eq!(taken(&mut hub, early), [resource(1)]);
        // As soon as it cannot be known, all is told.
        (2..6).for_each(|n| hub.changed(&resource(n), at(2)));
        let (late, _) = hub.listen([resource(7), resource(8)], Some(at(1))).unwrap();
        assert_eq!(taken(&mut hub, late), [resource(7), resource(8)]);
        let (later, _) = hub.listen([resource(7)], Some(at(2))).unwrap();
        assert_eq!(taken(&mut hub, later), []);
    }

    #[test]
    fn a_loss_tells_all_that_is_listened_for_and_whoever_is_about_to_listen() {
        let (mut hub, begun) = (hub(), Instant::now());
        let (id, _) = hub
            .listen([resource(0), Change::Prompts], Some(begun))
            .unwrap();
        hub.lost(begun + PAUSE);
        assert_eq!(taken(&mut hub, id).len(), 2);
        let (id, _) = hub.listen([resource(5)], Some(begun)).unwrap();
        assert_eq!(taken(&mut hub, id), [resource(5)]);
    }

    #[test]
    fn no_more_listen_and_for_no_more_than_there_is_room_for() {
        let mut hub = Hub::new(Bounds {
            listeners_max: 2,
            bytes_max: 1_000,
            recent_max: 4,
            pause: PAUSE,
        });
        let many = || (0..8).map(resource);
        assert!(matches!(hub.listen(many(), None), Err(Full::Bytes(0))));
        let (first, _) = hub.listen([resource(0)], None).unwrap();
        hub.listen([resource(0)], None).unwrap();
        assert_eq!(
            hub.listen([resource(0)], None).unwrap_err(),
            Full::Listeners(2)
        );
        hub.leave(first);
        hub.listen([resource(0)], None).unwrap();
    }

    #[derive(Debug, Clone)]
    enum Step {
        Listen(Vec<usize>),
        Leave(usize),
        Add(usize, usize),
        Remove(usize, usize),
        Take(usize),
        Changed(usize),
        Lost,
        Later(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = prop::collection::vec(0..6_usize, 0..4);
        prop_oneof![
            1 => some.prop_map(Step::Listen),
            1 => (0..4_usize).prop_map(Step::Leave),
            2 => (0..4_usize, 0..6_usize).prop_map(|(id, n)| Step::Add(id, n)),
            2 => (0..4_usize, 0..6_usize).prop_map(|(id, n)| Step::Remove(id, n)),
            4 => (0..4_usize).prop_map(Step::Take),
            8 => (0..6_usize).prop_map(Step::Changed),
            1 => Just(Step::Lost),
            4 => (1..30_u64).prop_map(Step::Later),
        ]
    }

    /// What is to be told to one, as its client sees it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Tell {
        Not,
        /// Once more, since the pause after an earlier change is not over.
        Perhaps,
        Must,
    }

    proptest! {
        /// Whoever has listened since before a change is told of it after it, at the latest a pause later,
        /// and of nothing that has not changed; nothing of those that are gone is kept.
        #[test]
        fn whoever_listens_is_told_after_each_change(steps in prop::collection::vec(step(), 1..200)) {
            let (mut hub, mut now) = (hub(), Instant::now());
            let mut listeners: BTreeMap<Id, BTreeMap<Change, Tell>> = BTreeMap::new();
            let nth = |listeners: &BTreeMap<Id, _>, n| listeners.keys().nth(n).copied();
            let unless_due = |hub: &Hub, change: &Change| {
                let is_due = hub.due.iter().any(|(_, due)| due == change);
                if is_due { Tell::Perhaps } else { Tell::Not }
            };
            for step in steps {
                match step {
                    Step::Listen(own) => {
                        let own: Vec<_> = own.into_iter().map(resource).collect();
                        now += Duration::from_nanos(1);
                        let (id, _) = hub.listen(own.clone(), Some(now)).unwrap();
                        let own = own.into_iter().map(|change| (change.clone(), unless_due(&hub, &change)));
                        listeners.insert(id, own.collect());
                    }
                    Step::Leave(n) => if let Some(id) = nth(&listeners, n) {
                        hub.leave(id);
                        listeners.remove(&id);
                    }
                    Step::Add(n, what) => if let Some(id) = nth(&listeners, n)
                        && hub.add(id, resource(what)).unwrap()
                    {
                        let tell = unless_due(&hub, &resource(what));
                        // While it is told of everything that may be told, too.
                        let tell = match hub.listeners[id].all_from < hub.listeners[id].changes.len() {
                            true => Tell::Perhaps,
                            false => tell,
                        };
                        listeners.get_mut(&id).unwrap().insert(resource(what), tell);
                    }
                    Step::Remove(n, what) => if let Some(id) = nth(&listeners, n) {
                        hub.remove(id, &resource(what));
                        listeners.get_mut(&id).unwrap().remove(&resource(what));
                    }
                    Step::Take(n) => if let Some(id) = nth(&listeners, n)
                        && let Some(change) = hub.take(id)
                    {
                        prop_assert!(listeners[&id][&change] > Tell::Not, "a false alarm");
                        // Of one that is due not all was before it was taken.
                        let now = match unless_due(&hub, &change) {
                            Tell::Perhaps => listeners[&id][&change],
                            now => now,
                        };
                        listeners.get_mut(&id).unwrap().insert(change, now);
                    }
                    Step::Changed(n) => {
                        hub.changed(&resource(n), now);
                        let all = listeners.values_mut();
                        all.filter_map(|own| own.get_mut(&resource(n))).for_each(|own| *own = Tell::Must);
                    }
                    Step::Lost => {
                        hub.lost(now);
                        listeners.values_mut().flat_map(BTreeMap::values_mut).for_each(|own| *own = Tell::Must);
                    }
                    Step::Later(ms) => {
                        now += Duration::from_millis(ms);
                        hub.tell_due(now);
                    }
                }
            }
            hub.tell_due(now + PAUSE);
            prop_assert_eq!(hub.next_due(), None);
            for (id, own) in listeners {
                let told: BTreeSet<_> = taken(&mut hub, id).into_iter().collect();
                for (change, tell) in own {
                    let is_told = told.contains(&change);
                    prop_assert!(tell == Tell::Perhaps || is_told == (tell == Tell::Must), "{:?} {:?}", change, tell);
                }
                hub.leave(id);
            }
            prop_assert!(hub.watched.is_empty() && hub.due.is_empty() && hub.bytes == 0);
        }
    }
}
