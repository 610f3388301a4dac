use std::net::SocketAddr;

use serde::Serialize;
use tidings_identity::{Incarnation, NodeRun};
use tidings_membership::{Member, NodeSummary, TopicSummary};

use crate::{AgentName, NodeId, Pattern, Scope};

/// A node, in JSON.
#[derive(Debug, Serialize)]
pub(super) struct NodeAnswer {
    node: NodeId,
    incarnation: Incarnation,
    /// None for a node that runs alone: peers cannot reach it anywhere.
    addr: Option<SocketAddr>,
    live: bool,
    #[serde(rename = "self")]
    is_self: bool,
}

/// A topic or pattern, in JSON.
#[derive(Debug, Serialize)]
pub(super) struct TopicAnswer {
    scope: Scope,
    topic: Pattern,
    members: usize,
    local: usize,
}

/// A member, in JSON.
#[derive(Debug, Serialize)]
pub(super) struct MemberAnswer {
    node: NodeId,
    member: String,
    agent: Option<AgentName>,
}

impl NodeAnswer {
    pub(super) fn new(summary: NodeSummary, is_alone: bool) -> Self {
        let NodeSummary {
            run:
                NodeRun {
                    node,
                    incarnation,
                    addr,
                },
            is_self,
            live,
            ..
        } = summary;
        let addr = if is_self && is_alone {
            None
        } else {
            Some(addr)
        };
        Self {
            node,
            incarnation,
            addr,
            live,
            is_self,
        }
    }
}

impl From<TopicSummary> for TopicAnswer {
    fn from(summary: TopicSummary) -> Self {
        let TopicSummary {
            scope,
            pattern,
            members,
            local,
            ..
        } = summary;
        Self {
            scope,
            topic: pattern,
            members,
            local,
        }
    }
}

impl From<Member> for MemberAnswer {
    fn from(member: Member) -> Self {
        let Member {
            node,
            member,
            agent,
            ..
        } = member;
        Self {
            node,
            member: member.to_string(),
            agent,
        }
    }
}
