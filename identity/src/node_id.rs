use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::label::{self, NameError};
use crate::text_like;

/// The name of a node, unique in its cluster and the same over restarts: one DNS label, because
/// its certificate carries it as one.
///
/// Always valid: 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end. Cheap to clone. It
/// says nothing about whether such a node exists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Parses a node name.
    ///
    /// # Errors
    /// When the text is not a DNS label in lower case.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        label::parse(text)?;
        Ok(Self(text.into()))
    }
}

text_like!(NodeId, NameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_are_node_names() {
        for text in ["a", "n1", "node-7", "0", &"x".repeat(63)] {
            assert_eq!(NodeId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let refused = |text: &str| NodeId::parse(text).unwrap_err();
        assert_eq!(refused(""), NameError::Empty);
        assert_eq!(refused("N1"), NameError::Character('N'));
        assert_eq!(refused("a.b"), NameError::Character('.'));
        assert_eq!(refused("knö"), NameError::Character('ö'));
        assert_eq!(refused("-a"), NameError::Hyphen);
        assert_eq!(refused("a-"), NameError::Hyphen);
        assert!(matches!(
            refused(&"x".repeat(64)),
            NameError::TooLong { bytes: 64, .. }
        ));
    }
}
