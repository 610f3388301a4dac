use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::conditions::Conditions;
use crate::seed;

/// How long packets queue for a slow path at most.
const QUEUE_MAX: Duration = Duration::from_millis(500);
/// How likely a burst of losses ends with each packet, and what part of them is lost in it.
const BURST_END: f64 = 0.1;
const BURST_LOSS: f64 = 0.8;

/// One direction between two hosts.
#[derive(Debug)]
pub(crate) struct Path {
    random: ChaCha8Rng,
    pub(crate) conditions: Conditions,
    in_burst: bool,
    /// When a slow path has carried all that queues for it.
    free_at: Instant,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives then, and once more if there is a second time.
    Arrives(Instant, Option<Instant>),
    Lost,
}

impl Path {
    pub(crate) fn new(run: u64, from: usize, to: usize, now: Instant) -> Self {
        Self {
            random: seed::stream(run, "path", &[from as u64, to as u64]),
            conditions: Conditions::default(),
            in_burst: false,
            free_at: now,
        }
    }

    /// Decides what becomes of a packet that is sent now.
    pub(crate) fn send(&mut self, bytes: usize, now: Instant) -> Fate {
        // Always the same number of draws for a packet, so that conditions which one run has and
        // another has not do not change the luck of the packets after.
        let [loss, burst, jitter, again, later]: [f64; 5] = self.random.random();
        let conditions = &self.conditions;
        self.in_burst = match self.in_burst {
            // Where there are no bursts any more, the last one is over as well.
            true => conditions.burst > 0.0 && burst >= BURST_END,
            false => burst < conditions.burst,
        };
        let rate = if self.in_burst {
            BURST_LOSS.max(conditions.loss)
        } else {
            conditions.loss
        };
        if loss < conditions.loss_of(bytes, rate) {
            return Fate::Lost;
        }
        let mut leaves = now;
        if conditions.bytes_per_second > 0 {
            let begins = self.free_at.max(now);
            if begins.duration_since(now) > QUEUE_MAX {
                return Fate::Lost;
            }
            let takes = bytes as f64 / conditions.bytes_per_second as f64;
            self.free_at = begins + Duration::from_secs_f64(takes);
            leaves = self.free_at;
        }
        let millis = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        let at = leaves + millis(conditions.delay_ms + conditions.jitter_ms * jitter);
        let twin = (again < conditions.duplicate)
            .then(|| at + millis((conditions.delay_ms + conditions.jitter_ms) * later));
        Fate::Arrives(at, twin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(conditions: Conditions, packets: usize) -> Vec<Fate> {
        let now = Instant::now();
        let mut path = Path {
            conditions,
            ..Path::new(1, 0, 1, now)
        };
        (0..packets).map(|_| path.send(1000, now)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_luck_of_a_packet_does_not_depend_on_conditions() {
        let quiet = arrivals(Conditions::default(), 100);
        let lossy = arrivals(
            Conditions {
                loss: 0.3,
                ..Conditions::default()
            },
            100,
        );
        let lost = lossy.iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((10..50).contains(&lost), "{lost} of 100");
        for (quiet, lossy) in quiet.iter().zip(&lossy) {
            assert!(quiet == lossy || *lossy == Fate::Lost);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_path_queues_and_then_drops() {
        let slow = Conditions {
            bytes_per_second: 10_000,
            jitter_ms: 0.0,
            ..Conditions::default()
        };
        let fates = arrivals(slow, 10);
        let arrived: Vec<_> = fates.iter().filter(|fate| **fate != Fate::Lost).collect();
        // A tenth of a second each, until more than half a second waits.
        assert_eq!(arrived.len(), 6, "{fates:?}");
    }
}
