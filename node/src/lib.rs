//! Tidings: process groups and pub/sub among agents on many nodes, with no broker between them.
//!
//! A [`Node`] keeps the topic memberships of the [`Session`]s on it, gossips them until every node
//! of the cluster holds the same view of who is where, and delivers broadcasts over one
//! authenticated QUIC link to each peer. A partition leaves every side working on its own; when it
//! heals, the view and the delivery come back by themselves.

mod broker;
mod clock;
mod cluster;
pub mod config;
mod envelope;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gateway;
mod headers;
pub mod http;
mod inbox;
mod incarnation;
mod limits;
mod local_cluster;
mod mailbox;
mod message;
mod metrics;
mod node;
mod route;
mod routes;
mod seeds;
mod session;
mod sidecar;
mod stats;
mod wildcards;

pub use broker::Receipt;
pub use config::Config;
pub use headers::{Headers, HeadersError};
pub use inbox::Inbox;
pub use incarnation::IncarnationError;
pub use limits::Limits;
pub use local_cluster::{LocalCluster, LocalClusterError, NotJoined};
pub use mailbox::{Closed, Delivery, MailboxConfig, Overflow};
pub use message::Message;
pub use node::{Node, StartError};
pub use session::{
    BroadcastError, NotSubscribed, OpenError, Session, SessionOptions, SubscribeError,
};
pub use sidecar::{Sidecar, SidecarError};
pub use stats::Stats;
pub use tidings_identity::{
    Authority, AuthorityError, ClusterName, Identity, IdentityError, Incarnation, NameError,
    NodeCertificate, NodeId, Validity, ValidityError,
};
pub use tidings_membership::{
    AgentName, AgentNameError, Event, GossipFailed, JoinError, Member, MemberId, NodeSummary,
    Pattern, Scope, ScopeError, Topic, TopicError, TopicSummary, View, Watch,
};
pub use tidings_transport::{Net, SystemNet};

/// Runs the program in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
