use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::topic::{self, Topic, TopicError};

/// What a session subscribes to: a topic, or a topic with wildcards.
///
/// A token `*` stands for any one token, a last token `>` for one or more tokens. A pattern
/// matches only topics cut by its own separator; one of a single token, such as `>`, has no
/// separator and matches whatever the topic's is. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let separator = topic::check(text)?;
        let mut tokens = topic::tokens(text, separator);
        if tokens.any(|token| token == ">") && tokens.next().is_some() {
            return Err(TopicError::RestNotLast);
        }
        Ok(Self(text.into()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern has no wildcard, so that it matches just the topic of the same text.
    pub fn is_literal(&self) -> bool {
        !self.tokens().any(|token| matches!(token, "*" | ">"))
    }

    /// Whether a message on this topic is for who subscribes to this pattern.
    pub fn matches(&self, topic: &Topic) -> bool {
        let (own, other) = (topic::separator(&self.0), topic::separator(topic.as_str()));
        if own != other && self.0.contains(own) && topic.as_str().contains(other) {
            return false;
        }
        let mut topic_tokens = topic::tokens(topic.as_str(), other);
        for token in topic::tokens(&self.0, own) {
            match (token, topic_tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (token, Some(topic_token)) if token == topic_token => {}
                _ => return false,
            }
        }
        topic_tokens.next().is_none()
    }

    fn tokens(&self) -> std::str::Split<'_, char> {
        topic::tokens(&self.0, topic::separator(&self.0))
    }
}

impl From<Topic> for Pattern {
    fn from(topic: Topic) -> Self {
        Self(topic.0)
    }
}

impl From<&Topic> for Pattern {
    fn from(topic: &Topic) -> Self {
        Self(topic.0.clone())
    }
}

impl TryFrom<&Pattern> for Topic {
    type Error = TopicError;

    /// The topic of a literal pattern.
    fn try_from(pattern: &Pattern) -> Result<Self, Self::Error> {
        Topic::parse(&pattern.0)
    }
}

impl std::borrow::Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::parse(pattern)
            .unwrap()
            .matches(&Topic::parse(topic).unwrap())
    }

    #[test]
    fn wildcards_stand_for_tokens() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("a.*", "a"));
        assert!(matches("a.>", "a.b.c"));
        assert!(!matches("a.>", "a"));
        assert!(matches("resource:*:sf", "resource:weather:sf"));
        assert!(matches(">", "a") && matches(">", "a.b") && matches(">", "a:b"));
        assert!(matches("*", "a") && !matches("*", "a:b") && !matches("*", "a.b"));
    }

    #[test]
    fn separators_do_not_mix() {
        assert!(!matches("a.*", "a:b"));
        assert!(!matches("a:*", "a.b"));
        assert!(!matches("a.b", "a:b"));
        assert!(matches("a.*", "a.b:c"));
    }

    #[test]
    fn the_rest_stands_last() {
        assert_eq!(Pattern::parse("a.>.b"), Err(TopicError::RestNotLast));
        assert!(Pattern::parse("a.>").is_ok());
        assert!(Pattern::parse("a>.b").unwrap().is_literal());
        assert!(!Pattern::parse("a.*").unwrap().is_literal());
    }

    proptest! {
        #[test]
        fn a_literal_pattern_matches_itself_alone(a in "[ab.:]{1,6}", b in "[ab.:]{1,6}") {
            if let (Ok(pattern), Ok(topic)) = (Pattern::parse(&a), Topic::parse(&b)) {
                prop_assert_eq!(pattern.matches(&topic), a == b);
            }
        }
    }
}
