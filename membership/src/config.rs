use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_bounds::{Count, Time};

/// The longest text a bucket may have in gossip, in bytes. What a peer tells beyond is ignored.
///
/// A gossip message has at most 65,507 bytes, and a value that does not fit into one would never
/// arrive, nor anything its node changed after it.
pub const BUCKET_BYTES_MAX: usize = 48_000;

/// The most buckets that a node may have.
pub const BUCKETS_MAX: usize = 1_024;

/// How a node takes part in membership. Should be the same on all nodes of a cluster.
///
/// Every field has a default and cannot be out of its bounds. What the fields must be to each
/// other, [`check`](Self::check) tells.
///
/// ```
/// use tidings_membership::Config;
///
/// let mut config = Config::default();
/// assert!(config.check().is_ok());
/// config.interval = "2s".parse()?;
/// assert_eq!(
///     config.check().unwrap_err().to_string(),
///     "silence_min is 1s, but must be at least 2s, the interval: \
///      a node is silent between two rounds of gossip",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often a node gossips with a few random peers when nothing happens, and the measure of
    /// failure detection: a dead node is gone after about eight of these. Default 250 ms, 10 ms to
    /// 10 s. Shorter finds failures sooner and costs traffic.
    pub interval: Time<10, 10_000>,
    /// How long changes of this node are gathered before they are told to its peers at once.
    /// Default 1 ms, up to 1 s. Longer costs less when many agents come or go, and tells later. For
    /// a bucket that goes on changing it doubles each time, up to `interval`.
    pub coalesce: Time<0, 1_000>,
    /// How long a node must have been silent before it may count as down. Default 1 s, from
    /// `interval` to 1 min. Shorter than some intervals takes busy nodes for dead; longer delays
    /// the news of a death.
    pub silence_min: Time<0, 60_000>,
    /// How long dead nodes are remembered in gossip. Default 10 min, from 1 s, eight intervals and
    /// `silence_min` to 1 day. Each costs 41 bytes and its name in every gossip message. After it,
    /// only the address book still knows them.
    pub dead_node_grace: Time<1_000, 86_400_000>,
    /// How often a node tries one that is not live. Default 1 s, 10 ms to 10 min. It heals a
    /// partition that lasted longer than the grace; longer heals it later.
    pub rejoin_interval: Time<10, 600_000>,
    /// How many buckets this node's topics are spread over. Default 1,024, which is the most, from 1. A
    /// change sends its whole bucket, so fewer make changes dearer, and leave less room if they are fewer
    /// than 128; each bucket in use costs every node some hundred bytes. Nodes need not agree on it.
    pub buckets: Count<1, BUCKETS_MAX>,
    /// How many bytes the memberships of this node may have in gossip. Default and most 5,000,000, from
    /// 1,000; that is some 300,000 of them, with 10,000 topics of 20 letters. One that would be too much
    /// is refused ([`JoinError::Full`](crate::JoinError::Full)).
    pub memberships_bytes_max: Count<1_000, MEMBERSHIPS_BYTES_MAX>,
    /// How many peers the address book remembers. Default 1,024, 1 to 100,000. When it is full,
    /// the peer that was longest not live is forgotten first.
    pub address_book_max: Count<1, 100_000>,
    /// How many peers a change is told to at once. Default 64, 1 to 1,024. The others learn of it
    /// through them, some intervals later. More is faster and costs this node more.
    pub eager_peers_max: Count<1, 1_024>,
    /// How many bytes of changed buckets a node sends a second: each bucket counts as often as it
    /// is told at once. Default 8 MiB, 64 KiB to 1 GiB. What goes beyond waits, so that agents that
    /// come and go all the time do not fill the network; more tells sooner when many come at once.
    pub change_bytes_per_second_max: Count<65_536, { 1 << 30 }>,
}

/// Two fields of a [`Config`] do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A time is too short for what another field is.
    #[error(
        "{field} is {}, but must be at least {}, {because}",
        humantime::format_duration(*.value), humantime::format_duration(*.min)
    )]
    TooShort {
        /// The field, as it is called in a config file.
        field: &'static str,
        /// What it is.
        value: Duration,
        /// What it must be at least.
        min: Duration,
        /// Where the least comes from.
        because: &'static str,
    },
}

impl Config {
    /// Checks what the type of no single field can: that they go together.
    ///
    /// # Errors
    /// When `silence_min` is shorter than `interval`, or `dead_node_grace` shorter than eight
    /// intervals or `silence_min`.
    pub fn check(&self) -> Result<(), ConfigError> {
        let interval = self.interval.get();
        let silence_min = ("silence_min", self.silence_min.get());
        let grace = ("dead_node_grace", self.dead_node_grace.get());
        at_least(
            silence_min,
            interval,
            "the interval: a node is silent between two rounds of gossip",
        )?;
        at_least(
            grace,
            interval * DETECTION_INTERVALS,
            "eight intervals: a node would be forgotten before it is heard often enough to be live",
        )?;
        at_least(
            grace,
            silence_min.1,
            "silence_min: a node would be forgotten, and so be down, before it was silent that long",
        )
    }
}

impl ConfigError {
    /// The field that is wrong, as it is called in a config file.
    pub fn field(&self) -> &'static str {
        let Self::TooShort { field, .. } = self;
        field
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Time::of_ms::<250>(),
            coalesce: Time::of_ms::<1>(),
            silence_min: Time::of_ms::<1_000>(),
            dead_node_grace: Time::of_ms::<600_000>(),
            rejoin_interval: Time::of_ms::<1_000>(),
            buckets: Count::MAX,
            memberships_bytes_max: Count::MAX,
            address_book_max: Count::of::<1_024>(),
            eager_peers_max: Count::of::<64>(),
            change_bytes_per_second_max: Count::of::<{ 8 << 20 }>(),
        }
    }
}

fn at_least(
    (field, value): (&'static str, Duration),
    min: Duration,
    because: &'static str,
) -> Result<(), ConfigError> {
    if value >= min {
        return Ok(());
    }
    Err(ConfigError::TooShort {
        field,
        value,
        min,
        because,
    })
}

/// The most bytes that all memberships of a node may have in gossip: what peers take of a node, but for
/// seals and keys.
const MEMBERSHIPS_BYTES_MAX: usize = 5_000_000;

/// How many intervals of silence the failure detector takes for death, about.
const DETECTION_INTERVALS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    fn refused(text: &str) -> (&'static str, String) {
        let error = read(text).unwrap().check().unwrap_err();
        (error.field(), error.to_string())
    }

    #[test]
    fn every_field_is_read_as_it_is_written() {
        let default = Config::default();
        let text = toml::to_string(&default).unwrap();
        assert_eq!(text.lines().count(), 10, "{text}");
        assert!(text.contains("dead_node_grace = \"10m\""), "{text}");
        assert_eq!(read(&text).unwrap(), default);
        assert_eq!(read("").unwrap(), default);
        let other = read("buckets = 7\ninterval = \"300ms\"").unwrap();
        assert_eq!(other.buckets.get(), 7);
        assert_eq!(other.interval.get(), Duration::from_millis(300));
    }

    #[test]
    fn what_is_unknown_or_out_of_bounds_is_not_read() {
        for text in [
            "bukets = 7",
            "buckets = 0",
            "memberships_bytes_max = 5_000_001",
            "interval = \"5ms\"",
            "coalesce = 2",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_that_do_not_go_together_are_named_with_what_would_be_right() {
        assert_eq!(Config::default().check(), Ok(()));
        let (field, text) = refused("silence_min = \"200ms\"");
        assert_eq!(field, "silence_min");
        assert!(
            text.starts_with("silence_min is 200ms, but must be at least 250ms"),
            "{text}"
        );
        let (field, text) = refused("dead_node_grace = \"1900ms\"");
        assert_eq!(field, "dead_node_grace");
        assert!(text.contains("at least 2s, eight intervals"), "{text}");
        let (field, text) = refused("dead_node_grace = \"30s\"\nsilence_min = \"40s\"");
        assert_eq!(field, "dead_node_grace");
        assert!(text.contains("at least 40s, silence_min"), "{text}");
        let edge = "interval = \"1s\"\nsilence_min = \"8s\"\ndead_node_grace = \"8s\"";
        assert_eq!(read(edge).unwrap().check(), Ok(()));
    }
}
