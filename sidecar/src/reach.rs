use std::str::FromStr;

use tidings::{BroadcastError, Headers, MemberId, Message, NodeId, Receipt, Session};

/// Who gets a message of all that have subscribed to its topic, as a caller of a door says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everyone.
    Everywhere,
    /// Those on the node that the caller talks to.
    Local,
    /// Those on this node.
    Node(NodeId),
    /// This member alone.
    Member(MemberId),
}

/// Why headers do not say who gets a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("a reach is `local` or `everywhere`, not {0:?}")]
    Unknown(String),
    #[error("{0:?} is not the name of a node")]
    Node(String),
    #[error("{0:?} is not the id of a member")]
    Member(String),
    #[error("the header {0} is not text")]
    NotText(&'static str),
    #[error("a message has a reach, or goes to one node or one member: only one of these")]
    Several,
}

impl Reach {
    /// The header that says `local` or `everywhere`.
    pub(crate) const HEADER: &str = "Tidings-Reach";
    /// The header that names a node.
    pub(crate) const NODE_HEADER: &str = "Tidings-Node";
    /// The header that names a member.
    pub(crate) const MEMBER_HEADER: &str = "Tidings-Member";

    /// What the headers of a message say. They are carried along like any other.
    pub(crate) fn of(headers: &Headers) -> Result<Self, ReachError> {
        let names = [Self::HEADER, Self::NODE_HEADER, Self::MEMBER_HEADER];
        let mut said = [None; 3];
        // Once through all of them, because there may be many. Of one name the first counts.
        for (name, value) in headers.pairs() {
            let is_it = |ours: &&str| name.eq_ignore_ascii_case(ours.as_bytes());
            if let Some(at) = names.iter().position(is_it) {
                let text = || str::from_utf8(value).map_err(|_| ReachError::NotText(names[at]));
                said[at] = Some(said[at].map_or_else(text, Ok)?);
            }
        }
        let [reach, node, member] = said;
        Self::from_parts(reach, node, member)
    }

    /// What these say, of which there is one at most.
    pub(crate) fn from_parts(
        reach: Option<&str>,
        node: Option<&str>,
        member: Option<&str>,
    ) -> Result<Self, ReachError> {
        match (reach, node, member) {
            (None, None, Some(id)) => match MemberId::from_str(id) {
                Ok(member) => Ok(Self::Member(member)),
                Err(_) => Err(ReachError::Member(id.to_owned())),
            },
            (None, Some(name), None) => match NodeId::from_str(name) {
                Ok(node) => Ok(Self::Node(node)),
                Err(_) => Err(ReachError::Node(name.to_owned())),
            },
            (Some("local"), None, None) => Ok(Self::Local),
            (None | Some("everywhere"), None, None) => Ok(Self::Everywhere),
            (Some(other), None, None) => Err(ReachError::Unknown(other.to_owned())),
            _ => Err(ReachError::Several),
        }
    }

    /// Publishes for them. Without an echo the session's own subscriptions get nothing, unless it is one
    /// of them that is named.
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
            Self::Member(member) => session.send_to(member, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn headers_say_who_gets_a_message_or_are_refused() {
        let of_block = |block: String| Reach::of(&Headers::from_block(block.into()));
        let reach = |lines: &str| of_block(format!("NATS/1.0\r\n{lines}\r\n"));
        let node = Reach::Node("n2".parse().unwrap());
        assert_eq!(Reach::of(&Headers::default()), Ok(Reach::Everywhere));
        assert_eq!(reach(""), Ok(Reach::Everywhere));
        let garbage = "NATS/1.0\n\r:tidings-reach local\n\n".to_owned();
        assert_eq!(of_block(garbage), Ok(Reach::Everywhere));
        let not_text = Headers::from_block(Bytes::from_static(b"\nTidings-Node: \xff"));
        let not_text = Reach::of(&not_text);
        assert_eq!(not_text, Err(ReachError::NotText("Tidings-Node")));
        let twice = "Tidings-Node: n2\r\nTidings-Node: n3\r\n";
        assert_eq!(reach(twice), Ok(node.clone()));
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
        assert_eq!(reach(both), Err(ReachError::Several));
        let member = "01b8dac5-b60c-7410-9636-cbfd696b393a";
        let of = |id: &str| Reach::from_parts(None, None, Some(id));
        assert_eq!(of(member), Ok(Reach::Member(member.parse().unwrap())));
        assert_eq!(of("me"), Err(ReachError::Member("me".into())));
        let several = Reach::from_parts(None, Some("n2"), Some(member));
        assert_eq!(several, Err(ReachError::Several));
    }
}
