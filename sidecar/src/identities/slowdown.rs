use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Who fails to show who it is, and how soon it may try again.
///
/// What one fails at from an address is slowed for that address and that identity alone, so a neighbour with a
/// wrong password holds up nobody else. All names that nobody has are one.
#[derive(Debug, Default)]
pub(super) struct Slowdown {
    failed: HashMap<Culprit, Failed>,
}

/// Who is slowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Culprit {
    from: IpAddr,
    identity: Option<Box<str>>,
}

#[derive(Debug)]
struct Failed {
    count: u32,
    last: Instant,
    /// When the next one has its turn.
    next: Instant,
}

impl Culprit {
    pub(super) fn new(from: IpAddr, identity: Option<&str>) -> Self {
        let from = match from.to_canonical() {
            // Who has one address has the whole network.
            IpAddr::V6(addr) => {
                let network = addr.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
            addr => addr,
        };
        Self {
            from,
            identity: identity.map(Box::from),
        }
    }
}

impl Slowdown {
    /// Takes a turn to try, or says when to ask again.
    pub(super) fn turn(&mut self, culprit: &Culprit, now: Instant) -> Result<(), Instant> {
        let Some(failed) = self.failed.get_mut(culprit) else {
            return Ok(());
        };
        if now < failed.next {
            return Err(failed.next);
        }
        if now.duration_since(failed.last) > REMEMBERED {
            self.failed.remove(culprit);
        } else {
            failed.next = now + failed.pause();
        }
        Ok(())
    }

    /// It has failed.
    pub(super) fn failed(&mut self, culprit: &Culprit, now: Instant) {
        if self.failed.len() >= CULPRITS_MAX && !self.failed.contains_key(culprit) {
            let oldest = self.failed.iter().min_by_key(|(_, failed)| failed.last);
            if let Some(oldest) = oldest.map(|(culprit, _)| culprit.clone()) {
                self.failed.remove(&oldest);
            }
        }
        let failed = self.failed.entry(culprit.clone()).or_insert(Failed {
            count: 0,
            last: now,
            next: now,
        });
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
        failed.next = now + failed.pause();
    }
}

impl Failed {
    fn pause(&self) -> Duration {
        let doubled = self.count.saturating_sub(1).min(16);
        PAUSE.saturating_mul(1 << doubled).min(PAUSE_MAX)
    }
}

/// After the first failure; it doubles with each.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_millis(3_200);
/// For how long a failure counts.
const REMEMBERED: Duration = Duration::from_secs(60);
/// When there are more, the one that failed longest ago is forgotten.
const CULPRITS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn culprit(from: &str, identity: Option<&str>) -> Culprit {
        Culprit::new(from.parse().unwrap(), identity)
    }

    #[test]
    fn each_failure_makes_the_next_attempt_wait_longer_up_to_a_bound() {
        let (mut slowdown, start) = (Slowdown::default(), Instant::now());
        let own = culprit("10.0.0.1", Some("a"));
        assert_eq!(slowdown.turn(&own, start), Ok(()));
        let mut now = start;
        let mut waited = Vec::new();
        for _ in 0..8 {
            slowdown.failed(&own, now);
            let next = slowdown.turn(&own, now).unwrap_err();
            waited.push((next - now).as_millis());
            now = next;
            assert_eq!(slowdown.turn(&own, now), Ok(()));
            let others = slowdown.turn(&own, now).unwrap_err();
            assert_eq!(
                others - now,
                next - (now - Duration::from_millis(waited[waited.len() - 1] as u64)),
                "one at a time"
            );
        }
        assert_eq!(waited, [100, 200, 400, 800, 1_600, 3_200, 3_200, 3_200]);
        for other in [
            culprit("10.0.0.2", Some("a")),
            culprit("10.0.0.1", Some("b")),
            culprit("10.0.0.1", None),
        ] {
            assert_eq!(slowdown.turn(&other, now), Ok(()), "{other:?}");
        }
        assert_eq!(slowdown.turn(&own, now + 2 * REMEMBERED), Ok(()));
        assert_eq!(
            slowdown.turn(&own, now + 2 * REMEMBERED),
            Ok(()),
            "forgotten"
        );
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        assert_eq!(culprit("::ffff:10.0.0.1", None), culprit("10.0.0.1", None));
        assert_eq!(
            culprit("2001:db8::1", None),
            culprit("2001:db8::2:3:4:5", None)
        );
        assert_ne!(
            culprit("2001:db8::1", None),
            culprit("2001:db8:0:1::1", None)
        );
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (mut slowdown, start) = (Slowdown::default(), Instant::now());
        let number = |n: usize| Culprit::new(Ipv6Addr::from_bits((n as u128) << 64).into(), None);
        for n in 0..2 * CULPRITS_MAX {
            slowdown.failed(&number(n), start + Duration::from_nanos(n as u64));
        }
        assert_eq!(slowdown.failed.len(), CULPRITS_MAX);
        let now = start + Duration::from_millis(1);
        assert!(slowdown.turn(&number(CULPRITS_MAX - 1), now).is_ok());
        assert!(slowdown.turn(&number(CULPRITS_MAX), now).is_err());
    }
}
