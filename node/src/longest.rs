/// Which of many is the longest, as they grow and shrink: a heap in which each knows its place.
///
/// They go by small numbers of the caller's. Asking costs nothing; a change costs steps with the
/// logarithm of how many there are, and none at all for one alone.
#[derive(Debug, Default)]
pub(crate) struct Longest {
    /// Lengths and whose they are. None is longer than the one at half its index.
    heap: Vec<(usize, usize)>,
    /// Where in the heap each is, by number; of those that are not in it, anything.
    places: Vec<usize>,
}

impl Longest {
    /// How many there are that are not empty.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The longest of those that are not empty.
    pub(crate) fn first(&self) -> Option<usize> {
        self.heap.first().map(|(_, number)| *number)
    }

    /// One of them is longer than before, and may have been empty.
    pub(crate) fn grown(&mut self, number: usize, was_empty: bool, length: usize) {
        if was_empty {
            if self.places.len() <= number {
                self.places.resize(number + 1, 0);
            }
            self.places[number] = self.heap.len();
            self.heap.push((length, number));
        } else {
            self.heap[self.places[number]].0 = length;
        }
        self.rise(self.places[number]);
    }

    /// One of them is shorter than before, and may be empty now.
    pub(crate) fn shrunk(&mut self, number: usize, length: usize) {
        let at = self.places[number];
        if length > 0 {
            self.heap[at].0 = length;
            self.sink(at);
            return;
        }
        self.heap.swap_remove(at);
        if let Some((_, moved)) = self.heap.get(at) {
            self.places[*moved] = at;
            self.rise(at);
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.heap[at].0 > self.heap[(at - 1) / 2].0 {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let below = [2 * at + 1, 2 * at + 2];
            let below = below.into_iter().filter(|below| *below < self.heap.len());
            match below.max_by_key(|below| self.heap[*below].0) {
                Some(below) if self.heap[below].0 > self.heap[at].0 => {
                    self.swap(at, below);
                    at = below;
                }
                _ => return,
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.places[self.heap[a].1] = a;
        self.places[self.heap[b].1] = b;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn none_is_longer_than_the_first(
            changes in prop::collection::vec((0_usize..12, 0_usize..20), 1..200),
        ) {
            let (mut longest, mut lengths) = (Longest::default(), [0; 12]);
            for (number, length) in changes {
                let was = std::mem::replace(&mut lengths[number], length);
                if length > was {
                    longest.grown(number, was == 0, length);
                } else if length < was {
                    longest.shrunk(number, length);
                }
                let most = lengths.into_iter().max().filter(|most| *most > 0);
                prop_assert_eq!(longest.first().map(|number| lengths[number]), most);
                prop_assert_eq!(longest.len(), lengths.iter().filter(|own| **own > 0).count());
            }
        }
    }
}
