use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a queue group, in bytes.
pub const QUEUE_GROUP_BYTES_MAX: usize = 255;

/// A group of members that share the messages of their topics: of each message one of them gets it.
///
/// Who is in a group is decided by name and scope, whatever pattern each of them has subscribed to. 1 to 255
/// bytes without white space and control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueGroup(Arc<Box<str>>);

/// Why a text is not the name of a queue group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueGroupError {
    /// Empty or too long; the length is in bytes.
    #[error("the name of a queue group has 1 to {QUEUE_GROUP_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// White space or a control character.
    #[error("the name of a queue group has no white space and no control characters, not {0:?}")]
    Character(char),
}

impl QueueGroup {
    /// Parses the name of a queue group.
    ///
    /// # Errors
    /// When the text is empty or too long, or has white space or a control character.
    pub fn parse(name: &str) -> Result<Self, QueueGroupError> {
        if name.is_empty() || name.len() > QUEUE_GROUP_BYTES_MAX {
            return Err(QueueGroupError::Length(name.len()));
        }
        match name.chars().find(|c| c.is_whitespace() || c.is_control()) {
            Some(c) => Err(QueueGroupError::Character(c)),
            None => Ok(Self(Arc::new(name.into()))),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for QueueGroup {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueGroup {
    type Err = QueueGroupError;

    fn from_str(name: &str) -> Result<Self, QueueGroupError> {
        Self::parse(name)
    }
}

impl TryFrom<String> for QueueGroup {
    type Error = QueueGroupError;

    fn try_from(name: String) -> Result<Self, QueueGroupError> {
        Self::parse(&name)
    }
}

impl From<QueueGroup> for String {
    fn from(group: QueueGroup) -> Self {
        group.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word() {
        for name in ["workers", "größe", "a.b", "*", &"x".repeat(255)] {
            assert_eq!(QueueGroup::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(QueueGroup::parse(""), Err(QueueGroupError::Length(0)));
        let long = QueueGroup::parse(&"x".repeat(256));
        assert_eq!(long, Err(QueueGroupError::Length(256)));
        let spaced = QueueGroup::parse("a b");
        assert_eq!(spaced, Err(QueueGroupError::Character(' ')));
    }
}
