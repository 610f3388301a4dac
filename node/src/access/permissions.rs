use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tidings_bounds::{Count, Time};
use tidings_membership::{Pattern, TopicError};

/// What a session may do. The default is everything, because who embeds a node trusts itself.
///
/// The rules are those of the NATS server, so that what people have written for it means the same here:
/// what is not allowed is denied, no list of what is allowed allows everything, and what is denied is
/// denied whatever is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// On which topics it may publish, whatever the reach of the message. Requests to the node itself are
    /// such topics as well.
    pub publish: Rules<Pattern>,
    /// To which topics and patterns it may subscribe, and in which queue groups.
    ///
    /// A pattern may be subscribed to when one that is allowed covers all of it, and none that is denied
    /// does. Where one that is denied covers a part of it, the session does not get that part.
    pub subscribe: Rules<SubscribeRule>,
    /// Whether it may answer requests that it has received, on whatever topic they want their answers. None
    /// by default: it may answer where it may publish.
    pub responses: Option<Responses>,
    /// What it may see of the cluster. Everything by default.
    pub sight: Sight,
    /// Whether it may not describe topics, schemas included. By default it may, where it may publish.
    pub describes_nothing: bool,
    /// How many sessions may be open at a time that share an [`Access`](crate::Access). None: as many as
    /// the node has room for.
    pub sessions_max: Option<Count<1, 100_000_000>>,
    /// How many subscriptions one session may have. None, or more than the [limit](crate::Limits) of all
    /// sessions: as many as that says.
    pub subscriptions_max: Option<Count<0, 100_000_000>>,
    /// The largest payload that it may publish, in bytes. None, or more than the limit of all sessions: that.
    pub payload_bytes_max: Option<Count<0, { 64 << 20 }>>,
}

/// What is allowed and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    bound(deserialize = "R: Deserialize<'de>")
)]
pub struct Rules<R> {
    /// None: everything. An empty list: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<R>>,
    /// Denied all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<R>,
}

/// What may or may not be subscribed to: `kb.>`, or `kb.> workers` for subscriptions in that queue group
/// alone. The name of a group may have wildcards, as a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubscribeRule {
    /// The topics.
    pub pattern: Pattern,
    /// The queue groups; none for all subscriptions.
    pub queue: Option<Box<str>>,
}

/// How a session may answer what it has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Responses {
    /// How many answers to each request. Default 1, up to 1,000,000.
    #[serde(rename = "max")]
    pub answers_max: Count<1, 1_000_000>,
    /// For how long after it was received. Default 2 min, 1 ms to a day.
    #[serde(rename = "expires")]
    pub expiry: Time<1, 86_400_000>,
}

/// What a session may see of the cluster: members, topics, nodes, and what changes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// Nothing.
    Nothing,
    /// The nodes, and the topics and members of its own scope.
    Scope,
    /// All scopes, and what the node says of itself, such as its metrics.
    #[default]
    Everything,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Neither one part nor two.
    #[error("{0:?} is neither a topic nor a topic and a queue group with a space in between")]
    Parts(String),
    /// The topic or pattern.
    #[error("{text:?} is no topic and no pattern")]
    Topic {
        /// The text.
        text: String,
        /// Why not.
        #[source]
        source: TopicError,
    },
}

impl<R> Rules<R> {
    /// Nothing is allowed but this.
    pub fn only(allow: impl IntoIterator<Item = R>) -> Self {
        Self {
            allow: Some(allow.into_iter().collect()),
            deny: Vec::new(),
        }
    }
}

impl<R> Default for Rules<R> {
    fn default() -> Self {
        Self {
            allow: None,
            deny: Vec::new(),
        }
    }
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            answers_max: Count::of::<1>(),
            expiry: Time::of_ms::<120_000>(),
        }
    }
}

impl FromStr for SubscribeRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut parts = text.split_ascii_whitespace();
        let (Some(pattern), queue, None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(RuleError::Parts(text.to_owned()));
        };
        let pattern = Pattern::parse(pattern).map_err(|source| RuleError::Topic {
            text: pattern.to_owned(),
            source,
        })?;
        let queue = queue.map(Box::from);
        Ok(Self { pattern, queue })
    }
}

impl TryFrom<String> for SubscribeRule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<SubscribeRule> for String {
    fn from(rule: SubscribeRule) -> Self {
        rule.to_string()
    }
}

impl From<Pattern> for SubscribeRule {
    fn from(pattern: Pattern) -> Self {
        Self {
            pattern,
            queue: None,
        }
    }
}

impl fmt::Display for SubscribeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)?;
        match &self.queue {
            Some(queue) => write!(f, " {queue}"),
            None => Ok(()),
        }
    }
}
