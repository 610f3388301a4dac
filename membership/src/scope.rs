use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_identity::text_like;

/// The longest scope name, in bytes.
pub const SCOPE_BYTES_MAX: usize = 63;

/// An isolated set of topics: the same topic in two scopes has different members.
///
/// 1 to 63 of `A-Z`, `a-z`, `0-9`, `-`, `_` and `.`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(Arc<str>);

/// Why a text is not a scope name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// Empty or too long; the length is in bytes.
    #[error("a scope name has 1 to {SCOPE_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// A character outside the allowed set.
    #[error("a scope name has only A-Z, a-z, 0-9, '-', '_' and '.', not {0:?}")]
    Character(char),
}

impl Scope {
    /// Parses a scope name.
    ///
    /// # Errors
    /// When the text is too short or too long, or has another character.
    pub fn parse(name: &str) -> Result<Self, ScopeError> {
        if name.is_empty() || name.len() > SCOPE_BYTES_MAX {
            return Err(ScopeError::Length(name.len()));
        }
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match name.chars().find(|&c| !ok(c)) {
            Some(c) => Err(ScopeError::Character(c)),
            None => Ok(Self(name.into())),
        }
    }
}

impl Default for Scope {
    /// The scope of whoever names none: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

text_like!(Scope, ScopeError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_names_are_plain() {
        assert_eq!(Scope::parse("team_A.1").unwrap().as_str(), "team_A.1");
        assert_eq!(Scope::parse(""), Err(ScopeError::Length(0)));
        assert_eq!(Scope::parse("a b"), Err(ScopeError::Character(' ')));
        assert_eq!(Scope::default().as_str(), "default");
    }
}
