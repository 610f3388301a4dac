use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many bytes may wait on a node at a time, whatever they wait for: one bound for all mailboxes,
/// lanes and buffers of clients.
///
/// Who wants to hold more asks first, and is refused when it has more than is left free. So one alone
/// has at most half, two a third each, n one part in n + 1, and always the largest gives way. An eighth
/// is set aside for those who hold nothing yet.
///
/// What is not asked for is held all the same, and counts: the bound is one of those who ask.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
}

/// What one holder has of a [`Budget`]. Dropping it gives all back.
///
/// It is taken from the budget in pieces of some KiB, so that small changes cost nothing.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
    taken: usize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            held: AtomicUsize::new(0),
        }
    }

    /// A part of it, which is nothing yet.
    pub fn part(self: &Arc<Self>) -> Held {
        Held {
            budget: Arc::clone(self),
            bytes: 0,
            taken: 0,
        }
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Whether somebody who holds `own` bytes may have so many more.
    pub fn admits(&self, own: usize, bytes: usize) -> bool {
        let free = self.free(own);
        bytes <= free && own <= free
    }

    /// With how many bytes somebody who holds `own` now would have no more than is left free.
    pub fn share(&self, own: usize) -> usize {
        own.saturating_add(self.free(own)) / 2
    }

    /// Somebody holds so many more.
    pub fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
    }

    /// Somebody holds so many less.
    pub fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    fn free(&self, own: usize) -> usize {
        let set_aside = if own > 0 {
            self.bytes_max / SET_ASIDE
        } else {
            0
        };
        (self.bytes_max - set_aside).saturating_sub(self.held())
    }
}

impl Held {
    /// How many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it may become so many bytes more.
    pub fn admits(&self, bytes: usize) -> bool {
        self.budget.admits(self.bytes, bytes)
    }

    /// How many bytes it may become, as things stand.
    pub fn share(&self) -> usize {
        self.budget.share(self.bytes)
    }

    /// It is so many bytes from now on, whether there is room for them or not.
    pub fn set(&mut self, bytes: usize) {
        self.bytes = bytes;
        if bytes > self.taken || bytes + 2 * PIECE_BYTES < self.taken {
            let taken = bytes.next_multiple_of(PIECE_BYTES);
            // Never less than there is in between.
            if taken > self.taken {
                self.budget.take(taken - self.taken);
            } else {
                self.budget.give_back(self.taken - taken);
            }
            self.taken = taken;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

/// Such a part of a budget is for those who hold nothing.
const SET_ASIDE: usize = 8;
const PIECE_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 8 << 20;

    fn fill(held: &mut Held, bytes: usize) {
        while held.admits(bytes) {
            held.set(held.bytes() + bytes);
        }
    }

    #[test]
    fn who_takes_all_it_can_leaves_room_for_the_next() {
        let budget = Arc::new(Budget::new(BYTES_MAX));
        let mut parts: Vec<Held> = (0..3).map(|_| budget.part()).collect();
        let for_all = BYTES_MAX / 8 * 7;
        for (n, count) in [(0, 2), (1, 3), (2, 4)] {
            let before: usize = parts[..n].iter().map(Held::bytes).sum();
            fill(&mut parts[n], 1_000);
            let share = (for_all - before) / 2;
            let off = parts[n].bytes().abs_diff(share);
            assert!(
                off <= 2 * PIECE_BYTES,
                "{count}: {} of {share}",
                parts[n].bytes()
            );
            assert!(!parts[0].admits(1_000), "the largest has no more");
        }
        // An eighth is left for a hundred who have nothing.
        let mut others: Vec<Held> = (0..100).map(|_| budget.part()).collect();
        for part in &mut others {
            assert!(part.admits(8_000));
            part.set(8_000);
        }
        drop((parts, others));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn the_share_of_one_alone_stays_the_same_while_it_fills_it() {
        let budget = Arc::new(Budget::new(BYTES_MAX));
        let mut part = budget.part();
        part.set(PIECE_BYTES);
        let share = part.share();
        fill(&mut part, 1_000);
        assert!(part.share().abs_diff(share) <= PIECE_BYTES);
        assert!(part.bytes().abs_diff(share) <= 2 * PIECE_BYTES);
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_sum_of_the_parts(sizes in prop::collection::vec((0..3_usize, 0..100_000_usize), 0..60)) {
            let budget = Arc::new(Budget::new(BYTES_MAX));
            let mut parts: Vec<Held> = (0..3).map(|_| budget.part()).collect();
            for (part, bytes) in sizes {
                parts[part].set(bytes);
                let sum: usize = parts.iter().map(Held::bytes).sum();
                prop_assert!(budget.held() >= sum);
                prop_assert!(budget.held() <= sum + 3 * 3 * PIECE_BYTES);
            }
        }
    }
}
