use std::fmt;

use bytes::Bytes;

/// The headers of a message: name and value pairs, kept in order, names not made unique.
///
/// Held as one block of text, a line `Name: value` each, ending in CR LF: the form in which the
/// client protocol has them, so that a message passes through without being taken apart. Cheap to
/// clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// Reads a block of header lines, each ending in CR LF; an empty block is no headers.
    pub fn parse(block: Bytes) -> Result<Self, HeadersError> {
        let text = std::str::from_utf8(&block).map_err(|_| HeadersError::NotUtf8)?;
        let mut rest = text;
        while !rest.is_empty() {
            let (line, after) = rest.split_once("\r\n").ok_or(HeadersError::Unfinished)?;
            let (name, value) = line.split_once(':').ok_or(HeadersError::NoColon)?;
            check_pair(name, value)?;
            rest = after;
        }
        Ok(Self(block))
    }

    /// These headers and one more at the end.
    pub fn with(self, name: &str, value: &str) -> Result<Self, HeadersError> {
        check_pair(name, value)?;
        let line_bytes = name.len() + value.len() + 4;
        let mut block = Vec::with_capacity(self.0.len() + line_bytes);
        block.extend_from_slice(&self.0);
        block.extend_from_slice(name.as_bytes());
        block.extend_from_slice(b": ");
        block.extend_from_slice(value.as_bytes());
        block.extend_from_slice(b"\r\n");
        Ok(Self(block.into()))
    }

    /// The first value of this name, which is compared without regard to ASCII case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All pairs in order, values without the white space around them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = std::str::from_utf8(&self.0).unwrap_or_default();
        text.split_terminator("\r\n")
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
    }

    /// The block of lines.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn check_pair(name: &str, value: &str) -> Result<(), HeadersError> {
    if name.is_empty()
        || name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == ':')
    {
        return Err(HeadersError::Name(name.chars().take(64).collect()));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(HeadersError::Value(name.into()));
    }
    Ok(())
}

/// Why something is not a block of headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// Bytes that are no text.
    #[error("headers are UTF-8 text, these are not")]
    NotUtf8,
    /// The last line has no end.
    #[error("a header line ends in CR LF, the last one does not")]
    Unfinished,
    /// A line that is no pair.
    #[error("a header line is 'Name: value', one has no ':'")]
    NoColon,
    /// A name that cannot be one.
    #[error("a header name has no white space, ':' or control characters and is not empty: {0:?}")]
    Name(String),
    /// A value with control characters, such as a line end.
    #[error("the value of header {0:?} has a control character")]
    Value(String),
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_and_duplicates() {
        let headers = Headers::default()
            .with("Trace", "1")
            .unwrap()
            .with("trace", "2")
            .unwrap();
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("Trace", "1"), ("trace", "2")]
        );
        assert_eq!(headers.get("TRACE"), Some("1"));
        assert_eq!(Headers::parse(headers.as_bytes().clone()), Ok(headers));
    }

    #[test]
    fn what_would_break_a_line_is_refused() {
        let with = |name, value| Headers::default().with(name, value);
        assert_eq!(with("a b", "x"), Err(HeadersError::Name("a b".into())));
        assert_eq!(with("", "x"), Err(HeadersError::Name("".into())));
        assert_eq!(with("a", "x\r\nb: y"), Err(HeadersError::Value("a".into())));
        assert_eq!(Headers::parse("a: b".into()), Err(HeadersError::Unfinished));
        assert_eq!(Headers::parse("ab\r\n".into()), Err(HeadersError::NoColon));
        assert_eq!(
            Headers::parse(Bytes::from_static(b"\xff: b\r\n")),
            Err(HeadersError::NotUtf8)
        );
    }
}
