//! End-to-end tests of Tidings: real processes, real sockets, real third-party clients.
//!
//! Clusters are made and cut by the scripts of `scripts/`, so the logic of a partition exists once.
//! What is here drives those scripts, asks the nodes over HTTP what they see, and waits with a
//! deadline. The tests themselves are in `tests/tests`, one file for each theme.

mod agent;
mod balancer;
mod cluster;
mod conformance;
pub mod differential;
mod figure;
mod first_packets;
mod guest;
mod http;
mod inbox;
mod language;
mod metrics;
mod patience;
mod program;
mod raw_client;
mod raw_mcp;
pub mod rogue;
mod traffic;
mod watch;

pub use agent::Agent;
pub use balancer::Balancer;
pub use cluster::{Cluster, Node};
pub use conformance::{Check, conformance};
pub use figure::{Figures, millis};
pub use first_packets::{FirstPackets, Flood};
pub use guest::{Guest, create_authority, create_certificate, revoke};
pub use http::{Http, Member, NodeInfo, TopicInfo};
pub use inbox::Inbox;
pub use language::Language;
pub use metrics::Metrics;
pub use patience::{holds_for, wait_until};
pub use program::{Program, binary, example, previous_binary, repository, tidings};
pub use raw_client::RawClient;
pub use raw_mcp::RawMcp;
pub use traffic::{Outcome, Traffic, pairs};
pub use watch::Watch;
