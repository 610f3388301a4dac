use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a server, in bytes.
pub const SERVER_NAME_BYTES_MAX: usize = 64;

/// What an MCP server calls itself in topics. All its replicas have the same name, and no other server
/// of the cluster has it.
///
/// 1 to 64 of the characters `A`–`Z`, `a`–`z`, `0`–`9`, `-` and `_`, so that it is one token of a topic.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

/// Why a text is not the name of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerNameError {
    /// Empty or too long; the length is in bytes.
    #[error("the name of an MCP server has 1 to {SERVER_NAME_BYTES_MAX} bytes, this one has {0}")]
    Length(usize),
    /// A character that there is not in names.
    #[error("the name of an MCP server has letters, digits, `-` and `_`, not {0:?}")]
    Character(char),
}

impl ServerName {
    /// Parses the name of a server.
    ///
    /// # Errors
    /// When the text is empty or too long, or has another character.
    pub fn parse(name: &str) -> Result<Self, ServerNameError> {
        if name.is_empty() || name.len() > SERVER_NAME_BYTES_MAX {
            return Err(ServerNameError::Length(name.len()));
        }
        let is_in_names = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        match name.chars().find(|c| !is_in_names(c)) {
            Some(c) => Err(ServerNameError::Character(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(name: &str) -> Result<Self, ServerNameError> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_token_of_letters_digits_and_dashes() {
        assert_eq!(
            ServerName::parse("weather-2_b").unwrap().as_str(),
            "weather-2_b"
        );
        let long = "w".repeat(SERVER_NAME_BYTES_MAX);
        assert!(ServerName::parse(&long).is_ok());
        let lengths = ["".to_owned(), long + "w"];
        for name in lengths {
            let error = ServerName::parse(&name);
            assert_eq!(error, Err(ServerNameError::Length(name.len())));
        }
        for (name, c) in [
            ("a.b", '.'),
            ("a:b", ':'),
            ("a b", ' '),
            ("*", '*'),
            (">", '>'),
            ("é", 'é'),
        ] {
            assert_eq!(ServerName::parse(name), Err(ServerNameError::Character(c)));
        }
    }
}
