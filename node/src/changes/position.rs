use std::collections::BTreeMap;

use tidings_identity::{Incarnation, NodeId};

use super::number::ChangeNumber;

/// Up to which number the changes of each run of each node are known, of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    runs: BTreeMap<(NodeId, Incarnation), Progress>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    /// All up to this one.
    number: u64,
    /// What has come before what it follows: its number, by the number after which it comes.
    ahead: BTreeMap<u64, u64>,
}

impl Position {
    /// Notes a change that was received. It may have overtaken others, which are [missing](Self::is_missing_any)
    /// until they come.
    pub fn receive(&mut self, change: &ChangeNumber) {
        let run = (change.node.clone(), change.incarnation);
        let own = self.runs.entry(run).or_default();
        if change.number <= own.number {
            return;
        }
        if own.ahead.len() < AHEAD_MAX || change.after <= own.number {
            own.ahead.insert(change.after, change.number);
        }
        own.close_up();
    }

    /// Whether something was received, and what was published before it was not.
    pub fn is_missing_any(&self) -> bool {
        self.runs.values().any(|own| !own.ahead.is_empty())
    }

    /// All of this run is known up to this number.
    pub fn advance(&mut self, node: &NodeId, incarnation: Incarnation, number: u64) {
        let own = self.runs.entry((node.clone(), incarnation)).or_default();
        own.number = own.number.max(number);
        own.close_up();
    }

    /// Nothing more will be known of this run.
    pub fn forget(&mut self, node: &NodeId, incarnation: Incarnation) {
        self.runs.remove(&(node.clone(), incarnation));
    }

    /// Whether anything is known of a run, if only that it is there.
    pub fn has(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        self.runs.contains_key(&(node.clone(), incarnation))
    }

    /// Up to which number all of a run is known; 0 if nothing is.
    pub fn number(&self, node: &NodeId, incarnation: Incarnation) -> u64 {
        let own = self.runs.get(&(node.clone(), incarnation));
        own.map_or(0, |own| own.number)
    }

    /// The runs of which something is known, and up to which number all is.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, Incarnation, u64)> {
        let runs = self.runs.iter();
        runs.map(|((node, incarnation), own)| (node, *incarnation, own.number))
    }
}

impl Progress {
    /// Goes on over what has come before its time.
    fn close_up(&mut self) {
        while let Some(first) = self.ahead.first_entry()
            && *first.key() <= self.number
        {
            self.number = self.number.max(first.remove());
        }
    }
}

/// How many changes of a run may have overtaken others. Of more it is only known that some are missing.
const AHEAD_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(after: u64, number: u64) -> ChangeNumber {
        ChangeNumber {
            node: "n1".parse().unwrap(),
            incarnation: 7.into(),
            after,
            number,
        }
    }

    fn number(position: &Position) -> u64 {
        position.number(&"n1".parse().unwrap(), 7.into())
    }

    #[test]
    fn what_a_question_has_answered_is_missed_no_more() {
        let mut position = Position::default();
        position.receive(&change(0, 2));
        position.receive(&change(5, 9));
        assert!(position.is_missing_any() && number(&position) == 2);
        position.advance(&"n1".parse().unwrap(), 7.into(), 6);
        assert!(!position.is_missing_any() && number(&position) == 9);
        position.receive(&change(0, 2));
        assert_eq!(number(&position), 9);
    }

    #[test]
    fn who_overtakes_without_end_takes_no_more_room() {
        let mut position = Position::default();
        (1..10_000).for_each(|n| position.receive(&change(n, n + 1)));
        assert!(position.is_missing_any());
        assert_eq!(
            position.runs.values().next().unwrap().ahead.len(),
            AHEAD_MAX
        );
        position.receive(&change(0, 1));
        assert_eq!(number(&position), AHEAD_MAX as u64 + 1);
    }

    proptest! {
        /// In whatever order changes come, all are known when all have come; and none is passed over before.
        #[test]
        fn the_order_does_not_matter(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle(), lost in 0..30_usize) {
            let numbers: Vec<u64> = (0..20).map(|n| n * 3 + 1).collect();
            let mut position = Position::default();
            for at in order.into_iter().filter(|at| *at != lost) {
                let after = at.checked_sub(1).map_or(0, |before| numbers[before]);
                position.receive(&change(after, numbers[at]));
            }
            let known = match lost {
                0 => 0,
                lost => numbers[(lost - 1).min(19)],
            };
            prop_assert_eq!(number(&position), known);
            prop_assert_eq!(position.is_missing_any(), lost < 19);
        }
    }
}
