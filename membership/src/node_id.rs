use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest node name, in bytes: that of a DNS label, because certificates carry it as one.
pub const NODE_ID_BYTES_MAX: usize = 63;

/// The name of a node, unique in its cluster and the same over restarts.
///
/// A DNS label in lower case: 1 to 63 of `a-z`, `0-9` and `-`, not beginning or ending with `-`.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Parses a node name.
    pub fn parse(name: &str) -> Result<Self, NodeIdError> {
        if name.is_empty() || name.len() > NODE_ID_BYTES_MAX {
            return Err(NodeIdError::Length(name.len()));
        }
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(c) = name.chars().find(|&c| !ok(c)) {
            return Err(NodeIdError::Character(c));
        }
        if name.starts_with('-') || name.ends_with('-') {
            return Err(NodeIdError::Hyphen);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    /// Empty or too long; the length is in bytes.
    #[error("a node name has 1 to {NODE_ID_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// A character that a DNS label does not have.
    #[error("a node name has only a-z, 0-9 and '-', not {0:?}")]
    Character(char),
    /// Begins or ends with a hyphen.
    #[error("a node name neither begins nor ends with '-'")]
    Hyphen,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<NodeId> for String {
    fn from(node: NodeId) -> Self {
        node.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_labels_are_node_names() {
        for name in ["n1", "a", "7", "worker-eu-1", &"x".repeat(63)] {
            assert_eq!(NodeId::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(NodeId::parse(""), Err(NodeIdError::Length(0)));
        assert_eq!(NodeId::parse(&"x".repeat(64)), Err(NodeIdError::Length(64)));
        assert_eq!(NodeId::parse("N1"), Err(NodeIdError::Character('N')));
        assert_eq!(NodeId::parse("a.b"), Err(NodeIdError::Character('.')));
        assert_eq!(NodeId::parse("-a"), Err(NodeIdError::Hyphen));
        assert_eq!(NodeId::parse("a-"), Err(NodeIdError::Hyphen));
    }
}
