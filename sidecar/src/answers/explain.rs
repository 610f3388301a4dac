use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{
    Difference, ExplainedNode, Explanation, Incarnation, NodeId, OtherView, Pattern, Scope, Seen,
    Testimony,
};

use super::{LinkAnswer, MemberAnswer};

/// What a node knows of a topic, how, and whether the others see the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainAnswer {
    /// Its scope.
    pub scope: Scope,
    /// The topic or pattern.
    pub topic: Pattern,
    /// The node that answers and all that it knows, by name.
    pub nodes: Vec<ExplainedAnswer>,
    /// What each live node but that one shows, as it says, by name.
    pub others: Vec<OtherAnswer>,
}

/// What is known of the topic on one node, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedAnswer {
    /// The node.
    pub node: NodeId,
    /// Its run that counts.
    pub incarnation: Incarnation,
    /// Whether it is the node that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Whether it is taken to be running.
    pub live: bool,
    /// Whether it said goodbye.
    pub left: bool,
    /// How many members it has.
    pub members_count: usize,
    /// The first hundred of them, by id.
    pub members: Vec<MemberAnswer>,
    /// Up to which version of its gossip state it is known.
    pub version: Option<u64>,
    /// How long ago that was taken in, in milliseconds.
    pub age_ms: Option<u64>,
    /// How long ago the node itself was heard last, in milliseconds.
    pub heard_ms: Option<u64>,
    /// The link that a message to it takes.
    pub link: Option<LinkAnswer>,
}

/// What another node shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherAnswer {
    /// The node.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// What it says.
    pub says: Says,
    /// Where it differs: of which nodes it shows something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<DifferenceAnswer>,
}

/// What another node says that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// The same.
    Same,
    /// Something else.
    Differs,
    /// There is no link over which to ask it.
    NoLink,
    /// It did not answer in time, or does not answer such questions.
    NoAnswer,
}

/// Where two nodes show something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceAnswer {
    /// Of this node.
    pub node: NodeId,
    /// What the node that answers shows of it; none if it takes it for gone.
    pub here: Option<SeenAnswer>,
    /// What the other one does.
    pub there: Option<SeenAnswer>,
}

/// What is shown of a topic on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAnswer {
    /// Which run of the node.
    pub incarnation: Incarnation,
    /// Up to which version of its gossip state it is known; none of a node itself.
    pub version: Option<u64>,
    /// How many members it has.
    pub members: usize,
}

impl ExplainAnswer {
    /// What is told of a topic.
    pub fn new(scope: Scope, topic: Pattern, explained: Explanation) -> Self {
        Self {
            scope,
            topic,
            nodes: explained.nodes.into_iter().map(Into::into).collect(),
            others: explained.others.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ExplainedNode> for ExplainedAnswer {
    fn from(explained: ExplainedNode) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let members_count = explained.members.len();
        let mut members = explained.members;
        members.sort_unstable_by_key(|member| member.member);
        members.truncate(MEMBERS_MAX);
        let node = explained.node;
        Self {
            node: node.run.node,
            incarnation: node.run.incarnation,
            is_self: node.is_self,
            live: node.live,
            left: node.left,
            members_count,
            members: members.into_iter().map(Into::into).collect(),
            version: explained.version,
            age_ms: explained.age.map(millis),
            heard_ms: explained.heard.map(millis),
            link: explained.link.map(Into::into),
        }
    }
}

impl From<OtherView> for OtherAnswer {
    fn from(other: OtherView) -> Self {
        let (says, differences) = match other.says {
            Testimony::Same => (Says::Same, Vec::new()),
            Testimony::Differs(differences) => (Says::Differs, differences),
            Testimony::NoLink => (Says::NoLink, Vec::new()),
            _ => (Says::NoAnswer, Vec::new()),
        };
        Self {
            node: other.run.node,
            incarnation: other.run.incarnation,
            says,
            differences: differences.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Difference> for DifferenceAnswer {
    fn from(difference: Difference) -> Self {
        Self {
            node: difference.node,
            here: difference.here.map(Into::into),
            there: difference.there.map(Into::into),
        }
    }
}

impl From<Seen> for SeenAnswer {
    fn from(seen: Seen) -> Self {
        Self {
            incarnation: seen.incarnation,
            version: seen.version,
            members: seen.members,
        }
    }
}

/// So many members of each node are named.
const MEMBERS_MAX: usize = 100;
