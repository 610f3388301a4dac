//! The JSON of HTTP: what is served, and what the commands of the program read.

mod explain;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidings::{
    AgentName, ClientAddr, Incarnation, LinkInfo, Member, MemberId, Metadata, Node, NodeId,
    NodeSummary, Outcome, Outcomes, Pattern, QueueGroup, Receipt, Schema, SchemaError, Scope,
    Topic, TopicInfo, TopicSummary, View, WaitFor,
};

pub use explain::{
    DifferenceAnswer, ExplainAnswer, ExplainedAnswer, OtherAnswer, Says, SeenAnswer,
};
pub use watch::{LiveAnswer, MembershipAnswer, WatchAnswer};

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
    /// Where its clients connect, as it says.
    #[serde(default)]
    pub clients: Vec<ClientAddr>,
    /// Whether it sends its clients to other nodes, because it is going to leave.
    #[serde(default)]
    pub draining: bool,
    /// The link to it; none to itself, or if it is not a peer to be kept.
    pub link: Option<LinkAnswer>,
}

/// How things stand between the node that answers and one of its peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAnswer {
    /// Whether it is up. Otherwise it is being dialled.
    pub up: bool,
    /// The estimated time to the peer and back, in microseconds, if it is up.
    pub round_trip_us: Option<u64>,
    /// The address that the peer's packets come from, if it is up.
    pub remote: Option<SocketAddr>,
    /// Whether the node that answers dialled, if it is up.
    pub dialled: Option<bool>,
    /// Frames that wait to be sent.
    pub queued_frames: u64,
    /// Bytes of those frames.
    pub queued_bytes: usize,
    /// Frames to the peer that were dropped here, since the node that answers started.
    pub dropped_frames: u64,
    /// Frames from the peer that were lost on the way, since the node that answers started.
    pub lost_frames: u64,
    /// Frames from the peer that it dropped, as it says.
    pub dropped_frames_there: u64,
    /// Frames to the peer that were lost on the way, as it says.
    pub lost_frames_there: u64,
    /// How often frames from the peer may have been missing without anybody knowing how many.
    pub unknown_gaps: u64,
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
    /// What is told of the topic, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<InfoAnswer>,
}

/// What is told of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoAnswer {
    /// What.
    #[serde(flatten)]
    pub info: TopicInfo,
    /// When it was set, in milliseconds since the Unix epoch.
    pub set_unix_ms: u64,
    /// On which node.
    pub set_on: NodeId,
    /// By what others can name the schema that the topic carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema_digest: Option<String>,
}

/// What is to be told of a topic, in the place of all that was; what is not given is not told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DescribeRequest {
    /// What is published on it, in words.
    pub description: Option<String>,
    /// What payloads are, as `application/json`.
    pub content_type: Option<String>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// Where it says what a payload looks like.
    pub schema: Option<String>,
    /// The schema itself: its text, or the JSON that it is.
    pub json_schema: Option<Value>,
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
    /// What it says of itself besides; an empty object if nothing.
    #[serde(default)]
    pub metadata: Metadata,
    /// The queue group that it is in, if it is in one.
    #[serde(default)]
    pub queue: Option<QueueGroup>,
}

/// What became of a message, on the node that was asked to publish it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptAnswer {
    /// How many subscriptions on this node have taken it.
    pub local: usize,
    /// To how many other nodes it was handed.
    pub nodes: usize,
    /// For how many subscriptions on this node and other nodes it was dropped, for want of room.
    pub dropped: usize,
}

/// What became of a message that was published with assurance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssuredAnswer {
    /// Whether all members have what was waited for.
    pub complete: bool,
    /// What was waited for with each.
    pub wait_for: WaitFor,
    /// Each member.
    pub members: Vec<OutcomeAnswer>,
}

/// What became of a message with a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeAnswer {
    /// Where it is.
    pub node: NodeId,
    /// Its id.
    pub member: MemberId,
    /// What its agent calls itself, if it says.
    pub agent: Option<AgentName>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Whether a node sends its clients to other nodes, because it is going to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// The node.
    pub node: NodeId,
    /// Whether it does, or is about to.
    pub draining: bool,
    /// How many clients are connected still.
    pub clients: usize,
}

/// Why there is no other answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong, for people.
    pub error: String,
}

impl NodeAnswer {
    /// All nodes that this node knows.
    pub fn all(node: &Node) -> Vec<Self> {
        let links = node.links().into_iter();
        let mut links: BTreeMap<_, _> = links.map(|link| (link.peer.clone(), link)).collect();
        let is_alone = node.addr().is_none();
        let answer = |summary: NodeSummary| {
            let link = links.remove(&summary.run.node);
            Self::new(summary, link.map(LinkAnswer::from), is_alone)
        };
        node.nodes().into_iter().map(answer).collect()
    }

    fn new(summary: NodeSummary, link: Option<LinkAnswer>, is_alone: bool) -> Self {
        let is_unreachable = summary.is_self && is_alone;
        Self {
            link,
            clients: summary.door.addrs().to_vec(),
            draining: summary.door.is_draining(),
            addr: (!is_unreachable).then_some(summary.run.addr),
            node: summary.run.node,
            incarnation: summary.run.incarnation,
            live: summary.live,
            is_self: summary.is_self,
        }
    }
}

impl From<LinkInfo> for LinkAnswer {
    fn from(link: LinkInfo) -> Self {
        let up = link.up.as_ref();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            up: up.is_some(),
            round_trip_us: up.map(|up| micros(up.round_trip)),
            remote: up.map(|up| up.remote),
            dialled: up.map(|up| up.dialled),
            queued_frames: link.queued_frames,
            queued_bytes: link.queued_bytes,
            dropped_frames: link.dropped_frames,
            lost_frames: link.lost_frames,
            dropped_frames_there: link.dropped_frames_there,
            lost_frames_there: link.lost_frames_there,
            unknown_gaps: link.unknown_gaps,
        }
    }
}

impl TopicAnswer {
    /// A topic, with what this view tells of it.
    pub fn new(summary: TopicSummary, view: &View) -> Self {
        let topic = Topic::try_from(&summary.pattern).ok();
        let record = topic.and_then(|topic| view.topic_info(&summary.scope, &topic));
        Self {
            scope: summary.scope,
            topic: summary.pattern,
            members: summary.members,
            local: summary.local,
            info: record.map(|record| InfoAnswer {
                info: record.info.clone(),
                set_unix_ms: record.stamp.unix_ms,
                set_on: record.stamp.node.clone(),
                json_schema_digest: record
                    .info
                    .json_schema
                    .as_ref()
                    .map(|s| s.digest().to_string()),
            }),
        }
    }
}

impl TryFrom<DescribeRequest> for TopicInfo {
    type Error = SchemaError;

    fn try_from(request: DescribeRequest) -> Result<Self, SchemaError> {
        let DescribeRequest {
            description,
            content_type,
            owner,
            schema,
            json_schema,
        } = request;
        let json_schema = json_schema.map(|schema| match schema {
            Value::String(text) => Schema::parse(&text),
            json => Schema::parse(&json.to_string()),
        });
        Ok(Self {
            description,
            content_type,
            owner,
            schema,
            json_schema: json_schema.transpose()?,
        })
    }
}

impl From<TopicInfo> for DescribeRequest {
    fn from(info: TopicInfo) -> Self {
        let TopicInfo {
            description,
            content_type,
            owner,
            schema,
            json_schema,
        } = info;
        Self {
            description,
            content_type,
            owner,
            schema,
            json_schema: json_schema.map(|schema| schema.as_str().into()),
        }
    }
}

impl From<Receipt> for ReceiptAnswer {
    fn from(receipt: Receipt) -> Self {
        Self {
            local: receipt.local,
            nodes: receipt.nodes,
            dropped: receipt.dropped,
        }
    }
}

impl From<Outcomes> for AssuredAnswer {
    fn from(outcomes: Outcomes) -> Self {
        let complete = outcomes.is_complete();
        let members = outcomes.members.into_iter().map(|member| OutcomeAnswer {
            node: member.node,
            member: member.member,
            agent: member.agent,
            outcome: member.outcome,
        });
        Self {
            complete,
            wait_for: outcomes.wait_for,
            members: members.collect(),
        }
    }
}

impl From<Member> for MemberAnswer {
    fn from(member: Member) -> Self {
        Self {
            node: member.node,
            member: member.member,
            agent: member.agent,
            metadata: member.metadata,
            queue: member.queue,
        }
    }
}
