use serde::{Deserialize, Serialize};

use crate::{AgentName, Metadata};

/// What a member says of itself, as it is packed: one byte that tells which of the two there is, and
/// then the name of its agent and its metadata.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Card<A = AgentName, M = Metadata> {
    Nothing,
    Agent(A),
    Metadata(M),
    Both(A, M),
}

impl<'a> Card<&'a AgentName, &'a Metadata> {
    pub(crate) fn new(agent: Option<&'a AgentName>, metadata: &'a Metadata) -> Self {
        match (agent, metadata.is_empty()) {
            (None, true) => Self::Nothing,
            (Some(agent), true) => Self::Agent(agent),
            (None, false) => Self::Metadata(metadata),
            (Some(agent), false) => Self::Both(agent, metadata),
        }
    }
}

impl Card {
    pub(crate) fn read(self) -> (Option<AgentName>, Metadata) {
        match self {
            Self::Nothing => (None, Metadata::default()),
            Self::Agent(agent) => (Some(agent), Metadata::default()),
            Self::Metadata(metadata) => (None, metadata),
            Self::Both(agent, metadata) => (Some(agent), metadata),
        }
    }
}
