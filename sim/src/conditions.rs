use serde::{Deserialize, Serialize};

/// How a directed path through the network behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// The part of all packets that is lost, each by itself: 0 to 1.
    pub loss: f64,
    /// The part of all packets after which a burst begins, in which most are lost: 0 to 1.
    pub burst: f64,
    /// The least time a packet takes, in milliseconds.
    pub delay_ms: f64,
    /// How much longer it takes at most, in milliseconds; each packet by itself, so that they may
    /// overtake each other.
    pub jitter_ms: f64,
    /// The part of all packets that arrives twice: 0 to 1.
    pub duplicate: f64,
    /// What the path carries, in bytes a second; 0 is without limit. Packets queue for it, up to
    /// half a second, and are lost beyond.
    pub bytes_per_second: u64,
    /// The longest datagram that passes in one piece, in bytes, headers not counted.
    pub mtu: usize,
    /// Whether longer ones are cut into fragments, and lost when any of these is; otherwise they
    /// never arrive.
    pub fragments: bool,
}

impl Default for Conditions {
    /// A quiet local network.
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst: 0.0,
            delay_ms: 1.0,
            jitter_ms: 1.0,
            duplicate: 0.0,
            bytes_per_second: 0,
            mtu: 1472,
            fragments: false,
        }
    }
}

impl Conditions {
    /// The probability that a datagram of this length gets lost, outside a burst.
    pub(crate) fn loss_of(&self, bytes: usize, loss: f64) -> f64 {
        let pieces = bytes.div_ceil(self.mtu.max(1)).max(1);
        if pieces == 1 {
            loss
        } else if self.fragments {
            1.0 - (1.0 - loss).powi(i32::try_from(pieces).unwrap_or(i32::MAX))
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_datagram_is_lost_with_any_of_its_fragments() {
        let path = Conditions {
            mtu: 500,
            fragments: true,
            ..Conditions::default()
        };
        assert_eq!(path.loss_of(500, 0.1), 0.1);
        assert!((path.loss_of(1500, 0.1) - (1.0 - 0.9_f64.powi(3))).abs() < 1e-12);
        let strict = Conditions {
            fragments: false,
            ..path
        };
        assert_eq!(strict.loss_of(501, 0.0), 1.0);
    }
}
