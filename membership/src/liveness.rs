//! When a node counts as running.
//!
//! The failure detector beneath compares a silence with the mean of past intervals between
//! heartbeats. Eager gossip makes these very short for a while, after which it would take a node
//! that has merely become quiet for dead. So its word alone is enough for a node to be up, but to
//! be down the node must also have been silent for a least time, and a silence counts only while
//! this node was listening: one that was frozen itself takes nobody for dead on waking up.
//!
//! Most heartbeats come through others. A word that comes over the node's own link is a better sign,
//! and needs no second one.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of the heart of one incarnation of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Liveness {
    heartbeat: u64,
    /// When the heartbeat was last seen to advance.
    advanced: Instant,
    live: bool,
}

impl Liveness {
    /// A node that is heard of for the first time.
    pub(crate) fn new(heartbeat: u64, detected: bool, now: Instant) -> Self {
        Self {
            heartbeat,
            advanced: now,
            live: detected,
        }
    }

    /// Takes in that the node itself was heard then.
    pub(crate) fn heard(&mut self, at: Instant) {
        if at > self.advanced {
            self.advanced = at;
            self.live = true;
        }
    }

    /// Takes in the newest heartbeat and the detector's word; tells whether the node is live.
    pub(crate) fn observe(
        &mut self,
        heartbeat: u64,
        detected: bool,
        now: Instant,
        silence_min: Duration,
    ) -> bool {
        if heartbeat > self.heartbeat {
            self.heartbeat = heartbeat;
            self.advanced = now;
        }
        if detected {
            self.live = true;
        } else if now.duration_since(self.advanced) >= silence_min {
            self.live = false;
        }
        self.live
    }

    /// Counts the silence from now on.
    pub(crate) fn restart_silence(&mut self, now: Instant) {
        self.advanced = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE_MIN: Duration = Duration::from_secs(1);

    #[test]
    fn a_node_is_down_only_after_both_silence_and_verdict() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut node = Liveness::new(1, false, start);
        let mut observe =
            |heartbeat, detected, ms| node.observe(heartbeat, detected, after(ms), SILENCE_MIN);
        assert!(!observe(2, false, 100), "heard of is not yet up");
        assert!(observe(3, true, 200));
        assert!(observe(3, false, 1_199), "the verdict came too soon");
        assert!(observe(4, false, 1_300), "a heartbeat ends the silence");
        assert!(observe(4, true, 5_000), "the detector still waits");
        assert!(!observe(4, false, 5_001));
        assert!(
            !observe(5, false, 5_002),
            "one heartbeat is not enough to be up"
        );
        assert!(observe(6, true, 5_003));
    }

    #[test]
    fn a_node_that_is_heard_itself_is_up_at_once() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut node = Liveness::new(1, false, start);
        node.heard(after(10));
        assert!(node.observe(1, false, after(20), SILENCE_MIN));
        assert!(!node.observe(1, false, after(1_010), SILENCE_MIN));
        node.heard(after(10));
        assert!(!node.observe(1, false, after(1_020), SILENCE_MIN));
    }
}
