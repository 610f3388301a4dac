use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::label::{self, NameError};
use crate::text_like;

/// The longest cluster name, in bytes.
pub const CLUSTER_NAME_BYTES_MAX: usize = 100;

/// The name of a cluster: one or more DNS labels joined by dots, at most 100 bytes.
///
/// It is part of every node certificate, and two nodes form a link only when theirs agree. The
/// bound leaves room for the longest node name in front of it within a DNS name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(Arc<str>);

impl ClusterName {
    /// Parses a cluster name.
    ///
    /// # Errors
    /// When the text is not DNS labels joined by dots, or too long.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > CLUSTER_NAME_BYTES_MAX {
            return Err(NameError::TooLong {
                bytes: text.len(),
                bytes_max: CLUSTER_NAME_BYTES_MAX,
            });
        }
        text.split('.').try_for_each(label::parse)?;
        Ok(Self(text.into()))
    }

    /// The DNS name that every node of this cluster answers to.
    pub fn any_node(&self) -> String {
        format!("node.{self}")
    }

    /// The DNS name that only `node` answers to.
    pub fn node(&self, node: &NodeId) -> String {
        format!("{node}.node.{self}")
    }
}

impl Default for ClusterName {
    /// The cluster of a node that names none: `tidings`.
    fn default() -> Self {
        Self("tidings".into())
    }
}

text_like!(ClusterName, NameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_dotted_labels() {
        assert!(ClusterName::parse("prod.example.com").is_ok());
        assert_eq!(ClusterName::parse("a..b"), Err(NameError::Empty));
        assert_eq!(ClusterName::parse("a."), Err(NameError::Empty));
        let long = ["x".repeat(50), "y".repeat(50)].join(".");
        assert!(matches!(
            ClusterName::parse(&long),
            Err(NameError::TooLong { bytes: 101, .. })
        ));
    }

    #[test]
    fn the_name_of_whoever_names_none_is_one() {
        let default = ClusterName::default();
        assert_eq!(ClusterName::parse(default.as_str()), Ok(default));
    }
}
