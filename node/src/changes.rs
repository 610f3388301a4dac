//! What has changed at MCP servers, kept for those who may have missed some of it.
//!
//! A message on a topic `mcp.<server>.…` says that something has changed, and that it is to be read again.
//! Such a message is delivered at most once as all are, but the knowledge is to reach everybody: so the node on
//! which it is published gives it a number, which tells whether one before it was missed, and keeps each distinct
//! message once. Whoever may have missed something asks each node what was published there since the last number
//! that is known for certain. No clock is compared, and nothing is kept for anybody.

mod log;
mod number;
mod position;
mod recall;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Scope, Topic};

pub(crate) use self::log::Since;
use self::log::{ChangeLog, LogBounds, Server};
pub use self::number::{CHANGE_HEADER, ChangeNumber};
pub use self::position::Position;
pub use self::recall::{Recall, Recalled};
pub(crate) use self::recall::{Sources, recall};
use crate::Message;

/// The changes that are published on a node.
#[derive(Debug)]
pub(crate) struct Changes {
    node: NodeId,
    incarnation: Incarnation,
    log: Mutex<ChangeLog>,
}

impl Changes {
    /// None yet, in this run of this node.
    pub(crate) fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            node,
            incarnation,
            log: Mutex::new(ChangeLog::new(BOUNDS)),
        }
    }

    /// The same message with its number, if it is published on a topic of changes; whatever number a client has
    /// given it goes.
    pub(crate) fn number(&self, scope: &Scope, mut message: Message) -> Message {
        let Some(server) = server(scope, &message.topic) else {
            return message;
        };
        let (after, number) = self.log().add(&server, &message.topic, &message.payload);
        let number = ChangeNumber {
            node: self.node.clone(),
            incarnation: self.incarnation,
            after,
            number,
        };
        let headers = message.headers.without(CHANGE_HEADER);
        // Who finds that it lacks one asks for it.
        let numbered = headers.clone().with(CHANGE_HEADER, &number.to_string());
        message.headers = numbered.unwrap_or(headers);
        message
    }

    /// What was published here, as much as goes into an answer, see [`ChangeLog::since`]. None if the topic is not
    /// that of a server.
    pub(crate) fn since(&self, scope: &Scope, server: &Topic, after: u64) -> Option<Since> {
        let server = self::log::Server {
            scope: scope.clone(),
            prefix: format!("{}.", is_server(server).then_some(server)?.as_str()),
        };
        Some(self.log().since(&server, after, ANSWER_BYTES_MAX))
    }

    fn log(&self) -> MutexGuard<'_, ChangeLog> {
        // Nothing panics while it is held.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes away the number of a message that a peer has passed on, if that peer did not give it.
pub(crate) fn check_number(message: &mut Message, node: &NodeId, incarnation: Incarnation) {
    if !message.topic.as_str().starts_with(PREFIX) {
        return;
    }
    let is_own = ChangeNumber::of(message)
        .is_some_and(|number| (&number.node, number.incarnation) == (node, incarnation));
    if !is_own {
        message.headers = std::mem::take(&mut message.headers).without(CHANGE_HEADER);
    }
}

/// Whose change is told on a topic, if one is.
fn server(scope: &Scope, topic: &Topic) -> Option<Server> {
    let text = topic.as_str();
    let name = text.strip_prefix(PREFIX)?;
    let end = PREFIX.len() + name.find('.')? + 1;
    Some(Server {
        scope: scope.clone(),
        prefix: text[..end].to_owned(),
    })
}

/// Whether a topic is the part that all topics of a server begin with, without the last dot.
fn is_server(topic: &Topic) -> bool {
    let name = topic.as_str().strip_prefix(PREFIX);
    name.is_some_and(|name| !name.contains('.'))
}

/// What topics of changes begin with.
const PREFIX: &str = "mcp.";
const BOUNDS: LogBounds = LogBounds {
    messages_max: 65_536,
    bytes_max: 16 << 20,
    message_bytes_max: 4 << 10,
};
/// What the changes in an answer may take; their lengths and numbers come to less than as much again.
const ANSWER_BYTES_MAX: usize = 24 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Headers;

    fn changes() -> Changes {
        Changes::new("n1".parse().unwrap(), 7.into())
    }

    fn message(topic: &str) -> Message {
        Message::new(topic.parse().unwrap(), "{}")
    }

    #[test]
    fn only_changes_are_numbered_and_by_nobody_but_their_node() {
        let (changes, scope) = (changes(), Scope::default());
        for other in [
            "mcp",
            "mcp.weather",
            "mcpx.weather.updated",
            "kb.mcp.updated",
        ] {
            assert_eq!(changes.number(&scope, message(other)), message(other));
        }
        let forged = Headers::default()
            .with("tidings-change", "n2 1 5 9")
            .unwrap();
        let forged = forged.with("Trace", "7").unwrap();
        let numbered = changes.number(&scope, message("mcp.weather.updated").with_headers(forged));
        let number = ChangeNumber::of(&numbered).unwrap();
        assert_eq!(
            (number.node.as_str(), number.after, number.number),
            ("n1", 0, 1)
        );
        assert_eq!(numbered.headers.get("trace"), Some("7"));
        let since = |server: &str| changes.since(&scope, &server.parse().unwrap(), 0);
        assert_eq!(since("mcp.weather").unwrap().messages.len(), 1);
        assert_eq!(since("mcp.other").unwrap().messages.len(), 0);
        assert_eq!(since("mcp.weather.updated"), None);
    }

    #[test]
    fn a_number_of_another_node_does_not_pass() {
        let numbered = changes().number(&Scope::default(), message("mcp.weather.updated"));
        for (node, incarnation, passes) in [("n1", 7, true), ("n2", 7, false), ("n1", 8, false)] {
            let mut arrived = numbered.clone();
            check_number(&mut arrived, &node.parse().unwrap(), incarnation.into());
            assert_eq!(ChangeNumber::of(&arrived).is_some(), passes);
        }
    }
}
