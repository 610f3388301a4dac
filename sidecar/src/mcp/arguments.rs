//! What the tools take. What is said of each field is what models are told.

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a payload is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum Encoding {
    /// As text, which it is.
    #[default]
    #[serde(rename = "utf-8")]
    Text,
    /// In base64, because it is no text in UTF-8.
    #[serde(rename = "base64")]
    Base64,
}

/// A header of a message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Its name, such as `content-type`.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct PublishArguments {
    /// What to publish on, such as `builds.frontend`: tokens separated by dots, without spaces and wildcards. To answer
    /// a message, its `reply_to`.
    pub(super) topic: String,
    /// The content.
    pub(super) payload: String,
    /// How `payload` is written.
    #[serde(default)]
    pub(super) encoding: Encoding,
    /// Headers to go along.
    #[serde(default)]
    pub(super) headers: Vec<Header>,
    /// A topic on which answers are wanted, to which you have subscribed.
    pub(super) reply_to: Option<String>,
    /// An inbox of yours. With it you publish as the agent of that inbox: the inbox itself does not get the message, and
    /// what came to it you may answer.
    pub(super) inbox: Option<String>,
    /// The scope of the topic, if it is not your own. Not together with `inbox`.
    pub(super) scope: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeArguments {
    /// Topics, or patterns: `*` stands for one token, `>` at the end for all that follow, as in `builds.*` and
    /// `builds.>`.
    #[schemars(length(min = 1, max = 100))]
    pub(super) topics: Vec<String>,
    /// What you are called in lists of members.
    pub(super) agent: Option<String>,
    /// A group whose members share the work: each message goes to one of them. By default you get every message.
    pub(super) queue: Option<String>,
    /// What you tell others of yourself in lists of members.
    pub(super) metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// The scope of the topics, if it is not your own.
    pub(super) scope: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiveArguments {
    /// What `subscribe` has given you.
    pub(super) inbox: String,
    /// For how many seconds to wait for a message if there is none; 0 does not wait. Wait for less than your host
    /// does, which is often 60 seconds: not all hosts say that they have given up, and then what comes is lost.
    #[serde(default = "wait_seconds")]
    #[schemars(range(min = 0, max = 240))]
    pub(super) wait_seconds: u64,
    /// How many messages to return at most.
    #[serde(default = "messages_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) messages_max: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct UnsubscribeArguments {
    /// What `subscribe` has given you.
    pub(super) inbox: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct RequestArguments {
    /// The topic on which somebody answers.
    pub(super) topic: String,
    /// What to ask.
    pub(super) payload: String,
    /// How `payload` is written.
    #[serde(default)]
    pub(super) encoding: Encoding,
    /// Headers to go along.
    #[serde(default)]
    pub(super) headers: Vec<Header>,
    /// For how many seconds to wait for the answer. Many hosts give up a call after 60 seconds.
    #[serde(default = "wait_seconds")]
    #[schemars(range(min = 1, max = 240))]
    pub(super) timeout_seconds: u64,
    /// The scope of the topic, if it is not your own.
    pub(super) scope: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct MembersArguments {
    /// A topic: its members are all whom a message on it reaches. Of a pattern they are those who subscribed to just
    /// that.
    pub(super) topic: String,
    /// The scope of the topic, if it is not your own.
    pub(super) scope: Option<String>,
    /// How many to return at most.
    #[serde(default = "items_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) items_max: usize,
    /// The `next` of the answer before, for those that follow.
    pub(super) after: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct TopicsArguments {
    /// The scope, if it is not your own.
    pub(super) scope: Option<String>,
    /// How many to return at most.
    #[serde(default = "items_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) items_max: usize,
    /// The `next` of the answer before, for those that follow.
    pub(super) after: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct NodesArguments {}

fn wait_seconds() -> u64 {
    20
}

fn messages_max() -> usize {
    50
}

fn items_max() -> usize {
    100
}
