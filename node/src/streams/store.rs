//! The streams of a node, and how much of them is kept. No I/O and no clock: it is told the time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings_membership::Scope;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::prefix::{Piece, Prefix};
use super::stream_end::StreamEnd;

/// The bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) streams_max: usize,
    pub(crate) stream_bytes_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) kept: Duration,
}

/// The streams of this run of a node.
#[derive(Debug)]
pub(crate) struct Store {
    bounds: Bounds,
    last: u64,
    streams: BTreeMap<u64, Kept>,
    /// Those that have ended, in the order in which they did.
    ended: VecDeque<(Instant, u64)>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    scope: Scope,
    prefix: Prefix,
    /// Told whenever there is more to read, or it is forgotten.
    changed: Arc<Notify>,
}

impl Store {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            last: 0,
            streams: BTreeMap::new(),
            ended: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Begins a stream, and gives it a number. None if there are too many, and none of them has ended.
    pub(crate) fn open(&mut self, scope: Scope, now: Instant) -> Option<u64> {
        self.expire(now);
        if self.streams.len() >= self.bounds.streams_max && !self.forget_oldest() {
            return None;
        }
        self.last += 1;
        let kept = Kept {
            scope,
            prefix: Prefix::default(),
            changed: Arc::default(),
        };
        self.streams.insert(self.last, kept);
        Some(self.last)
    }

    /// Adds a chunk to a stream. Returns how many it has then.
    pub(crate) fn push(&mut self, number: u64, chunk: Bytes) -> u64 {
        let max = self.bounds.stream_bytes_max;
        let Some(kept) = self.streams.get_mut(&number) else {
            return 0;
        };
        let before = kept.prefix.bytes();
        kept.prefix.push(chunk);
        while kept.prefix.bytes() > max {
            kept.prefix.drop_oldest();
        }
        self.bytes = self.bytes + kept.prefix.bytes() - before;
        let (written, changed) = (kept.prefix.written(), Arc::clone(&kept.changed));
        self.make_room();
        changed.notify_waiters();
        written
    }

    /// How many chunks it has had.
    pub(crate) fn written(&self, number: u64) -> u64 {
        let kept = self.streams.get(&number);
        kept.map_or(0, |kept| kept.prefix.written())
    }

    /// Ends a stream. Returns how many chunks it has had.
    pub(crate) fn end(&mut self, number: u64, end: StreamEnd, now: Instant) -> u64 {
        let Some(kept) = self.streams.get_mut(&number) else {
            return 0;
        };
        if !kept.prefix.has_ended() {
            kept.prefix.end(end);
            self.ended.push_back((now, number));
        }
        kept.changed.notify_waiters();
        kept.prefix.written()
    }

    /// What follows on the first `from` chunks of a stream of this scope; none if there is no such stream.
    pub(crate) fn read(&self, scope: &Scope, number: u64, from: u64) -> Option<Piece> {
        Some(self.kept(scope, number)?.prefix.read(from))
    }

    /// What is told whenever there is more of it to read; none if there is no such stream.
    pub(crate) fn changed(&self, scope: &Scope, number: u64) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.kept(scope, number)?.changed))
    }

    /// Forgets those that ended long enough ago.
    pub(crate) fn expire(&mut self, now: Instant) {
        let kept = self.bounds.kept;
        while self
            .ended
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) >= kept)
        {
            self.forget_oldest();
        }
    }

    fn kept(&self, scope: &Scope, number: u64) -> Option<&Kept> {
        self.streams
            .get(&number)
            .filter(|kept| kept.scope == *scope)
    }

    /// Forgets the one that ended first. False if none has.
    fn forget_oldest(&mut self) -> bool {
        let Some((_, number)) = self.ended.pop_front() else {
            return false;
        };
        if let Some(kept) = self.streams.remove(&number) {
            self.bytes -= kept.prefix.bytes();
            kept.changed.notify_waiters();
        }
        true
    }

    /// Forgets and drops until it is no more than may be kept.
    fn make_room(&mut self) {
        while self.bytes > self.bounds.bytes_max {
            if self.forget_oldest() {
                continue;
            }
            let sizes = self.streams.values_mut();
            let Some(largest) = sizes.max_by_key(|kept| kept.prefix.bytes()) else {
                return;
            };
            let before = largest.prefix.bytes();
            largest.prefix.drop_oldest();
            self.bytes = self.bytes + largest.prefix.bytes() - before;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prefix::CHUNK_COST;
    use super::*;

    const BOUNDS: Bounds = Bounds {
        streams_max: 4,
        stream_bytes_max: 5 * (CHUNK_COST + 1),
        bytes_max: 12 * (CHUNK_COST + 1),
        kept: Duration::from_secs(10),
    };

    #[derive(Debug, Clone)]
    enum Deed {
        Open,
        Push(u64),
        End(u64),
        Wait(u64),
    }

    fn arb_deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            1 => Just(Deed::Open),
            6 => (1_u64..12).prop_map(Deed::Push),
            1 => (1_u64..12).prop_map(Deed::End),
            1 => (1_u64..6).prop_map(Deed::Wait),
        ]
    }

    fn scope() -> Scope {
        Scope::default()
    }

    proptest! {
        /// Whatever is opened, written and ended: it keeps to its bounds, forgets only what has ended, and
        /// what it gives is what was written.
        #[test]
        fn what_is_kept_is_bounded_and_true(deeds in proptest::collection::vec(arb_deed(), 0..120)) {
            let (mut store, mut now) = (Store::new(BOUNDS), Instant::now());
            let mut written: BTreeMap<u64, (Vec<Bytes>, bool)> = BTreeMap::new();
            for deed in deeds {
                match deed {
                    Deed::Open => {
                        let open = written.values().filter(|(_, ended)| !ended).count();
                        let number = store.open(scope(), now);
                        prop_assert_eq!(number.is_none(), open == BOUNDS.streams_max);
                        written.extend(number.map(|number| (number, Default::default())));
                    }
                    Deed::Push(number) => {
                        if let Some((chunks, false)) = written.get_mut(&number) {
                            let chunk = Bytes::from(vec![u8::try_from(chunks.len()).unwrap()]);
                            chunks.push(chunk.clone());
                            prop_assert_eq!(store.push(number, chunk), chunks.len() as u64);
                        }
                    }
                    Deed::End(number) => {
                        if let Some((_, ended)) = written.get_mut(&number) {
                            *ended = true;
                            store.end(number, StreamEnd::Complete, now);
                        }
                    }
                    Deed::Wait(seconds) => {
                        now += Duration::from_secs(seconds);
                        store.expire(now);
                    }
                }
                prop_assert!(store.bytes <= BOUNDS.bytes_max);
                prop_assert!(store.streams.len() <= BOUNDS.streams_max);
                let bytes: usize = store.streams.values().map(|kept| kept.prefix.bytes()).sum();
                prop_assert_eq!(store.bytes, bytes);
                for (number, (chunks, has_ended)) in &written {
                    let Some(piece) = store.read(&scope(), *number, 0) else {
                        prop_assert!(has_ended, "one that goes on was forgotten");
                        continue;
                    };
                    let at = usize::try_from(piece.at).unwrap();
                    prop_assert_eq!(&piece.chunks[..], &chunks[at..]);
                    prop_assert_eq!(piece.end.is_some(), *has_ended);
                }
            }
        }
    }

    #[test]
    fn a_stream_can_be_read_in_its_scope_until_some_time_after_its_end() {
        let (mut store, now) = (Store::new(BOUNDS), Instant::now());
        let number = store.open(scope(), now).unwrap();
        store.push(number, "a".into());
        assert!(store.read(&"other".parse().unwrap(), number, 0).is_none());
        store.expire(now + 2 * BOUNDS.kept);
        assert!(store.read(&scope(), number, 0).is_some(), "it goes on");
        store.end(number, StreamEnd::Complete, now);
        store.end(number, StreamEnd::Aborted, now);
        let piece = store.read(&scope(), number, 0).unwrap();
        assert_eq!(piece.end, Some(StreamEnd::Complete), "the first end counts");
        store.expire(now + BOUNDS.kept - Duration::from_millis(1));
        assert!(store.read(&scope(), number, 0).is_some());
        store.expire(now + BOUNDS.kept);
        assert!(store.read(&scope(), number, 0).is_none());
    }

    #[test]
    fn the_largest_gives_way_if_none_has_ended() {
        let (mut store, now) = (Store::new(BOUNDS), Instant::now());
        let numbers: Vec<u64> = (0..3).map(|_| store.open(scope(), now).unwrap()).collect();
        for _ in 0..4 {
            store.push(numbers[0], "x".into());
        }
        for _ in 0..5 {
            store.push(numbers[1], "x".into());
        }
        let begins = |store: &Store, n: usize| store.read(&scope(), numbers[n], 0).unwrap().at;
        for _ in 0..4 {
            store.push(numbers[2], "x".into());
        }
        let dropped = [0, 1, 2].map(|n| begins(&store, n));
        assert_eq!(dropped, [0, 1, 0]);
    }
}
