use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The most metadata that a membership can have, in bytes of JSON.
pub const METADATA_BYTES_MAX: usize = 4_096;

/// What a member says of itself besides the name of its agent: a small JSON object, of which the
/// node makes nothing. As what it does, since when, or what it can be asked for.
///
/// At most 4,096 bytes as JSON without white space; a node may allow less. An empty object is the
/// same as none. Of two members of one name in the object the last counts. The characters U+007F to
/// U+009F, which control terminals and which JSON would not escape, are refused. Cheap to clone.
///
/// ```
/// use tidings_membership::Metadata;
///
/// let busy = Metadata::parse(r#"{ "task": "indexing", "done": 0.5 }"#)?;
/// assert_eq!(busy.get("task"), Some("indexing".into()));
/// assert_eq!(busy.as_json(), r#"{"done":0.5,"task":"indexing"}"#);
/// assert_eq!(Metadata::default().as_json(), "{}");
/// # Ok::<(), tidings_membership::MetadataError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata(Option<Arc<Object>>);

/// The text of an object that is not empty. Behind one pointer, so that a membership without
/// metadata costs no more than a pointer, and all copies of one that has some share it.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Object(Box<str>);

/// Why something is not metadata.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not a JSON object.
    #[error("metadata is a JSON object")]
    Json(#[source] serde_json::Error),
    /// Too long; the length is in bytes.
    #[error("metadata has at most {METADATA_BYTES_MAX} bytes as JSON, this has {0}")]
    Length(usize),
    /// A control character.
    #[error("metadata has no control characters that JSON does not escape, as {0:?} is")]
    Character(char),
}

impl Metadata {
    /// Parses metadata from the text of a JSON object, which may be laid out in any way.
    ///
    /// # Errors
    /// When the text is too long, no object, or has a control character.
    pub fn parse(json: &str) -> Result<Self, MetadataError> {
        check_length(json)?;
        read(json)?.try_into()
    }

    /// What has this name in the object.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.to_map().remove(name)
    }

    /// The members of the object, by name.
    pub fn to_map(&self) -> BTreeMap<String, Value> {
        // It was read once already.
        read(self.as_json()).unwrap_or_default()
    }

    /// The text of the object.
    pub fn as_json(&self) -> &str {
        self.0.as_ref().map_or("{}", |object| &object.0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes of JSON it has; 0 if there is none.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |object| object.0.len())
    }

    /// What is in a text that gossip brings. It is kept as it is, so that it never gets longer.
    fn from_gossip(json: String) -> Result<Self, MetadataError> {
        check_length(&json)?;
        let is_empty = read(&json)?.is_empty();
        if is_empty {
            Ok(Self(None))
        } else {
            Self::new(json)
        }
    }

    /// Of the text of an object that is not empty.
    fn new(json: String) -> Result<Self, MetadataError> {
        check_length(&json)?;
        match json.chars().find(|c| c.is_control()) {
            Some(c) => Err(MetadataError::Character(c)),
            None => Ok(Self(Some(Arc::new(Object(json.into()))))),
        }
    }
}

fn check_length(json: &str) -> Result<(), MetadataError> {
    if json.len() <= METADATA_BYTES_MAX {
        Ok(())
    } else {
        Err(MetadataError::Length(json.len()))
    }
}

/// Nothing that is deeply nested is read, so what is read can be dropped and written, too.
fn read(json: &str) -> Result<BTreeMap<String, Value>, MetadataError> {
    serde_json::from_str(json).map_err(MetadataError::Json)
}

impl TryFrom<BTreeMap<String, Value>> for Metadata {
    type Error = MetadataError;

    fn try_from(map: BTreeMap<String, Value>) -> Result<Self, MetadataError> {
        if map.is_empty() {
            return Ok(Self(None));
        }
        let json = serde_json::to_string(&map).map_err(MetadataError::Json)?;
        Self::new(json)
    }
}

impl FromStr for Metadata {
    type Err = MetadataError;

    fn from_str(json: &str) -> Result<Self, MetadataError> {
        Self::parse(json)
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

/// An object in formats for people, its text in others.
impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.to_map().serialize(serializer)
        } else {
            serializer.serialize_str(self.as_json())
        }
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let metadata = if deserializer.is_human_readable() {
            BTreeMap::deserialize(deserializer)?.try_into()
        } else {
            Self::from_gossip(String::deserialize(deserializer)?)
        };
        metadata.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(json: &str) -> Result<Metadata, postcard::Error> {
        postcard::from_bytes(&postcard::to_stdvec(json).unwrap())
    }

    proptest! {
        #[test]
        fn metadata_comes_out_of_gossip_as_it_went_in(
            map in proptest::collection::btree_map(".{0,5}", "[^\u{7f}-\u{9f}]{0,20}", 0..8),
        ) {
            let map: BTreeMap<_, _> = map
                .into_iter()
                .filter(|(name, _)| !name.chars().any(|c| ('\u{7f}'..='\u{9f}').contains(&c)))
                .map(|(name, value)| (name, Value::from(value)))
                .collect();
            let metadata = Metadata::try_from(map.clone()).unwrap();
            prop_assert_eq!(metadata.to_map(), map);
            prop_assert_eq!(&Metadata::parse(metadata.as_json()).unwrap(), &metadata);
            prop_assert_eq!(packed(metadata.as_json()).unwrap(), metadata);
        }

        #[test]
        fn no_text_does_harm(json in "\\PC{0,60}", in_braces: bool) {
            let json = if in_braces { format!("{{{json}}}") } else { json };
            if let Ok(metadata) = packed(&json) {
                prop_assert!(metadata.is_empty() || metadata.as_json() == json);
                prop_assert!(Metadata::parse(&json).is_ok());
            }
        }
    }

    #[test]
    fn metadata_without_members_is_none_and_takes_a_pointer() {
        assert_eq!(Metadata::parse(" { } ").unwrap(), Metadata::default());
        assert_eq!(packed("{ }").unwrap(), Metadata::default());
        assert_eq!(Metadata::default().bytes(), 0);
        assert_eq!(size_of::<Metadata>(), size_of::<usize>());
    }

    #[test]
    fn what_is_no_small_object_is_refused() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX));
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
        for json in [
            "",
            "1",
            "[]",
            "null",
            r#"{"a":1"#,
            r#"{"a":1} x"#,
            "{\"a\":\"\u{9b}2J\"}",
            &long,
            &deep,
        ] {
            assert!(Metadata::parse(json).is_err(), "{json}");
            assert!(packed(json).is_err(), "{json}");
        }
        // What JSON allows between its words is left out here, and refused from others.
        assert!(Metadata::parse("{\n\"a\": 1}").is_ok());
        assert!(packed("{\n\"a\": 1}").is_err());
    }

    #[test]
    fn people_are_shown_an_object() {
        let metadata = Metadata::parse(r#"{"a":{"b":[1,null]}}"#).unwrap();
        let text = serde_json::to_string(&metadata).unwrap();
        assert_eq!(text, r#"{"a":{"b":[1,null]}}"#);
        assert_eq!(serde_json::from_str::<Metadata>(&text).unwrap(), metadata);
        assert!(serde_json::from_str::<Metadata>(r#""{}""#).is_err());
    }
}
