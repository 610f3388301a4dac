use std::collections::BTreeMap;

/// What one subscriber got of all publishers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages that came, each counted once.
    pub(crate) distinct: u64,
    /// Messages that came another time.
    pub(crate) duplicated: u64,
    /// Messages that came after a later one of the same publisher.
    pub(crate) disordered: u64,
    /// Messages of publishers that publish on no topic of this subscriber.
    pub(crate) misdelivered: u64,
}

/// Checks the sequence numbers of each publisher, which count from 0 without a gap.
#[derive(Debug)]
pub(crate) struct Sequences {
    // So few that a look through them is faster than any map.
    publishers: Vec<(u32, Sequence)>,
    misdelivered: u64,
}

#[derive(Debug, Default)]
struct Sequence {
    /// The number after the highest that came.
    next: u64,
    /// What is missing below that: where each gap begins, and where it ends (exclusive).
    gaps: BTreeMap<u64, u64>,
    tally: Tally,
}

impl Sequences {
    /// For a subscriber that is to hear these publishers and no others.
    pub(crate) fn of(publishers: &[u32]) -> Self {
        let new = |publisher: &u32| (*publisher, Sequence::default());
        Self {
            publishers: publishers.iter().map(new).collect(),
            misdelivered: 0,
        }
    }

    /// Takes note of a message.
    pub(crate) fn note(&mut self, publisher: u32, sequence: u64) {
        let known = self.publishers.iter_mut().find(|(p, _)| *p == publisher);
        match known {
            Some((_, known)) => known.note(sequence),
            None => self.misdelivered += 1,
        }
    }

    /// What came of all publishers together. What is missing is known only to who knows how many
    /// were published.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally {
            misdelivered: self.misdelivered,
            ..Tally::default()
        };
        for (_, sequence) in &self.publishers {
            sum.distinct += sequence.tally.distinct;
            sum.duplicated += sequence.tally.duplicated;
            sum.disordered += sequence.tally.disordered;
        }
        sum
    }
}

impl Sequence {
    fn note(&mut self, sequence: u64) {
        if sequence >= self.next {
            if sequence > self.next {
                self.gaps.insert(self.next, sequence);
            }
            self.next = sequence + 1;
            self.tally.distinct += 1;
        } else if self.fill(sequence) {
            self.tally.distinct += 1;
            self.tally.disordered += 1;
        } else {
            self.tally.duplicated += 1;
        }
    }

    /// Takes a number out of the gap that it is missing in, if it is.
    fn fill(&mut self, sequence: u64) -> bool {
        let gap = self.gaps.range(..=sequence).next_back();
        let Some((start, end)) = gap.map(|(start, end)| (*start, *end)) else {
            return false;
        };
        if sequence >= end {
            return false;
        }
        self.gaps.remove(&start);
        if start < sequence {
            self.gaps.insert(start, sequence);
        }
        if sequence + 1 < end {
            self.gaps.insert(sequence + 1, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> (u64, u64, u64) {
        let mut sequences = Sequences::of(&[1, 2]);
        for number in numbers {
            sequences.note(1, *number);
        }
        let tally = sequences.tally();
        (tally.distinct, tally.duplicated, tally.disordered)
    }

    #[test]
    fn loss_duplication_and_disorder_are_told_apart() {
        assert_eq!(tally(&[0, 1, 2, 3]), (4, 0, 0));
        assert_eq!(tally(&[0, 3]), (2, 0, 0)); // 1 and 2 are lost
        assert_eq!(tally(&[0, 1, 1, 0, 2]), (3, 2, 0));
        assert_eq!(tally(&[0, 2, 1, 3]), (4, 0, 1));
        assert_eq!(tally(&[0, 2, 1, 1]), (3, 1, 1));
    }

    #[test]
    fn a_gap_is_filled_from_anywhere() {
        assert_eq!(tally(&[9, 4, 0, 8, 5, 5, 4, 0, 9]), (5, 4, 4));
        assert_eq!(tally(&[3, 2, 1, 0]), (4, 0, 3));
    }

    #[test]
    fn publishers_are_apart() {
        let mut sequences = Sequences::of(&[1, 2]);
        for publisher in [1, 2] {
            sequences.note(publisher, 0);
            sequences.note(publisher, 1);
        }
        sequences.note(3, 0);
        let tally = sequences.tally();
        assert_eq!((tally.distinct, tally.duplicated), (4, 0));
        assert_eq!(tally.misdelivered, 1);
    }
}
