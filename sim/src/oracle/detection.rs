use std::time::Duration;

use tidings::Config;

/// How long the views may take to become the truth, once the network is whole.
///
/// A link that is broken at one end only is noticed after the idle time-out. Then a node must be
/// tried again, which takes a few tries, each after the longest pause between dials, with a
/// handshake that may time out once; and gossip must reach everybody and be heard a few times.
pub fn healing_bound(config: &Config, nodes: usize) -> Duration {
    let links = &config.links;
    let rounds = 12 + 3 * nodes.max(2).ilog2();
    links.idle_timeout.get()
        + 2 * (links.redial_max.get() + links.handshake_timeout.get())
        + 4 * config.gossip.rejoin_interval.get()
        + rounds * config.gossip.interval.get()
}

/// How long a dead node may stay in the views of the others, in a quiet network: the failure
/// detector takes some eight to ten intervals, never less than the least silence, and the news of
/// the last heartbeats is still going round for a few.
pub fn detection_bound(config: &Config) -> Duration {
    config.gossip.silence_min.get() + 16 * config.gossip.interval.get()
}
