//! The resources: what of the cluster can be read, and listened to.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use rmcp::ErrorData;
use rmcp::model::{ErrorCode, Resource, ResourceContents, ResourceTemplate};
use serde_json::Value;
use tidings::{
    Denied, Event, FollowError, OpenError, Pattern, Scope, StreamId, SubscribeError, Topic, Watched,
};

use super::inbox_error::InboxError;
use super::results::{JSON, LastMessageResult, MessageResult, json};
use super::shared::Shared;
use super::shown;
use super::stream_page::StreamPage;
use crate::caller::Caller;
use crate::watchers::TooManyWatch;

/// What a URI stands for, in the scope of whoever names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// The nodes of the cluster.
    Nodes,
    /// The topics that have members.
    Topics,
    /// The last message on a topic.
    LastMessage(Topic),
    /// The members of a topic or pattern.
    Members(Pattern),
    /// What is written to a stream after its first so many chunks.
    Stream(StreamId, u64),
}

/// Why a resource cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("there is no resource of this URI")]
    Unknown,
    #[error("denied: {0}")]
    Denied(#[from] Denied),
    #[error(transparent)]
    LastMessage(InboxError),
    #[error(transparent)]
    Follow(FollowError),
    #[error("nothing was read: {0}")]
    Open(#[from] OpenError),
    #[error("nothing was read: {0}")]
    TooMany(#[from] TooManyWatch),
    #[error(transparent)]
    Build(#[from] crate::builder::BuildError),
}

impl Named {
    /// What it shows, as that of this URI.
    pub(super) async fn read(
        self,
        shared: &Shared,
        caller: &Caller,
        uri: &str,
    ) -> Result<Vec<ResourceContents>, ReadError> {
        let node = &shared.node;
        match self {
            Self::LastMessage(topic) => {
                let scope = caller.scope(None)?;
                let followed = shared.inboxes.last_message(caller, &scope, &topic)?;
                let seen = followed.seen().borrow().clone();
                let last = LastMessageResult {
                    topic: topic.to_string(),
                    seen: seen.count,
                    last: seen.message.as_ref().map(MessageResult::new),
                };
                Ok(vec![json(&last, uri)])
            }
            Self::Stream(id, from) => {
                let scope = caller.scope(None)?;
                // The node of the stream may take its time.
                let _place = shared.watchers.place()?;
                let (session, _) = shared.session(caller, scope)?;
                let page = StreamPage::read(session.follow(&id, from)?).await?;
                Ok(page.contents(uri))
            }
            shown => {
                let (scope, view) = (caller.seen(None)?, node.view());
                let uri = uri.to_owned();
                let build = move || match shown {
                    Self::Topics => json(&shown::topics(&view, &scope, None, ITEMS_MAX), uri),
                    Self::Members(pattern) => {
                        let members = shown::members(&view, &scope, &pattern, None, ITEMS_MAX);
                        json(&members, uri)
                    }
                    _ => json(&shown::nodes(&view), uri),
                };
                Ok(vec![shared.builder.build(build).await?])
            }
        }
    }

    /// What is to be watched to know when it changes; none for what is no part of the view.
    pub(super) fn watched(&self, scope: &Scope) -> Option<Watched> {
        match self {
            Self::Nodes => Some(Watched::Nodes),
            Self::Topics => Some(Watched::Scope(scope.clone())),
            Self::Members(pattern) => Some(Watched::Topic(scope.clone(), pattern.clone())),
            Self::LastMessage(_) | Self::Stream(..) => None,
        }
    }

    /// Whether it shows something else after this, which a watch of it has told.
    pub(super) fn is_changed_by(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Nodes, Event::NodeUp { .. } | Event::NodeDown { .. }) => true,
            (Self::Topics, Event::Joined { .. } | Event::Left { .. }) => true,
            (
                Self::Members(own),
                Event::Joined { pattern, .. }
                | Event::Left { pattern, .. }
                | Event::Updated { pattern, .. },
            ) => own.is_literal() || own == pattern,
            _ => false,
        }
    }
}

impl FromStr for Named {
    type Err = ReadError;

    fn from_str(uri: &str) -> Result<Self, ReadError> {
        let path = uri.strip_prefix("tidings://").ok_or(ReadError::Unknown)?;
        if path == "nodes" {
            return Ok(Self::Nodes);
        }
        if path == "topics" {
            return Ok(Self::Topics);
        }
        if let Some(stream) = path.strip_prefix("streams/") {
            let (id, from) = stream.split_once("?from=").unwrap_or((stream, "0"));
            let id = id.parse().map_err(|_| ReadError::Unknown)?;
            let from = from.parse().map_err(|_| ReadError::Unknown)?;
            return Ok(Self::Stream(id, from));
        }
        let name = path.strip_prefix("topics/").ok_or(ReadError::Unknown)?;
        let (name, is_members) = match name.strip_suffix("/members") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let name = percent_decode_str(name).decode_utf8();
        let name = name.map_err(|_| ReadError::Unknown)?;
        let named = match is_members {
            true => name.parse().map(Self::Members),
            false => name.parse().map(Self::LastMessage),
        };
        named.map_err(|_| ReadError::Unknown)
    }
}

impl From<InboxError> for ReadError {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::Subscribe(SubscribeError::Denied(denied)) => Self::Denied(denied),
            error => Self::LastMessage(error),
        }
    }
}

impl From<FollowError> for ReadError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Denied(denied) => Self::Denied(denied),
            error => Self::Follow(error),
        }
    }
}

impl ReadError {
    /// As it is told to who wanted to read this.
    pub(super) fn about(self, uri: &str) -> ErrorData {
        self.data(Some(serde_json::json!({ "uri": uri })))
    }

    /// As it is told, with this besides.
    pub(super) fn data(self, data: Option<Value>) -> ErrorData {
        let problem = self.to_string();
        match self {
            Self::Unknown | Self::Follow(FollowError::NoSuchStream { .. }) => {
                ErrorData::resource_not_found(problem, data)
            }
            Self::Denied(_) => ErrorData::new(ErrorCode::INVALID_REQUEST, problem, data),
            _ => ErrorData::internal_error(problem, data),
        }
    }
}

/// Those that have a URI of their own.
pub(super) fn resources() -> Vec<Resource> {
    let nodes = Resource::new("tidings://nodes", "nodes")
        .with_title("The nodes of the cluster")
        .with_mime_type(JSON);
    let topics = Resource::new("tidings://topics", "topics")
        .with_title("The topics to which somebody is subscribed")
        .with_mime_type(JSON);
    vec![nodes, topics]
}

/// Those of topics and streams.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let last = ResourceTemplate::new("tidings://topics/{topic}", "last message")
        .with_title("The last message on a topic")
        .with_description(
            "The last message that came to this node since this was first read or listened to, which subscribes to \
             the topic. It ends some minutes after nobody has read it or listened.",
        )
        .with_mime_type(JSON);
    let members = ResourceTemplate::new("tidings://topics/{topic}/members", "members")
        .with_title("Who is subscribed to a topic")
        .with_mime_type(JSON);
    let stream = ResourceTemplate::new("tidings://streams/{id}{?from}", "stream")
        .with_title("What is written to a stream so far")
        .with_description(
            "What a tool says as it says it, from after the first `from` chunks on, up to 64 KiB. A second content in JSON \
             says `next`, from where it goes on, and `state`: more (read on), open (that is all so far), complete, failed or \
             aborted.",
        );
    vec![last, members, stream]
}

/// How many topics or members a resource shows; the tools show the rest.
const ITEMS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_stands_for_a_part_of_the_cluster_or_for_nothing() {
        let topic = || "a:b.c".parse().unwrap();
        let stream = |from| Named::Stream("n1-1-2".parse().unwrap(), from);
        for (uri, expected) in [
            ("tidings://nodes", Named::Nodes),
            ("tidings://topics", Named::Topics),
            ("tidings://topics/a%3Ab.c", Named::LastMessage(topic())),
            ("tidings://topics/a:b.c", Named::LastMessage(topic())),
            (
                "tidings://topics/a.%3E/members",
                Named::Members("a.>".parse().unwrap()),
            ),
            ("tidings://streams/n1-1-2", stream(0)),
            ("tidings://streams/n1-1-2?from=7", stream(7)),
        ] {
            assert_eq!(uri.parse::<Named>().unwrap(), expected, "{uri}");
        }
        for uri in [
            "",
            "tidings://",
            "tidings://node",
            "tidings://topics/",
            "tidings://topics/a..b",
            "tidings://topics/a.*",
            "tidings://topics/%FF",
            "tidings://topics//members",
            "tidings://streams/",
            "tidings://streams/n1",
            "tidings://streams/n1-1-2?from=",
            "tidings://streams/n1-1-2?from=-1",
            "tidings://streams/n1-1-2?to=7",
            "tidings://streams/n1-1-2/members",
            "file:///etc/passwd",
        ] {
            assert!(uri.parse::<Named>().is_err(), "{uri}");
        }
    }
}
