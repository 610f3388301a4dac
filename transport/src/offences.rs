//! For how long a peer that broke the protocol gets no link.
//!
//! Each violation is followed by a *pause*, in which the peer is neither dialled nor let in, under any
//! run of it: 1 s after the first one, and twice as long each time, up to a minute. After five minutes
//! without a violation all is forgotten. So a peer that cannot do better costs a handshake a minute, and
//! one that was repaired is back soon.
//!
//! All is decided without I/O, clock or lock. There is an entry for each node that broke the protocol
//! lately, by the name in its certificate, so there are no more than nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings_identity::NodeId;
use tokio::time::Instant;

/// What peers did against the protocol lately.
#[derive(Debug, Default)]
pub(crate) struct Offences(BTreeMap<NodeId, Offence>);

#[derive(Debug)]
struct Offence {
    last: Instant,
    pause: Duration,
    logged: Instant,
    unlogged: u64,
}

/// What follows a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// For how long the peer gets no link.
    pub(crate) pause: Duration,
    /// It is to be logged, and with it how many violations of the peer were not.
    pub(crate) log: Option<u64>,
}

impl Offences {
    /// A peer has broken the protocol. `None` in a pause, when it cannot do so again: this is still
    /// what it did before.
    pub(crate) fn record(&mut self, peer: &NodeId, now: Instant) -> Option<Consequence> {
        self.0.retain(|_, offence| now < offence.last + MEMORY);
        let Some(offence) = self.0.get_mut(peer) else {
            let pause = PAUSE_MIN;
            let offence = Offence {
                last: now,
                pause,
                logged: now,
                unlogged: 0,
            };
            self.0.insert(peer.clone(), offence);
            let log = Some(0);
            return Some(Consequence { pause, log });
        };
        if now < offence.last + offence.pause {
            return None;
        }
        offence.last = now;
        offence.pause = (offence.pause * 2).min(PAUSE_MAX);
        let log = if now < offence.logged + SILENCE {
            offence.unlogged += 1;
            None
        } else {
            offence.logged = now;
            Some(std::mem::take(&mut offence.unlogged))
        };
        let pause = offence.pause;
        Some(Consequence { pause, log })
    }

    /// How much longer a peer gets no link, if it is in a pause.
    pub(crate) fn pause(&self, peer: &NodeId, now: Instant) -> Option<Duration> {
        let offence = self.0.get(peer)?;
        let left = (offence.last + offence.pause).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longer than the longest pause, so that who does it again right after that is known.
const MEMORY: Duration = Duration::from_secs(300);
/// How long further violations of a peer are not logged.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn each_violation_doubles_the_pause_up_to_a_minute_and_is_in_the_end_forgotten() {
        let (mut offences, mut now) = (Offences::default(), Instant::now());
        let bad = peer("bad");
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(offences.pause(&bad, now), None);
            assert_eq!(offences.record(&bad, now).unwrap().pause, pause);
            assert_eq!(offences.pause(&bad, now), Some(pause));
            now += pause;
        }
        // The last one was a minute ago.
        now += MEMORY - PAUSE_MAX - Duration::from_secs(1);
        assert_eq!(offences.record(&bad, now).unwrap().pause, PAUSE_MAX);
        now += MEMORY;
        assert_eq!(offences.record(&bad, now).unwrap().pause, PAUSE_MIN);
    }

    #[test]
    fn a_pause_is_that_of_one_peer_and_not_made_longer_by_what_is_found_in_it() {
        let (mut offences, now) = (Offences::default(), Instant::now());
        let half = PAUSE_MIN / 2;
        offences.record(&peer("bad"), now);
        assert_eq!(offences.record(&peer("bad"), now + half), None);
        assert_eq!(offences.pause(&peer("bad"), now + half), Some(half));
        assert_eq!(offences.pause(&peer("bad"), now + PAUSE_MIN), None);
        assert_eq!(offences.pause(&peer("good"), now), None);
    }

    #[test]
    fn a_peer_is_logged_once_a_minute_with_what_was_not() {
        let (mut offences, start) = (Offences::default(), Instant::now());
        let mut log = |peer: &NodeId, seconds| {
            let now = start + Duration::from_secs(seconds);
            offences.record(peer, now).unwrap().log
        };
        assert_eq!(log(&peer("bad"), 0), Some(0));
        assert_eq!(log(&peer("bad"), 1), None);
        assert_eq!(log(&peer("other"), 2), Some(0));
        assert_eq!(log(&peer("bad"), 3), None);
        assert_eq!(log(&peer("bad"), 60), Some(2));
        assert_eq!(log(&peer("bad"), 119), None);
    }

    #[test]
    fn what_is_forgotten_takes_no_room() {
        let (mut offences, now) = (Offences::default(), Instant::now());
        for n in 0..100 {
            offences.record(&peer(&format!("n{n}")), now);
        }
        offences.record(&peer("later"), now + MEMORY);
        assert_eq!(offences.0.len(), 1);
    }
}
