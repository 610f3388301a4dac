use crate::{AgentName, Metadata, QueueGroup};

/// What a membership is besides its topic and its id. By default nothing is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// What the agent calls itself.
    pub agent: Option<AgentName>,
    /// The queue group that the member is in, for as long as it is a member.
    pub queue: Option<QueueGroup>,
    /// What it says of itself besides.
    pub metadata: Metadata,
}
