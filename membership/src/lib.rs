//! Who is where: the topics, members and nodes of a cluster, gossiped until every node agrees.

mod agent_name;
mod member_id;
mod node_id;
mod pattern;
mod scope;
mod topic;

pub use agent_name::{AGENT_NAME_BYTES_MAX, AgentName, AgentNameError};
pub use member_id::{MemberId, MemberIds};
pub use node_id::{NODE_ID_BYTES_MAX, NodeId, NodeIdError};
pub use pattern::Pattern;
pub use scope::{SCOPE_BYTES_MAX, Scope, ScopeError};
pub use topic::{TOPIC_BYTES_MAX, Topic, TopicError};
