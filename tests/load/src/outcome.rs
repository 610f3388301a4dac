use serde::Serialize;

use crate::counters::Counters;
use crate::latency::Latency;

/// What came of one workload on one contender.
///
/// Of the subscribers, the one that is slow on purpose is told apart; `delivered`, `lost` and
/// `cut_off` are those of the others.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Outcome {
    /// Messages that publishers wrote and the server took.
    pub(crate) published: u64,
    /// Messages that subscribers got, once for each.
    pub(crate) delivered: u64,
    /// Messages that they should have got, and did not.
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) disordered: u64,
    pub(crate) misdelivered: u64,
    /// Subscribers whose connection the server ended.
    pub(crate) cut_off: u64,
    /// From the first message published to the last delivered.
    pub(crate) seconds: f64,
    pub(crate) published_per_second: f64,
    pub(crate) delivered_per_second: f64,
    /// Of payload delivered.
    pub(crate) megabytes_per_second: f64,
    /// Of each node.
    pub(crate) memory_peak_kib: Vec<u64>,
    /// Of all nodes.
    pub(crate) cpu_seconds: f64,
    pub(crate) bystander: Bystander,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slow: Option<Slow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kib_per_idle_client: Option<f64>,
    /// What the server itself counts as gone wrong.
    pub(crate) server_counts: Counters,
    /// What went wrong for the clients.
    pub(crate) troubles: Vec<String>,
}

/// What an innocent bystander noticed: a pair of clients on a topic of their own.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Bystander {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// From the publisher's write to the subscriber's read, of what was sent under load.
    pub(crate) latency: Option<Latency>,
}

/// What came of the subscriber that is slow on purpose.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Slow {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    /// What the server said when it ended the connection, if it did.
    pub(crate) cut_off: Option<String>,
}
