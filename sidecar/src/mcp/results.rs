//! What the tools and resources return. What is said of each field is what models are told.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::ResourceContents;
use rmcp::schemars::JsonSchema;
use serde::Serialize;
use tidings::{Member, Message, NodeSummary, Receipt, TopicRecord, TopicSummary};

use super::arguments::{Encoding, Header};

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct PublishResult {
    /// How many subscriptions on this node got it.
    local: usize,
    /// To how many other nodes with subscribers it was sent.
    nodes: usize,
    /// For how many subscriptions and nodes there was no room, so that it was lost to them.
    dropped: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct SubscribeResult {
    /// The handle of your inbox, for `receive`. Whoever else knows it cannot use it, unless it is the same identity.
    pub(super) inbox: String,
    /// Whether all nodes know of it already: from now on you get what is published anywhere. Otherwise they will soon.
    pub(super) everywhere: bool,
    /// After how many seconds without a `receive` the inbox is gone.
    pub(super) expires_after_seconds: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ReceiveResult {
    /// The messages, those of each publisher in their order.
    pub(super) messages: Vec<MessageResult>,
    /// How many messages were lost since the last `receive`, because more came than the inbox holds.
    pub(super) missed: u64,
    /// Whether there may be more at once.
    pub(super) more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct UnsubscribeResult {
    /// Always true.
    pub(super) ended: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct RequestResult {
    /// The first answer.
    pub(super) answer: MessageResult,
}

/// A message.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct MessageResult {
    /// What it was published on.
    topic: String,
    /// The content.
    payload: String,
    /// How `payload` is written.
    encoding: Encoding,
    /// Where its publisher wants an answer: publish there to give one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    /// Headers that came along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct MembersResult {
    /// Whoever is subscribed, once for each subscription.
    pub(super) members: Vec<MemberResult>,
    /// How many there are in all.
    pub(super) total: usize,
    /// What to give as `after` for those that follow, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A subscription.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct MemberResult {
    /// On which node it is.
    node: String,
    /// Its id.
    member: String,
    /// What its agent calls itself, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// The group with which it shares its messages, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// What it says of itself besides.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    metadata: tidings::Metadata,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct TopicsResult {
    /// Topics and patterns that have members.
    pub(super) topics: Vec<TopicResult>,
    /// What to give as `after` for those that follow, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A topic.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct TopicResult {
    /// The topic or pattern.
    pub(super) topic: String,
    /// How many members it has.
    members: usize,
    /// What is published on it, if somebody has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct NodesResult {
    /// The nodes of the cluster that this one knows.
    pub(super) nodes: Vec<NodeResult>,
}

/// A node.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct NodeResult {
    /// Its name.
    node: String,
    /// Whether it is taken to be running.
    live: bool,
    /// Whether it is the node that you are connected to.
    #[serde(rename = "self")]
    is_self: bool,
}

/// What the resource of a topic shows.
#[derive(Debug, Serialize)]
pub(super) struct LastMessageResult {
    pub(super) topic: String,
    /// How many messages have come since it is followed.
    pub(super) seen: u64,
    pub(super) last: Option<MessageResult>,
}

/// What the resource of a stream shows besides what is written.
#[derive(Debug, Serialize)]
pub(super) struct StreamResult {
    /// How many chunks come before those that are shown.
    pub(super) from: u64,
    /// How many come before those that follow.
    pub(super) next: u64,
    /// `more` if there are such already, `open` if there may be, or how the stream has ended.
    pub(super) state: &'static str,
    /// Why it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// What a resource shows, as JSON.
pub(super) fn json(result: &impl Serialize, uri: impl Into<String>) -> ResourceContents {
    let text = serde_json::to_string(result).expect("names, numbers and texts always serialise");
    ResourceContents::text(text, uri).with_mime_type(JSON)
}

impl From<Receipt> for PublishResult {
    fn from(receipt: Receipt) -> Self {
        Self {
            local: receipt.local,
            nodes: receipt.nodes,
            dropped: receipt.dropped,
        }
    }
}

impl MessageResult {
    pub(super) fn new(message: &Arc<Message>) -> Self {
        let (payload, encoding) = match str::from_utf8(&message.payload) {
            Ok(text) if is_readable(text) => (text.to_owned(), Encoding::Text),
            _ => (STANDARD.encode(&message.payload), Encoding::Base64),
        };
        let headers = message.headers.iter().map(|(name, value)| Header {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        Self {
            topic: message.topic.to_string(),
            payload,
            encoding,
            reply_to: message.reply_to.as_ref().map(ToString::to_string),
            headers: headers.collect(),
        }
    }
}

/// Whether this is told as text. Of a character that nobody reads JSON makes six, and a text within a text seven more.
fn is_readable(text: &str) -> bool {
    let is_unread = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    text.bytes().filter(is_unread).count() <= text.len() / UNREAD_MAX
}

impl From<Member> for MemberResult {
    fn from(member: Member) -> Self {
        Self {
            node: member.node.to_string(),
            member: member.member.to_string(),
            agent: member.agent.map(|agent| agent.to_string()),
            queue: member.queue.map(|queue| queue.to_string()),
            metadata: member.metadata,
        }
    }
}

impl TopicResult {
    pub(super) fn new(topic: &TopicSummary, record: Option<&TopicRecord>) -> Self {
        Self {
            topic: topic.pattern.to_string(),
            members: topic.members,
            description: record.and_then(|record| record.info.description.clone()),
        }
    }
}

impl From<NodeSummary> for NodeResult {
    fn from(node: NodeSummary) -> Self {
        Self {
            node: node.run.node.to_string(),
            live: node.live,
            is_self: node.is_self,
        }
    }
}

pub(super) const JSON: &str = "application/json";
/// One in so many characters of a text may be one that nobody reads, such as the escapes of a terminal.
const UNREAD_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_no_text_and_the_answer_stays_short() {
        let result = |payload: String| {
            let message = Message::new("a".parse().unwrap(), payload);
            serde_json::to_value(MessageResult::new(&Arc::new(message))).unwrap()
        };
        for text in [
            "",
            "x",
            "{\"a\":\"b\\n\"}\r\n\t",
            "\u{1b}[32mgreen\u{1b}[0m",
            "ä",
        ] {
            let told = result(text.to_owned());
            assert_eq!(
                (&told["payload"], &told["encoding"]),
                (&text.into(), &"utf-8".into())
            );
        }
        for unread in ["\0", "a\u{1}\u{1}", "\u{1b}c"] {
            assert_eq!(
                result(unread.to_owned())["encoding"],
                "base64",
                "{unread:?}"
            );
        }
        for worst in ["\0", "\"", "\0\"\"\""] {
            let payload = worst.repeat(10_000);
            let told = result(payload.clone()).to_string();
            let twice = serde_json::to_string(&told).unwrap();
            assert!(told.len() + twice.len() < 8 * payload.len(), "{worst:?}");
        }
    }
}
