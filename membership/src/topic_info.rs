use std::fmt;

use serde::{Deserialize, Serialize};
use tidings_identity::{Incarnation, NodeId};

use crate::{Schema, Scope, Topic};

/// The longest description of a topic, in bytes.
pub const TOPIC_DESCRIPTION_BYTES_MAX: usize = 1_024;

/// The longest content type, owner or schema of a topic, in bytes.
pub const TOPIC_LABEL_BYTES_MAX: usize = 256;

/// What people and programs are told of a topic. Nothing is decided by it, but for its schema: what does
/// not fit that is not published.
///
/// Each part is there or not. No text has control characters or is empty; the description has at most
/// 1,024 bytes, each other text 256.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicInfo {
    /// What is published on it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What payloads are, as `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where it says what a payload looks like: an address, a name; or, written like a
    /// [`SchemaDigest`](crate::SchemaDigest), which of the schemas that are told of any topic is that of
    /// this one, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The schema of this topic itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<Schema>,
}

/// What is known of a topic, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopicRecord {
    /// The scope.
    pub scope: Scope,
    /// The topic.
    pub topic: Topic,
    /// When, where and in which run of that node it was set; of two records the one with the greater
    /// stamp counts.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// What is told.
    #[serde(flatten)]
    pub info: TopicInfo,
}

/// Tells which of two records of a topic is newer: by time first, then by the name of the node, then
/// by its run. So all nodes that know the same records show the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When it was set by that node's clock, in milliseconds since the Unix epoch; but always later
    /// than what was known there before.
    pub unix_ms: u64,
    /// On which node.
    pub node: NodeId,
    /// In which of its runs.
    pub incarnation: Incarnation,
}

/// Something is not what can be told of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicInfoError {
    /// Empty or too long; the length is in bytes.
    #[error("{part} of a topic has 1 to {max} bytes, this one has {bytes}")]
    Length {
        /// Which part.
        part: TopicPart,
        /// Its length.
        bytes: usize,
        /// The most it may have.
        max: usize,
    },
    /// A control character.
    #[error("{part} of a topic has no control characters, not {character:?}")]
    Character {
        /// Which part.
        part: TopicPart,
        /// The character.
        character: char,
    },
}

/// A part of what is told of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicPart {
    /// [`TopicInfo::description`].
    Description,
    /// [`TopicInfo::content_type`].
    ContentType,
    /// [`TopicInfo::owner`].
    Owner,
    /// [`TopicInfo::schema`].
    Schema,
}

impl TopicInfo {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether each part is as it may be.
    pub(crate) fn check(&self) -> Result<(), TopicInfoError> {
        let (text, label) = (TOPIC_DESCRIPTION_BYTES_MAX, TOPIC_LABEL_BYTES_MAX);
        let parts = [
            (TopicPart::Description, &self.description, text),
            (TopicPart::ContentType, &self.content_type, label),
            (TopicPart::Owner, &self.owner, label),
            (TopicPart::Schema, &self.schema, label),
        ];
        for (part, value, max) in parts {
            let Some(value) = value else { continue };
            let bytes = value.len();
            if bytes == 0 || bytes > max {
                return Err(TopicInfoError::Length { part, bytes, max });
            }
            if let Some(character) = value.chars().find(|c| c.is_control()) {
                return Err(TopicInfoError::Character { part, character });
            }
        }
        Ok(())
    }
}

impl fmt::Display for TopicPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Description => "the description",
            Self::ContentType => "the content type",
            Self::Owner => "the owner",
            Self::Schema => "the schema",
        })
    }
}
