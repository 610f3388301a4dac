use std::collections::BTreeMap;

use tidings_identity::NodeId;

use crate::event::Event;

/// All messages that were ever found missing on the way from one node to another. As many entries as
/// this node has had peers, twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gaps(BTreeMap<(NodeId, NodeId), Missing>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Missing {
    messages: u64,
    /// How often it was not known how many.
    unknown: u64,
}

impl Gaps {
    /// So many more are missing on the way from the first to the second.
    pub(crate) fn add(&mut self, between: (NodeId, NodeId), messages: Option<u64>) {
        let missing = self.0.entry(between).or_default();
        match messages {
            Some(more) => missing.messages = missing.messages.saturating_add(more),
            None => missing.unknown += 1,
        }
    }

    /// What was found missing since these.
    pub(crate) fn since(&self, before: &Self) -> impl Iterator<Item = Event> {
        self.0.iter().filter_map(|(between, missing)| {
            let told = before.0.get(between).copied().unwrap_or_default();
            let (from, to) = between.clone();
            let messages = missing.messages - told.messages;
            let frames = (missing.unknown == told.unknown).then_some(messages);
            (*missing != told).then_some(Event::Gap { from, to, frames })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_is_told_the_sum_of_what_is_missing() {
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let between = || (a.clone(), b.clone());
        let told = |gaps: &Gaps, before: &Gaps| {
            let frames = gaps.since(before).map(|event| match event {
                Event::Gap { from, to, frames } if (&from, &to) == (&a, &b) => frames,
                other => panic!("{other:?}"),
            });
            frames.collect::<Vec<_>>()
        };
        let mut gaps = Gaps::default();
        gaps.add(between(), Some(2));
        gaps.add(between(), Some(3));
        assert_eq!(told(&gaps, &Gaps::default()), [Some(5)]);
        let before = gaps.clone();
        assert_eq!(told(&gaps, &before), []);
        gaps.add(between(), Some(1));
        assert_eq!(told(&gaps, &before), [Some(1)]);
        gaps.add(between(), None);
        assert_eq!(told(&gaps, &before), [None]);
        let before = gaps.clone();
        gaps.add(between(), Some(u64::MAX));
        gaps.add(between(), Some(u64::MAX));
        assert_eq!(told(&gaps, &before), [Some(u64::MAX - 6)]);
    }
}
