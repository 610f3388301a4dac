use std::fmt;

use tidings_identity::{Incarnation, NodeId};

use crate::Message;

/// The header with which a node numbers what is published on it on topics of changes.
pub const CHANGE_HEADER: &str = "Tidings-Change";

/// The number of a change: which run of which node gave it, and which number of the same server came before it there.
///
/// Whoever has received that one has missed none of that node's in between.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeNumber {
    /// The node on which it was published.
    pub node: NodeId,
    /// The run of that node.
    pub incarnation: Incarnation,
    /// The number of what was published there before, on topics of the same server.
    pub after: u64,
    /// Its own number.
    pub number: u64,
}

impl ChangeNumber {
    /// The number that a message has. None if it is on another topic, or was published on a node that gives none.
    pub fn of(message: &Message) -> Option<Self> {
        Self::parse(message.headers.get(CHANGE_HEADER)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let mut next = || parts.next();
        let node = next()?.parse().ok()?;
        let mut number = || next()?.parse().ok();
        let (incarnation, after, number) = (number()?, number()?, number()?);
        (next().is_none() && after < number).then_some(Self {
            node,
            incarnation: Incarnation::new(incarnation),
            after,
            number,
        })
    }
}

impl fmt::Display for ChangeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            incarnation,
            after,
            number,
        } = self;
        write!(f, "{node} {incarnation} {after} {number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_written_and_nothing_else_is() {
        let number = ChangeNumber {
            node: "n1".parse().unwrap(),
            incarnation: 7.into(),
            after: 3,
            number: 5,
        };
        assert_eq!(number.to_string(), "n1 7 3 5");
        assert_eq!(ChangeNumber::parse("n1 7 3 5"), Some(number));
        for odd in [
            "",
            "n1 7 3",
            "n1 7 3 5 6",
            "n1 7 5 5",
            "n 1 7 3 5",
            "n1 x 3 5",
            " 7 3 5",
        ] {
            assert_eq!(ChangeNumber::parse(odd), None, "{odd}");
        }
    }
}
