use std::fmt;
use std::str::FromStr;

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Pattern, Topic};

/// The name of a stream: which run of which node keeps it, and its number there, as in
/// `n1-1764182400000-7`.
///
/// It is one token of a topic. That it is valid does not say that there is such a stream.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) number: u64,
}

/// Why a text is no name of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stream is named by its node, the run of that and a number, as n1-1764182400000-7")]
pub struct StreamIdError;

impl StreamId {
    /// Parses the name of a stream.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, StreamIdError> {
        let mut parts = text.rsplitn(3, '-');
        let mut number = || {
            let digits = parts.next().ok_or(StreamIdError)?;
            // One name only, so no sign and no zeros in front.
            let number: u64 = digits.parse().map_err(|_| StreamIdError)?;
            (number.to_string() == digits)
                .then_some(number)
                .ok_or(StreamIdError)
        };
        let (number, incarnation) = (number()?, number()?.into());
        let node = parts.next().ok_or(StreamIdError)?;
        let node = NodeId::parse(node).map_err(|_| StreamIdError)?;
        Ok(Self {
            node,
            incarnation,
            number,
        })
    }

    /// The node that keeps it.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The run of the node that keeps it.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The topic on which its chunks are broadcast, `stream.<id>`: who may subscribe to it may follow the
    /// stream, and who may publish on it may write it.
    pub fn topic(&self) -> Topic {
        let topic = format!("stream.{self}");
        Topic::parse(&topic).expect("names of nodes and numbers make a topic")
    }

    pub(crate) fn pattern(&self) -> Pattern {
        Pattern::from(&self.topic())
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            incarnation,
            number,
        } = self;
        write!(f, "{node}-{incarnation}-{number}")
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_one_name_which_is_a_token_of_a_topic() {
        for text in ["n1-1-2", "a-b-7-1764182400000-0", "1-2-3"] {
            let id = StreamId::parse(text).unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.topic().as_str(), format!("stream.{text}"));
        }
        for none in [
            "", "n1", "n1-1", "-1-2", "n1-1-", "n1-01-2", "n1-1-+2", "N-1-2", "a.b-1-2", "n1--1-2-",
        ] {
            assert_eq!(StreamId::parse(none), Err(StreamIdError), "{none}");
        }
    }
}
