use tidings_identity::Incarnation;

use std::net::SocketAddr;
use std::time::Duration;

/// How one transport behaves. Nodes of a cluster may differ in everything here.
///
/// [`Config::new`] gives defaults that suit a LAN; change fields before [`Transport::start`],
/// which refuses values out of bounds.
///
/// [`Transport::start`]: crate::Transport::start
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the UDP socket. Port 0 takes any free one.
    pub listen: SocketAddr,

    /// Address under which other nodes reach this one. By default the address that `listen` was
    /// bound to; needed when that is unspecified (`0.0.0.0`, `::`) or behind a translation.
    pub advertise: Option<SocketAddr>,

    /// This run of the node. Must be higher than that of any earlier run under the same name:
    /// peers replace the links of a lower incarnation and refuse to go back.
    pub incarnation: Incarnation,

    /// Data lanes to each peer, 1 to 16, default 4. More lanes let more large messages travel side
    /// by side; each costs two tasks and a stream on every link.
    pub lanes: u8,

    /// Bytes that may wait in the outbound buffer of one lane to one peer, default 16 MiB, at least
    /// `frame_bytes_max` + 4. When it is full a new frame is dropped and counted. Worst-case
    /// memory is this times lanes times peers.
    pub outbound_bytes_max: usize,

    /// Largest frame, sent or received, in bytes; default 1 MiB + 64 KiB, up to 256 MiB. A larger
    /// one is refused at the sender; received, it is a violation that closes the link.
    pub frame_bytes_max: usize,

    /// Largest message on the control stream in bytes, default 128 KiB, 1 KiB to 1 MiB. Longer
    /// gossip is dropped at the sender; received, it is a violation that closes the link.
    pub control_bytes_max: usize,

    /// A link on which nothing arrives for this long is lost; default 5 s, 100 ms to 5 min.
    /// Shorter notices a dead peer earlier and gives up sooner in a short disturbance.
    pub idle_timeout: Duration,

    /// An otherwise silent link is kept alive with a packet this often; default 1 s, at most half
    /// of `idle_timeout`.
    pub keep_alive: Duration,

    /// Time for one attempt to bring up a link, from the first packet to the last Hello; default
    /// 2 s, 50 ms to 1 min.
    pub handshake_timeout: Duration,

    /// Wait after the first failed dial, default 50 ms, at least 1 ms. Doubles with each failure
    /// up to `redial_max`; the actual wait is a random 50 to 100 % of it, so that nodes do not
    /// dial in step.
    pub redial_min: Duration,

    /// Longest wait between two dials, default 1 s, at least `redial_min`. It bounds how long
    /// after the end of a partition a link may take to come back.
    pub redial_max: Duration,

    /// Bytes a peer may send on one stream before we have read them, default 4 MiB, 64 KiB to
    /// 1 GiB. Bounds the speed of one lane to this many bytes per round trip.
    pub stream_window_bytes: u32,

    /// Bytes a peer may send on all streams of a link before we have read them, default 16 MiB,
    /// at least `stream_window_bytes`, at most 1 GiB. Lanes are always drained, so this bounds
    /// the memory of reassembly after packet loss.
    pub link_window_bytes: u32,

    /// Bytes handed to QUIC and not acknowledged, per link; default 8 MiB, 64 KiB to 1 GiB. Comes
    /// on top of the outbound buffers, and is what a broken link can lose.
    pub send_window_bytes: u32,
}

/// A field of [`Config`] that is out of bounds. Nothing has been started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {bounds}")]
pub struct ConfigError {
    /// Name of the field.
    pub field: &'static str,
    /// What it must be, in words.
    pub bounds: &'static str,
}

/// Highest number of lanes a node can open to a peer.
pub(crate) const LANES_MAX: u8 = 16;

impl Config {
    /// Defaults for a node that listens on `listen` in its run `incarnation`.
    pub fn new(listen: SocketAddr, incarnation: Incarnation) -> Self {
        Self {
            listen,
            advertise: None,
            incarnation,
            lanes: 4,
            outbound_bytes_max: 16 << 20,
            frame_bytes_max: (1 << 20) + (64 << 10),
            control_bytes_max: 128 << 10,
            idle_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(2),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_secs(1),
            stream_window_bytes: 4 << 20,
            link_window_bytes: 16 << 20,
            send_window_bytes: 8 << 20,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        const KIB: usize = 1 << 10;
        const WINDOWS: std::ops::RangeInclusive<u32> = 64 << 10..=1 << 30;
        let millis = Duration::from_millis;
        let rules = [
            ("lanes", "1 to 16", (1..=LANES_MAX).contains(&self.lanes)),
            (
                "frame_bytes_max",
                "1 byte to 256 MiB",
                (1..=256 << 20).contains(&self.frame_bytes_max),
            ),
            (
                "outbound_bytes_max",
                "at least frame_bytes_max + 4",
                self.outbound_bytes_max >= self.frame_bytes_max.saturating_add(4),
            ),
            (
                "control_bytes_max",
                "1 KiB to 1 MiB",
                (KIB..=KIB * KIB).contains(&self.control_bytes_max),
            ),
            (
                "idle_timeout",
                "100 ms to 5 min",
                (millis(100)..=millis(300_000)).contains(&self.idle_timeout),
            ),
            (
                "keep_alive",
                "above zero and at most half of idle_timeout",
                !self.keep_alive.is_zero() && self.keep_alive <= self.idle_timeout / 2,
            ),
            (
                "handshake_timeout",
                "50 ms to 1 min",
                (millis(50)..=millis(60_000)).contains(&self.handshake_timeout),
            ),
            ("redial_min", "at least 1 ms", self.redial_min >= millis(1)),
            (
                "redial_max",
                "at least redial_min and at most 1 h",
                (self.redial_min..=millis(3_600_000)).contains(&self.redial_max),
            ),
            (
                "stream_window_bytes",
                "64 KiB to 1 GiB",
                WINDOWS.contains(&self.stream_window_bytes),
            ),
            (
                "link_window_bytes",
                "at least stream_window_bytes and at most 1 GiB",
                (self.stream_window_bytes..=1 << 30).contains(&self.link_window_bytes),
            ),
            (
                "send_window_bytes",
                "64 KiB to 1 GiB",
                WINDOWS.contains(&self.send_window_bytes),
            ),
        ];
        match rules.into_iter().find(|(_, _, holds)| !holds) {
            Some((field, bounds, _)) => Err(ConfigError { field, bounds }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(([127, 0, 0, 1], 0).into(), 1.into())
    }

    #[test]
    fn defaults_are_within_bounds() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn a_value_out_of_bounds_is_named() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().field
        };
        assert_eq!(refused(|c| c.lanes = 0), "lanes");
        assert_eq!(refused(|c| c.lanes = 17), "lanes");
        assert_eq!(refused(|c| c.outbound_bytes_max = 9), "outbound_bytes_max");
        assert_eq!(refused(|c| c.keep_alive = c.idle_timeout), "keep_alive");
        assert_eq!(refused(|c| c.redial_max = Duration::ZERO), "redial_max");
        assert_eq!(refused(|c| c.link_window_bytes = 1), "link_window_bytes");
    }
}
