use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_identity::text_like;

use crate::topic::{self, Topic, TopicError};

/// What a session subscribes to: a topic, or a topic with wildcards.
///
/// A token `*` stands for any one token, a last token `>` for one or more tokens. A pattern
/// matches only topics cut by its own separator; one of a single token, such as `>`, has no
/// separator and matches whatever the topic's is. Cheap to clone.
///
/// ```
/// use tidings_membership::{Pattern, Topic, TopicError};
///
/// let topic = Topic::parse("weather.sf.wind")?;
/// for matching in ["weather.sf.wind", "weather.*.wind", "weather.>", ">"] {
///     assert!(Pattern::parse(matching)?.matches(&topic));
/// }
/// for other in ["weather.*", "weather.sf.wind.>", "weather:>"] {
///     assert!(!Pattern::parse(other)?.matches(&topic));
/// }
/// assert_eq!(Pattern::parse("weather.>.wind"), Err(TopicError::RestNotLast));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When the text is neither a topic nor one with wildcards in their places.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let separator = topic::check(text)?;
        let mut tokens = topic::tokens(text, separator);
        if tokens.any(|token| token == ">") && tokens.next().is_some() {
            return Err(TopicError::RestNotLast);
        }
        Ok(Self(text.into()))
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

    /// Whether a message could be for who subscribes to this pattern as well as for who subscribes to
    /// that one: whether there is a topic that both match.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_cut = |own: &Self| own.0.contains(topic::separator(&own.0));
        let separator = |own: &Self| topic::separator(&own.0);
        if is_cut(self) && is_cut(other) && separator(self) != separator(other) {
            return false;
        }
        let (mut own, mut others) = (self.tokens(), other.tokens());
        loop {
            match (own.next(), others.next()) {
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(one), Some(another)) if one == another => {}
                _ => return false,
            }
        }
    }

    /// Whether every message that is for who subscribes to that pattern is also for who subscribes to
    /// this one.
    pub fn covers(&self, other: &Self) -> bool {
        let (own, others) = (topic::separator(&self.0), topic::separator(&other.0));
        if own != others && self.0.contains(own) && other.0.contains(others) {
            return false;
        }
        let mut other_tokens = topic::tokens(&other.0, others);
        for token in topic::tokens(&self.0, own) {
            match (token, other_tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                (_, Some(">")) => return false,
                ("*", Some(_)) => {}
                (token, Some(other)) if token == other => {}
                _ => return false,
            }
        }
        other_tokens.next().is_none()
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

text_like!(Pattern, TopicError);

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
        assert!(matches("a:*:b", "a::b") && matches("a:>", "a:") && !matches("a:*", "a::"));
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

        #[test]
        fn patterns_overlap_when_there_is_a_topic_that_both_match(
            one in "([ab*][.]){0,2}[ab*>]|([ab*]:){0,2}[ab*>]",
            other in "([ab*][.]){0,2}[ab*>]|([ab*]:){0,2}[ab*>]",
        ) {
            let (one, other) = (Pattern::parse(&one).unwrap(), Pattern::parse(&other).unwrap());
            let both = topics().any(|topic| one.matches(&topic) && other.matches(&topic));
            prop_assert_eq!(one.overlaps(&other), both);
            prop_assert_eq!(other.overlaps(&one), both);
        }
    }

    proptest! {
        #[test]
        fn a_pattern_covers_another_when_it_matches_whatever_that_matches(
            one in "([ab*][.]){0,2}[ab*>]|([ab*]:){0,2}[ab*>]",
            other in "([ab*][.]){0,2}[ab*>]|([ab*]:){0,2}[ab*>]",
        ) {
            let (one, other) = (Pattern::parse(&one).unwrap(), Pattern::parse(&other).unwrap());
            let all = topics().all(|topic| !other.matches(&topic) || one.matches(&topic));
            prop_assert_eq!(one.covers(&other), all);
        }
    }

    /// All topics of up to four tokens that are `a`, `b` or `c`, which is more than patterns here name.
    fn topics() -> impl Iterator<Item = Topic> {
        ['.', ':'].into_iter().flat_map(|separator| {
            let tokens = |length: u32| (0..3_u32.pow(length)).map(move |number| (length, number));
            (1..=4).flat_map(tokens).map(move |(length, number)| {
                let token = |at| ["a", "b", "c"][(number / 3_u32.pow(at) % 3) as usize];
                let tokens: Vec<_> = (0..length).map(token).collect();
                Topic::parse(&tokens.join(&separator.to_string())).unwrap()
            })
        })
    }
}
