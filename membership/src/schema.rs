use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest JSON Schema that a topic can carry, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 16_384;

/// The text of a JSON Schema, which says what payloads look like. Whether it is a good one is for those
/// to find out who use it.
///
/// A JSON object, or `true` or `false`; at most 16,384 bytes. Kept as it was given, so that it has the
/// same [digest](Self::digest) everywhere. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schema(Arc<str>);

/// The SHA-256 of the text of a schema. Written `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaDigest([u8; 32]);

/// Something is not a schema, or not the digest of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Not JSON.
    #[error("a schema is JSON")]
    Json(#[source] serde_json::Error),
    /// Neither an object nor true or false.
    #[error("a schema is a JSON object, or true or false")]
    Kind,
    /// Too long; the length is in bytes.
    #[error("a schema has at most {SCHEMA_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// Not written like a digest.
    #[error("the digest of a schema is sha256: and 64 hexadecimal digits")]
    Digest,
}

impl Schema {
    /// Parses a schema from its text.
    ///
    /// # Errors
    /// When the text is too long or no schema.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::Length(text.len()));
        }
        match serde_json::from_str(text).map_err(SchemaError::Json)? {
            Value::Object(_) | Value::Bool(_) => Ok(Self(text.into())),
            _ => Err(SchemaError::Kind),
        }
    }

    /// The text, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// By what others can name it.
    pub fn digest(&self) -> SchemaDigest {
        let digest = digest(&SHA256, self.0.as_bytes());
        SchemaDigest(std::array::from_fn(|at| digest.as_ref()[at]))
    }
}

impl TryFrom<String> for Schema {
    type Error = SchemaError;

    fn try_from(text: String) -> Result<Self, SchemaError> {
        Self::parse(&text)
    }
}

impl From<Schema> for String {
    fn from(schema: Schema) -> Self {
        schema.as_str().to_owned()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest().fmt(f)
    }
}

impl fmt::Display for SchemaDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for SchemaDigest {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let digits = text.strip_prefix(PREFIX).map(str::as_bytes);
        let digits = digits.filter(|digits| digits.len() == 64);
        let digit = |at: usize| char::from(digits?[at]).to_digit(16);
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let two = digit(2 * at).zip(digit(2 * at + 1));
            let (high, low) = two.ok_or(SchemaError::Digest)?;
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(bytes))
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_text_and_can_be_read_again() {
        let schema = Schema::parse("{}").unwrap();
        let digest = schema.digest();
        let written = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(digest.to_string(), written);
        assert_eq!(written.parse::<SchemaDigest>().unwrap(), digest);
        assert_ne!(Schema::parse("{ }").unwrap().digest(), digest);
        for wrong in [
            "",
            "sha256:",
            &written[..70],
            "sha256:é",
            &written.replace('4', "g"),
        ] {
            assert!(wrong.parse::<SchemaDigest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(SCHEMA_BYTES_MAX));
        for wrong in ["", "1", "[]", "{", r#"{} {}"#, &long] {
            assert!(Schema::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Schema::parse("true").is_ok());
    }
}
