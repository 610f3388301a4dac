//! What changes at a server, and how it is published: the MCP notification `notifications/a/b` of the
//! server `weather` is a message on the topic `mcp.weather.a.b`, with its `params` as payload. Whoever can
//! publish can tell of a change; see `docs/mcp.md`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{Message, Pattern, Topic};

use crate::ServerName;

/// The longest URI of a resource that can be told of, in bytes.
pub const URI_BYTES_MAX: usize = 2_048;

/// Something that has changed at an MCP server, and that its clients should read again.
///
/// It says of itself what has changed and not how: to hear of it once is as good as twice. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The list of tools: `notifications/tools/list_changed`.
    Tools,
    /// The list of prompts: `notifications/prompts/list_changed`.
    Prompts,
    /// The list of resources: `notifications/resources/list_changed`.
    Resources,
    /// The resource with this URI: `notifications/resources/updated`.
    Resource(Uri),
}

/// The URI of a resource, at most 2,048 bytes, of which nothing else is assumed. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uri(Arc<str>);

/// A URI is too long; its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URI of a resource has 1 to {URI_BYTES_MAX} bytes, this one has {0}")]
pub struct UriError(usize);

/// Why a message on a topic of a server tells of no change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedChange {
    /// The payload is not `{"uri": …}`.
    #[error(
        "the payload is not the params of notifications/resources/updated, as {{\"uri\":\"a:b\"}}"
    )]
    Payload(#[source] serde_json::Error),
    /// The URI is empty or too long.
    #[error(transparent)]
    Uri(#[from] UriError),
}

/// The `params` of `notifications/resources/updated`, as far as they matter here.
#[derive(Serialize, Deserialize)]
struct Updated<'a> {
    #[serde(borrow)]
    uri: std::borrow::Cow<'a, str>,
}

impl Uri {
    /// Parses a URI.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        match uri.len() {
            1..=URI_BYTES_MAX => Ok(Self(uri.into())),
            length => Err(UriError(length)),
        }
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Uri {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        Self::parse(uri)
    }
}

impl Change {
    /// What the topics of all changes of a server begin with.
    pub(crate) fn prefix(server: &ServerName) -> Topic {
        let prefix = Topic::parse(&format!("{PREFIX}.{server}"));
        prefix.expect("a name is one token")
    }

    /// What all changes of a server are published on.
    pub fn pattern(server: &ServerName) -> Pattern {
        let pattern = Pattern::parse(&format!("{PREFIX}.{server}.>"));
        pattern.expect("a name is one token")
    }

    /// The message that tells of it.
    pub fn message(&self, server: &ServerName) -> Message {
        let (suffix, payload) = match self {
            Self::Tools => (TOOLS, "{}".to_owned()),
            Self::Prompts => (PROMPTS, "{}".to_owned()),
            Self::Resources => (RESOURCES, "{}".to_owned()),
            Self::Resource(uri) => {
                let uri = uri.as_str().into();
                let payload = serde_json::to_string(&Updated { uri });
                (UPDATED, payload.expect("a text can be written as JSON"))
            }
        };
        let topic = Topic::parse(&format!("{PREFIX}.{server}.{suffix}"));
        Message::new(topic.expect("a name is one token"), payload)
    }

    /// The change that a message tells of; none if it is about something else.
    ///
    /// # Errors
    /// When it is on the topic of a change, and its payload is not that of one.
    pub fn of(message: &Message, server: &ServerName) -> Result<Option<Self>, MalformedChange> {
        let topic = message.topic.as_str();
        let suffix = topic
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('.')?.strip_prefix(server.as_str()))
            .and_then(|rest| rest.strip_prefix('.'));
        Ok(match suffix {
            Some(TOOLS) => Some(Self::Tools),
            Some(PROMPTS) => Some(Self::Prompts),
            Some(RESOURCES) => Some(Self::Resources),
            Some(UPDATED) => {
                let updated = serde_json::from_slice(&message.payload);
                let Updated { uri } = updated.map_err(MalformedChange::Payload)?;
                Some(Self::Resource(Uri::parse(&uri)?))
            }
            _ => None,
        })
    }

    /// About what it takes of memory to watch for it.
    pub(crate) fn bytes(&self) -> usize {
        const ENTRY: usize = 128;
        match self {
            Self::Resource(uri) => ENTRY + uri.as_str().len(),
            Self::Tools | Self::Prompts | Self::Resources => ENTRY,
        }
    }
}

const PREFIX: &str = "mcp";
const TOOLS: &str = "tools.list_changed";
const PROMPTS: &str = "prompts.list_changed";
const RESOURCES: &str = "resources.list_changed";
const UPDATED: &str = "resources.updated";

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerName {
        ServerName::parse("weather").unwrap()
    }

    #[test]
    fn a_change_is_published_as_the_convention_says() {
        let uri = Uri::parse("weather://sf?\"q\"").unwrap();
        let told = [
            (Change::Tools, "mcp.weather.tools.list_changed", "{}"),
            (Change::Prompts, "mcp.weather.prompts.list_changed", "{}"),
            (
                Change::Resources,
                "mcp.weather.resources.list_changed",
                "{}",
            ),
            (
                Change::Resource(uri),
                "mcp.weather.resources.updated",
                r#"{"uri":"weather://sf?\"q\""}"#,
            ),
        ];
        for (change, topic, payload) in told {
            let message = change.message(&server());
            assert_eq!(
                (message.topic.as_str(), &message.payload[..]),
                (topic, payload.as_bytes())
            );
            assert!(Change::pattern(&server()).matches(&message.topic));
            assert_eq!(Change::of(&message, &server()).unwrap(), Some(change));
        }
    }

    #[test]
    fn what_is_no_change_of_the_server_is_told_apart() {
        let message =
            |topic: &str, payload: &'static str| Message::new(topic.parse().unwrap(), payload);
        for topic in [
            "mcp.weather.progress",
            "mcp.weather.resources",
            "mcp.weather2.tools.list_changed",
        ] {
            assert_eq!(Change::of(&message(topic, "{}"), &server()).unwrap(), None);
        }
        let updated = "mcp.weather.resources.updated";
        let with_more = message(updated, r#"{"uri":"a:b","_meta":{"x":1}}"#);
        let a_b = Change::Resource(Uri::parse("a:b").unwrap());
        assert_eq!(Change::of(&with_more, &server()).unwrap(), Some(a_b));
        for payload in [
            "",
            "a:b",
            "{}",
            r#"{"uri":1}"#,
            r#"{"uri":"a"} x"#,
            r#"{"uri":""}"#,
        ] {
            assert!(
                Change::of(&message(updated, payload), &server()).is_err(),
                "{payload}"
            );
        }
        assert_eq!(
            Uri::parse(&"u".repeat(URI_BYTES_MAX + 1)),
            Err(UriError(URI_BYTES_MAX + 1))
        );
    }
}
