use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a node as its certificate states it: one DNS label.
///
/// A `PeerName` is always valid: 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end. It is
/// cheap to clone. It says nothing about whether such a node exists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(Arc<str>);

/// The name of a cluster: one or more DNS labels joined by dots, at most 100 bytes.
///
/// It is part of every node certificate, and two nodes form a link only when theirs agree. The
/// bound leaves room for the longest node name in front of it within a DNS name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text, or a label in it, has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than its kind of name may be.
    #[error("a name is at most {bytes_max} bytes long, this one has {bytes}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// Length allowed.
        bytes_max: usize,
    },
    /// A character that DNS labels do not have. Upper case is refused, not folded.
    #[error("{0:?} is not allowed in a name (allowed: a-z, 0-9 and -)")]
    Character(char),
    /// A label starts or ends with a hyphen.
    #[error("a name neither starts nor ends with a hyphen")]
    Hyphen,
}

impl PeerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS name that every node of this cluster answers to.
    pub(crate) fn any_node(&self) -> String {
        format!("node.{self}")
    }

    /// The DNS name that only `node` answers to.
    pub(crate) fn node(&self, node: &PeerName) -> String {
        format!("{node}.node.{self}")
    }
}

impl FromStr for PeerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_label(text)?;
        Ok(Self(text.into()))
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > CLUSTER_BYTES_MAX {
            return Err(NameError::TooLong {
                bytes: text.len(),
                bytes_max: CLUSTER_BYTES_MAX,
            });
        }
        text.split('.').try_for_each(parse_label)?;
        Ok(Self(text.into()))
    }
}

fn parse_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::Empty);
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(NameError::TooLong {
            bytes: label.len(),
            bytes_max: LABEL_BYTES_MAX,
        });
    }
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    if let Some(c) = label.chars().find(|c| !allowed(c)) {
        return Err(NameError::Character(c));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    Ok(())
}

macro_rules! text_like {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }
    };
}

text_like!(PeerName);
text_like!(ClusterName);

const LABEL_BYTES_MAX: usize = 63;
const CLUSTER_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_labels_are_peer_names() {
        for text in ["a", "n1", "node-7", "0", &"x".repeat(63)] {
            assert_eq!(text.parse::<PeerName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<PeerName>().unwrap_err();
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

    #[test]
    fn cluster_names_are_dotted_labels() {
        assert!("prod.example.com".parse::<ClusterName>().is_ok());
        assert_eq!("a..b".parse::<ClusterName>(), Err(NameError::Empty));
        assert_eq!("a.".parse::<ClusterName>(), Err(NameError::Empty));
        let long = ["x".repeat(50), "y".repeat(50)].join(".");
        assert!(matches!(
            long.parse::<ClusterName>(),
            Err(NameError::TooLong { bytes: 101, .. })
        ));
    }
}
