use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Rare situations that runs should come across now and then, and how often they did. A batch of
/// runs in which one never occurred has not tested what it claims to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sometimes {
    counts: BTreeMap<String, u64>,
}

/// All of them.
pub const SITUATIONS: [&str; 43] = [
    "assured message came again",
    "assured message refused",
    "assured message sent again",
    "assured message timed out",
    "assured message to a node that was lost",
    "assured message to one that died",
    "assured message to one that left",
    "barrier lacked a node",
    "barrier passed",
    "certificate expired",
    "crash during a split",
    "cut during a handshake",
    "dead node forgotten",
    "frames lost with a link",
    "frames waited for a forgotten peer",
    "host frozen beyond detection",
    "leave during a split",
    "lie left out of a message",
    "lie refused",
    "liar paused",
    "listener told of a change",
    "live node taken for dead",
    "mailbox overflow",
    "member says something else",
    "message dropped rather than waited for",
    "messages to an earlier run dropped",
    "question answered",
    "question passed on to another of a queue group",
    "question put to all members",
    "question that nobody listens to",
    "question unanswered",
    "queue to a peer full",
    "node stays down",
    "omission told",
    "publisher made to wait",
    "restart before detection",
    "session cut off",
    "simultaneous dial",
    "split into three or more",
    "stream aborted",
    "stream followed to its end",
    "stream out of reach",
    "wildcard member",
];

impl Default for Sometimes {
    fn default() -> Self {
        Self {
            counts: SITUATIONS
                .into_iter()
                .map(|situation| (situation.into(), 0))
                .collect(),
        }
    }
}

impl Sometimes {
    /// It occurred so many times.
    pub fn add(&mut self, situation: &str, times: u64) {
        let count = self.counts.get_mut(situation);
        *count.expect("every situation is in the list") += times;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        other
            .counts
            .iter()
            .for_each(|(situation, times)| self.add(situation, *times));
    }

    /// Those that never occurred.
    pub fn never(&self) -> Vec<&str> {
        self.counts
            .iter()
            .filter(|(_, times)| **times == 0)
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// All with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts
            .iter()
            .map(|(situation, times)| (situation.as_str(), *times))
    }
}
