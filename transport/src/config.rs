use serde::{Deserialize, Serialize};
use tidings_bounds::{Count, Time};

use crate::frame::LENGTH_BYTES;

/// How the links of a node behave. Nodes of a cluster may differ in everything here.
///
/// The defaults suit a LAN. Each field keeps its own bounds; what must fit together is checked by
/// [`check`](Self::check).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Data lanes to each peer, among which publishers are spread: 1 to 16, default 4. More lanes
    /// let more large messages travel side by side; each costs two tasks and a stream on every
    /// link.
    pub lanes: Count<1, { LANES_MAX as usize }>,

    /// Bytes that may wait in the outbound buffer of one lane to one peer: 1 KiB to 2 GiB and at
    /// least the largest frame + 4, default 16 MiB. One publisher may take as much of it as is left
    /// free. A frame that finds no room is dropped and counted. Worst-case memory is this times lanes times peers.
    pub outbound_bytes_max: Count<{ 1 << 10 }, { 1 << 31 }>,

    /// Largest message on the control stream in bytes: 1 KiB to 1 MiB, default 128 KiB. Longer
    /// gossip is dropped at the sender; received, it is a violation that closes the link. Up to
    /// 64 KiB are always read, which is the longest answer to a question.
    pub control_bytes_max: Count<{ 1 << 10 }, { 1 << 20 }>,

    /// A link on which nothing arrives for this long is lost: 100 ms to 5 min, default 5 s.
    /// Shorter notices a dead peer earlier and gives up sooner in a short disturbance.
    pub idle_timeout: Time<100, 300_000>,

    /// An otherwise silent link is kept alive with a packet this often: 10 ms to 150 s and at most
    /// half of `idle_timeout`, default 1 s. Longer saves packets and leaves fewer of them that may
    /// be lost before the link counts as lost.
    pub keep_alive: Time<10, 150_000>,

    /// Time for one attempt to bring up a link, from the first packet to the last Hello: 50 ms to
    /// 1 min, default 2 s. Shorter moves on sooner from a peer that does not answer, and never
    /// reaches one that is further away than that. A stranger's handshake that fails keeps its
    /// place among the 256 of those who dial us until this time is over.
    pub handshake_timeout: Time<50, 60_000>,

    /// Wait after the first failed dial: 1 ms to 1 h, default 50 ms. Doubles with each failure up
    /// to `redial_max`; the actual wait is a random 50 to 100 % of it, so that nodes do not dial
    /// in step.
    pub redial_min: Time<1, 3_600_000>,

    /// Longest wait between two dials: 1 ms to 1 h and at least `redial_min`, default 1 s. It
    /// bounds how long after the end of a partition a link may take to come back.
    pub redial_max: Time<1, 3_600_000>,

    /// Bytes a peer may send on one stream before we have read them: 64 KiB to 1 GiB, default
    /// 4 MiB. Bounds the speed of one lane to this many bytes per round trip.
    pub stream_window_bytes: Count<{ 64 << 10 }, { 1 << 30 }>,

    /// Bytes a peer may send on all streams of a link before we have read them: 64 KiB to 1 GiB
    /// and at least `stream_window_bytes`, default 16 MiB. Lanes are always drained, so this
    /// bounds the memory of reassembly after packet loss.
    pub link_window_bytes: Count<{ 64 << 10 }, { 1 << 30 }>,

    /// Bytes handed to QUIC and not acknowledged, per link: 64 KiB to 1 GiB, default 2 MiB. Comes
    /// on top of the outbound buffers, is what a broken link can lose, and what a new frame waits
    /// behind on a slow one. Bounds the speed of a link to this many bytes per round trip.
    pub send_window_bytes: Count<{ 64 << 10 }, { 1 << 30 }>,
}

/// Settings that do not fit together. Nothing has been started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct ConfigError {
    /// Name of the field of [`Config`].
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Config {
    /// Checks what no field can say alone, for a node whose largest frame, sent or received, has
    /// `frame_bytes_max` bytes.
    ///
    /// # Errors
    /// Names the first field that does not fit the others.
    pub fn check(&self, frame_bytes_max: usize) -> Result<(), ConfigError> {
        let Self {
            outbound_bytes_max,
            idle_timeout,
            keep_alive,
            redial_min,
            redial_max,
            stream_window_bytes,
            link_window_bytes,
            ..
        } = self;
        let error = |field, problem| Err(ConfigError { field, problem });
        let frame_bytes = frame_bytes_max.saturating_add(LENGTH_BYTES);
        if outbound_bytes_max.get() < frame_bytes {
            return error(
                "outbound_bytes_max",
                format!("{outbound_bytes_max} is not at least {frame_bytes}, the largest frame"),
            );
        }
        if keep_alive.get() > idle_timeout.get() / 2 {
            return error(
                "keep_alive",
                format!("{keep_alive} is not at most half of idle_timeout, {idle_timeout}"),
            );
        }
        if redial_max < redial_min {
            return error(
                "redial_max",
                format!("{redial_max} is not at least redial_min, {redial_min}"),
            );
        }
        if link_window_bytes < stream_window_bytes {
            return error(
                "link_window_bytes",
                format!(
                    "{link_window_bytes} is not at least stream_window_bytes, {stream_window_bytes}"
                ),
            );
        }
        Ok(())
    }

    /// The number of lanes as it travels.
    pub(crate) fn lane_count(&self) -> u8 {
        u8::try_from(self.lanes.get()).expect("lanes are bounded by a number that is one byte")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lanes: Count::of::<4>(),
            outbound_bytes_max: Count::of::<{ 16 << 20 }>(),
            control_bytes_max: Count::of::<{ 128 << 10 }>(),
            idle_timeout: Time::of_ms::<5_000>(),
            keep_alive: Time::of_ms::<1_000>(),
            handshake_timeout: Time::of_ms::<2_000>(),
            redial_min: Time::of_ms::<50>(),
            redial_max: Time::of_ms::<1_000>(),
            stream_window_bytes: Count::of::<{ 4 << 20 }>(),
            link_window_bytes: Count::of::<{ 16 << 20 }>(),
            send_window_bytes: Count::of::<{ 2 << 20 }>(),
        }
    }
}

/// Highest number of lanes a node can open to a peer.
pub(crate) const LANES_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_BYTES_MAX: usize = 1 << 20;

    #[test]
    fn the_default_fits_together() {
        assert_eq!(Config::default().check(FRAME_BYTES_MAX), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_would() {
        let error = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check(FRAME_BYTES_MAX).unwrap_err().to_string()
        };
        assert_eq!(
            error(|c| c.outbound_bytes_max = Count::of::<{ 1 << 20 }>()),
            "outbound_bytes_max: 1048576 is not at least 1048580, the largest frame"
        );
        assert_eq!(
            error(|c| c.keep_alive = Time::of_ms::<2_501>()),
            "keep_alive: 2s 501ms is not at most half of idle_timeout, 5s"
        );
        assert_eq!(
            error(|c| c.redial_max = Time::of_ms::<49>()),
            "redial_max: 49ms is not at least redial_min, 50ms"
        );
        assert_eq!(
            error(|c| c.link_window_bytes = Count::of::<{ 1 << 20 }>()),
            "link_window_bytes: 1048576 is not at least stream_window_bytes, 4194304"
        );
    }

    #[test]
    fn it_reads_back_as_it_was_written() {
        let config = Config {
            lanes: Count::of::<7>(),
            redial_max: Time::of_ms::<1_500>(),
            ..Config::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("redial_max = \"1s 500ms\""), "{text}");
        assert_eq!(toml::from_str(&text), Ok(config));
        let unknown = toml::from_str::<Config>("lane = 3")
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("unknown field `lane`"), "{unknown}");
        let bounds = toml::from_str::<Config>("lanes = 17").unwrap_err();
        assert!(bounds.to_string().contains("17 is not within 1 to 16"));
    }
}
