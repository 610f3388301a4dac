use std::str::FromStr;

use tidings::{BroadcastError, Headers, Message, NodeId, Receipt, Session};

/// Who gets a message of all that have subscribed to its topic, as a caller of a door says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everyone.
    Everywhere,
    /// Those on the node that the caller talks to.
    Local,
    /// Those on this node.
    Node(NodeId),
}

/// Why headers do not say who gets a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("a reach is `local` or `everywhere`, not {0:?}")]
    Unknown(String),
    #[error("{0:?} is not the name of a node")]
    Node(String),
    #[error("a message goes to one node, or has a reach, not both")]
    Both,
}

impl Reach {
    /// The header that says `local` or `everywhere`.
    pub(crate) const HEADER: &str = "Tidings-Reach";
    /// The header that names a node.
    pub(crate) const NODE_HEADER: &str = "Tidings-Node";

    /// What the headers of a message say. They are carried along like any other.
    pub(crate) fn of(headers: &Headers) -> Result<Self, ReachError> {
        if headers.is_empty() {
            return Ok(Self::Everywhere);
        }
        Self::from_parts(headers.get(Self::HEADER), headers.get(Self::NODE_HEADER))
    }

    /// What these two say.
    pub(crate) fn from_parts(reach: Option<&str>, node: Option<&str>) -> Result<Self, ReachError> {
        match (reach, node) {
            (Some(_), Some(_)) => Err(ReachError::Both),
            (None, Some(name)) => match NodeId::from_str(name) {
                Ok(node) => Ok(Self::Node(node)),
                Err(_) => Err(ReachError::Node(name.to_owned())),
            },
            (Some("local"), None) => Ok(Self::Local),
            (None | Some("everywhere"), None) => Ok(Self::Everywhere),
            (Some(other), None) => Err(ReachError::Unknown(other.to_owned())),
        }
    }

    /// Publishes for them. Without an echo the session's own subscriptions get nothing.
    pub(crate) fn publish(
        self,
        session: &Session,
        message: Message,
        echo: bool,
    ) -> Result<Receipt, BroadcastError> {
        match self {
            Self::Everywhere if echo => session.broadcast(message),
            Self::Everywhere => session.broadcast_from(message),
            Self::Local if echo => session.local_broadcast(message),
            Self::Local => session.local_broadcast_from(message),
            Self::Node(node) if echo => session.direct(&node, message),
            Self::Node(node) => session.direct_from(&node, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_who_gets_a_message_or_are_refused() {
        let reach = |lines: &'static str| Reach::of(&Headers::parse(lines.into()).unwrap());
        let node = Reach::Node("n2".parse().unwrap());
        assert_eq!(reach(""), Ok(Reach::Everywhere));
        assert_eq!(reach("Trace: 1\r\n"), Ok(Reach::Everywhere));
        assert_eq!(
            reach("Tidings-Reach: everywhere\r\n"),
            Ok(Reach::Everywhere)
        );
        assert_eq!(reach("tidings-reach: local\r\n"), Ok(Reach::Local));
        assert_eq!(reach("Tidings-Node: n2\r\n"), Ok(node));
        let unknown = Err(ReachError::Unknown("all".into()));
        assert_eq!(reach("Tidings-Reach: all\r\n"), unknown);
        assert_eq!(
            reach("Tidings-Node: n 2\r\n"),
            Err(ReachError::Node("n 2".into()))
        );
        let both = "Tidings-Reach: local\r\nTidings-Node: n2\r\n";
        assert_eq!(reach(both), Err(ReachError::Both));
    }
}
