//! The JSON of HTTP: what is served, and what the commands of the program read.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tidings::{
    AgentName, Incarnation, Member, MemberId, NodeId, NodeSummary, Pattern, Scope, TopicSummary,
};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// Its name.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Where its peers reach it; none for a node that runs alone.
    pub addr: Option<SocketAddr>,
    /// Whether it is taken to be running.
    pub live: bool,
    /// Whether it is the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
}

/// A topic or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicAnswer {
    /// Its scope.
    pub scope: Scope,
    /// The topic or pattern.
    pub topic: Pattern,
    /// How many members it has in the cluster.
    pub members: usize,
    /// How many of them are on the node that answers.
    pub local: usize,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAnswer {
    /// Where it is.
    pub node: NodeId,
    /// Its id.
    pub member: MemberId,
    /// What its agent calls itself, if it says.
    pub agent: Option<AgentName>,
}

/// Why there is no other answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong, for people.
    pub error: String,
}

impl NodeAnswer {
    /// As the node that answers knows it; that one runs alone or does not.
    pub fn new(summary: NodeSummary, is_alone: bool) -> Self {
        let is_unreachable = summary.is_self && is_alone;
        Self {
            addr: (!is_unreachable).then_some(summary.run.addr),
            node: summary.run.node,
            incarnation: summary.run.incarnation,
            live: summary.live,
            is_self: summary.is_self,
        }
    }
}

impl From<TopicSummary> for TopicAnswer {
    fn from(summary: TopicSummary) -> Self {
        Self {
            scope: summary.scope,
            topic: summary.pattern,
            members: summary.members,
            local: summary.local,
        }
    }
}

impl From<Member> for MemberAnswer {
    fn from(member: Member) -> Self {
        Self {
            node: member.node,
            member: member.member,
            agent: member.agent,
        }
    }
}
