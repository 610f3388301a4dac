use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_identity::NodeId;
use tokio::sync::Notify;

/// Frames that did not get from one node to another, as the one knows it that tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The other node.
    pub peer: NodeId,
    /// Which of the two should have received them.
    pub direction: Direction,
    /// How many they are. `None` when that cannot be known; there may be none, then.
    pub frames: Option<u64>,
}

/// Between a node and a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the peer to this node.
    Inbound,
    /// From this node to the peer.
    Outbound,
}

/// The gaps that have not been told yet. Those of one peer and direction are put together, so that
/// there are never more of them than two for each peer.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    untold: Mutex<BTreeMap<(NodeId, Direction), Option<u64>>>,
    /// Wakes whoever tells them.
    found: Notify,
}

impl Gaps {
    /// So many frames are missing, if that is known. True if it is not, and that is new to whoever is
    /// told.
    pub(crate) fn add(&self, peer: &NodeId, direction: Direction, frames: Option<u64>) -> bool {
        if frames == Some(0) {
            return false;
        }
        let mut untold = self.lock();
        let sum = untold.entry((peer.clone(), direction)).or_insert(Some(0));
        // What cannot be known stays so, whatever else is missing.
        let is_new = frames.is_none() && sum.is_some();
        *sum = sum.zip(frames).map(|(sum, more)| sum.saturating_add(more));
        drop(untold);
        self.found.notify_one();
        is_new
    }

    /// Waits until there are some, and takes them.
    pub(crate) async fn take(&self) -> Vec<Gap> {
        loop {
            let untold = std::mem::take(&mut *self.lock());
            if !untold.is_empty() {
                let gap = |((peer, direction), frames)| Gap {
                    peer,
                    direction,
                    frames,
                };
                return untold.into_iter().map(gap).collect();
            }
            self.found.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(NodeId, Direction), Option<u64>>> {
        // Nothing panics while the lock is held.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gaps_of_a_peer_add_up_until_they_are_taken() {
        let gaps = Gaps::default();
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        gaps.add(&a, Direction::Inbound, Some(0));
        gaps.add(&b, Direction::Inbound, Some(2));
        gaps.add(&b, Direction::Inbound, Some(3));
        gaps.add(&b, Direction::Outbound, Some(1));
        gaps.add(&b, Direction::Outbound, None);
        gaps.add(&b, Direction::Outbound, Some(1));
        let taken = gaps.take().await;
        let counts: Vec<_> = taken
            .iter()
            .map(|gap| (gap.direction, gap.frames))
            .collect();
        assert_eq!(
            counts,
            [(Direction::Inbound, Some(5)), (Direction::Outbound, None)]
        );
        gaps.add(&a, Direction::Inbound, Some(u64::MAX));
        gaps.add(&a, Direction::Inbound, Some(1));
        assert_eq!(gaps.take().await[0].frames, Some(u64::MAX));
    }
}
