use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_identity::text_like;

/// The longest agent name that is kept, in bytes.
pub const AGENT_NAME_BYTES_MAX: usize = 64;

/// What an agent calls itself. A label for people: nothing is decided by it, and it need not be
/// unique.
///
/// At most 64 bytes, no control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(Arc<str>);

/// Why a text is not an agent name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentNameError {
    /// Empty or too long; the length is in bytes.
    #[error("an agent name has 1 to {AGENT_NAME_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// A control character.
    #[error("an agent name has no control characters, not {0:?}")]
    Character(char),
}

impl AgentName {
    /// Parses an agent name.
    ///
    /// # Errors
    /// When the text is empty or too long, or has a control character.
    pub fn parse(name: &str) -> Result<Self, AgentNameError> {
        if name.is_empty() || name.len() > AGENT_NAME_BYTES_MAX {
            return Err(AgentNameError::Length(name.len()));
        }
        match name.chars().find(|c| c.is_control()) {
            Some(c) => Err(AgentNameError::Character(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The nearest agent name to what a client calls itself: control characters are left out and
    /// what is too long is cut. None if nothing remains.
    pub fn nearest(name: &str) -> Option<Self> {
        let mut kept: String = name.chars().filter(|c| !c.is_control()).collect();
        kept.truncate(kept.floor_char_boundary(AGENT_NAME_BYTES_MAX));
        (!kept.is_empty()).then(|| Self(kept.into()))
    }
}

text_like!(AgentName, AgentNameError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_always_a_name() {
        let long = "é".repeat(40);
        for name in ["planner", "a\nb", &long] {
            let near = AgentName::nearest(name).unwrap();
            assert_eq!(AgentName::parse(near.as_str()).as_ref(), Ok(&near));
        }
        assert_eq!(AgentName::nearest("\u{1}"), None);
        assert_eq!(AgentName::nearest(""), None);
    }
}
