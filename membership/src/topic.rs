use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_identity::text_like;

/// The longest topic or pattern that any configuration may allow, in bytes.
pub const TOPIC_BYTES_MAX: usize = 4_096;

/// The most tokens of a topic or pattern. Routes are a tree of tokens, which is walked as deep.
const TOKENS_MAX: usize = 256;

/// What a message is published on.
///
/// 1 to 4,096 bytes of UTF-8 without white space and control characters, cut into up to 256 tokens at `.`, or
/// at `:` where the topic has no `.`: `resource:weather:sf` has three. No token is a wildcard (`*` or `>`),
/// and none between dots is empty; between colons one may be (`a::b`). A topic is delivered exactly as it was published. Cheap to clone.
///
/// ```
/// use tidings_membership::{Topic, TopicError};
///
/// let topic: Topic = "kb.updates".parse()?;
/// assert_eq!(topic.as_str(), "kb.updates");
/// assert_eq!(Topic::parse("kb..updates"), Err(TopicError::EmptyToken('.')));
/// assert_eq!(Topic::parse("kb.*"), Err(TopicError::Wildcard("*".into())));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(pub(crate) Arc<str>);

/// Why a text is not a topic, or not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// Empty or too long; the length is in bytes.
    #[error("a topic has 1 to {TOPIC_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// White space or a control character.
    #[error("a topic has no white space and no control characters, not {0:?}")]
    Character(char),
    /// Too many tokens.
    #[error("a topic has at most {TOKENS_MAX} tokens, this one has {0}")]
    Tokens(usize),
    /// Two dots in a row, or one at an end.
    #[error("a topic has no empty token: look for a '{0}' at an end or two in a row")]
    EmptyToken(char),
    /// A wildcard where a message is to be published.
    #[error("a message is published on one topic, without the wildcard token '{0}'")]
    Wildcard(String),
    /// A `>` that is not the last token.
    #[error("the wildcard '>' stands only at the end of a pattern")]
    RestNotLast,
}

impl Topic {
    /// Parses a topic.
    ///
    /// # Errors
    /// When the text is not one topic.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let separator = check(text)?;
        match tokens(text, separator).find(|token| matches!(*token, "*" | ">")) {
            Some(wildcard) => Err(TopicError::Wildcard(wildcard.into())),
            None => Ok(Self(text.into())),
        }
    }
}

text_like!(Topic, TopicError);

/// Checks what topics and patterns have in common; returns the separator of the tokens.
pub(crate) fn check(text: &str) -> Result<char, TopicError> {
    if text.is_empty() || text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::Length(text.len()));
    }
    if let Some(c) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(TopicError::Character(c));
    }
    let separator = separator(text);
    // A colon cuts what has no dots; it is never a reason to refuse anything.
    if separator == '.' && tokens(text, separator).any(str::is_empty) {
        return Err(TopicError::EmptyToken(separator));
    }
    // What is shorter has not so many.
    if text.len() >= TOKENS_MAX {
        let count = tokens(text, separator).count();
        if count > TOKENS_MAX {
            return Err(TopicError::Tokens(count));
        }
    }
    Ok(separator)
}

/// What cuts this text into tokens.
pub(crate) fn separator(text: &str) -> char {
    if text.contains('.') { '.' } else { ':' }
}

/// The tokens of a text.
pub(crate) fn tokens(text: &str, separator: char) -> std::str::Split<'_, char> {
    text.split(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_plain_tokens() {
        for text in [
            "kb.updates",
            "resource:weather:sf",
            "a",
            "größe.x",
            "a.b:c",
            "x*y.>z",
            "a::b",
            ":a:",
            ":",
        ] {
            assert_eq!(Topic::parse(text).unwrap().as_str(), text);
        }
        assert_eq!(Topic::parse(""), Err(TopicError::Length(0)));
        assert_eq!(
            Topic::parse(&"x".repeat(4_097)),
            Err(TopicError::Length(4_097))
        );
        let of_tokens = |count| vec!["a"; count].join(".");
        assert!(Topic::parse(&of_tokens(256)).is_ok());
        assert!(Topic::parse(&"x".repeat(4_096)).is_ok());
        assert_eq!(Topic::parse(&of_tokens(257)), Err(TopicError::Tokens(257)));
        let colons = ":".repeat(4_096);
        assert_eq!(Topic::parse(&colons), Err(TopicError::Tokens(4_097)));
        assert_eq!(Topic::parse("a b"), Err(TopicError::Character(' ')));
        assert_eq!(Topic::parse("a\u{7}"), Err(TopicError::Character('\u{7}')));
        assert_eq!(Topic::parse("a..b"), Err(TopicError::EmptyToken('.')));
        assert_eq!(Topic::parse(".a"), Err(TopicError::EmptyToken('.')));
        assert_eq!(Topic::parse("a:."), Err(TopicError::EmptyToken('.')));
        assert_eq!(Topic::parse("a.*"), Err(TopicError::Wildcard("*".into())));
        assert_eq!(Topic::parse("a:>"), Err(TopicError::Wildcard(">".into())));
    }
}
