//! Who is where: the topics, members and nodes of a cluster, gossiped until every node agrees.
//!
//! A node makes memberships with [`Membership::join`] and reads everyone's from a [`View`], a
//! snapshot that is always at hand; a [`Watch`] tells what changes. Gossip messages go out and
//! come in through a [`Pipe`], so this crate knows nothing of sockets.

mod agent_name;
mod book;
mod bucket;
mod config;
mod difference;
mod farewell;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gossip;
mod liveness;
mod member_id;
mod membership;
mod node_view;
mod packed;
mod pattern;
mod peer;
mod peers;
mod scope;
mod socket;
mod stats;
mod topic;
mod view;
mod watch;

pub use agent_name::{AGENT_NAME_BYTES_MAX, AgentName, AgentNameError};
pub use config::{BUCKET_BYTES_MAX, BUCKETS_MAX, Config, ConfigError};
pub use difference::Event;
pub use gossip::Follower;
pub use member_id::{MemberId, MemberIds};
pub use membership::{GossipFailed, JoinError, Membership, NotAMember, StartError};
pub use pattern::Pattern;
pub use scope::{SCOPE_BYTES_MAX, Scope, ScopeError};
pub use socket::{GOSSIP_BYTES_MAX, Pipe};
pub use stats::Stats;
pub use topic::{TOPIC_BYTES_MAX, Topic, TopicError};
pub use view::{Member, NodeSummary, TopicSummary, View};
pub use watch::Watch;
