use bytes::Bytes;
use memchr::memchr;

/// The headers of a message: a block of bytes, carried as its publisher made it.
///
/// The form is that of the client protocol: a line `NATS/1.0`, which may go on with a status as in
/// `NATS/1.0 503 No Responders`; a line `Name: value` for each pair, names not made unique; and an empty
/// line. Lines end in CR LF. None of that is checked in a block that comes [from elsewhere](Self::from_block):
/// it reaches every subscriber byte for byte, and what in it is no pair is passed over by whoever asks for
/// pairs. No bytes are no headers. Cheap to clone.
///
/// ```
/// use tidings::Headers;
///
/// let headers = Headers::default().with("Trace", "7")?;
/// assert_eq!(&headers.as_block()[..], b"NATS/1.0\r\nTrace: 7\r\n\r\n");
/// assert_eq!(headers.get("trace"), Some("7"));
///
/// let answer = Headers::from_block("NATS/1.0 503 No Responders\r\n\r\n".into());
/// assert_eq!(answer.status(), Some("503"));
/// assert_eq!(answer.description(), Some("No Responders"));
/// # Ok::<(), tidings::HeadersError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// This block, whatever is in it.
    pub fn from_block(block: Bytes) -> Self {
        Self(block)
    }

    /// The block as it is; empty without headers.
    pub fn as_block(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none. A block without pairs is one all the same.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No pairs yet, but this status, of three digits, and what it means, which may be empty.
    ///
    /// # Errors
    /// When the status has not three digits, or the description has control characters.
    pub fn with_status(status: u16, description: &str) -> Result<Self, HeadersError> {
        if !(100..1_000).contains(&status) {
            return Err(HeadersError::Status(status));
        }
        if description.chars().any(char::is_control) {
            return Err(HeadersError::Value("the status".into()));
        }
        let gap = if description.is_empty() { "" } else { " " };
        let block = format!("{VERSION} {status}{gap}{description}\r\n\r\n");
        Ok(Self(block.into()))
    }

    /// These headers and one more pair at the end.
    ///
    /// # Errors
    /// When the name or the value cannot be one, or these headers do not end as a block does.
    pub fn with(self, name: &str, value: &str) -> Result<Self, HeadersError> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == ':';
        if name.is_empty() || name.chars().any(is_odd) {
            return Err(HeadersError::Name(name.chars().take(64).collect()));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(HeadersError::Value(name.into()));
        }
        let own = match &self.0[..] {
            [] => EMPTY,
            own => own,
        };
        let lines = own.strip_suffix(END).ok_or(HeadersError::Unfinished)?;
        let block = [
            lines,
            b"\r\n",
            name.as_bytes(),
            b": ",
            value.as_bytes(),
            END,
        ];
        Ok(Self(block.concat().into()))
    }

    /// These headers without the pairs of this name.
    pub(crate) fn without(self, name: &str) -> Self {
        let is_of_name = |line: &[u8]| {
            line.get(name.len()) == Some(&b':')
                && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        };
        if !self.lines().any(is_of_name) {
            return self;
        }
        let lines = self.0.split_inclusive(|byte| *byte == b'\n');
        let kept: Vec<&[u8]> = lines.filter(|line| !is_of_name(line)).collect();
        Self(kept.concat().into())
    }

    /// The first value of this name that is text, without the white space around it. Names are compared
    /// without regard to ASCII case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let of_name = |line: &&[u8]| {
            line.get(name.len()) == Some(&b':')
                && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        };
        let mut values = self.lines().filter(of_name);
        values.find_map(|line| text(&line[name.len() + 1..]))
    }

    /// All pairs of text in order, values without the white space around them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs()
            .filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, text(value)?)))
    }

    /// All pairs in order, whatever their bytes are, values without the white space around them.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines().filter_map(|line| {
            let (name, value) = line.split_at(memchr(b':', line)?);
            Some((name, value[1..].trim_ascii()))
        })
    }

    /// The status, if there is one: what follows the version, up to white space.
    pub fn status(&self) -> Option<&str> {
        let (status, _) = self.status_line()?;
        Some(status)
    }

    /// What the status means, if it is said.
    pub fn description(&self) -> Option<&str> {
        let (_, description) = self.status_line()?;
        (!description.is_empty()).then_some(description)
    }

    fn status_line(&self) -> Option<(&str, &str)> {
        let first = Lines(&self.0).next()?;
        let line = text(first.strip_prefix(VERSION.as_bytes())?)?;
        let (status, description) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        (!status.is_empty()).then_some((status, description.trim_ascii()))
    }

    /// The lines after the first, which says what all this is.
    fn lines(&self) -> Lines<'_> {
        let mut lines = Lines(&self.0);
        lines.next();
        lines
    }
}

/// Text without the white space around it.
fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes.trim_ascii()).ok()
}

/// Lines without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Why headers cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadersError {
    /// A block without an end, to which nothing can be added.
    #[error("headers end in an empty line, these do not, so nothing can be added")]
    Unfinished,
    /// A name that cannot be one.
    #[error("a header name has no white space, ':' or control characters and is not empty: {0:?}")]
    Name(String),
    /// A value with control characters, such as a line end.
    #[error("the value of header {0:?} has a control character")]
    Value(String),
    /// A status that is none.
    #[error("a status has three digits, not {0}")]
    Status(u16),
}

/// How a block begins.
const VERSION: &str = "NATS/1.0";
/// How a block ends: the last line, and an empty one.
const END: &[u8] = b"\r\n\r\n";
/// A block without anything.
const EMPTY: &[u8] = b"NATS/1.0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_of_a_name_can_be_taken_out() {
        let block = "NATS/1.0 200\r\nA: 1\r\nb: 2\r\na:3\r\nAB: 4\r\n\r\n";
        let headers = Headers::from_block(block.into()).without("A");
        let left = "NATS/1.0 200\r\nb: 2\r\nAB: 4\r\n\r\n";
        assert_eq!(headers.as_block(), left.as_bytes());
        assert_eq!(headers.clone().without("A"), headers);
        // What comes from elsewhere may have no end.
        let odd = Headers::from_block("NATS/1.0\na:1".into());
        assert_eq!(&odd.without("A").as_block()[..], b"NATS/1.0\n");
    }
    use proptest::prelude::*;

    fn of(block: &'static [u8]) -> Headers {
        Headers::from_block(Bytes::from_static(block))
    }

    #[test]
    fn headers_keep_order_and_duplicates() {
        let headers = Headers::default().with("Trace", "1").unwrap();
        let headers = headers.with("trace", "2").unwrap();
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("Trace", "1"), ("trace", "2")]
        );
        assert_eq!(headers.get("TRACE"), Some("1"));
        let block = b"NATS/1.0\r\nTrace: 1\r\ntrace: 2\r\n\r\n";
        assert_eq!(&headers.as_block()[..], block);
    }

    #[test]
    fn what_would_break_a_line_is_refused() {
        let with = |name, value| Headers::default().with(name, value);
        assert_eq!(with("a b", "x"), Err(HeadersError::Name("a b".into())));
        assert_eq!(with("", "x"), Err(HeadersError::Name("".into())));
        assert_eq!(with("a", "x\r\nb: y"), Err(HeadersError::Value("a".into())));
        let unfinished = of(b"NATS/1.0\r\na: b\r\n").with("c", "d");
        assert_eq!(unfinished, Err(HeadersError::Unfinished));
        let broken = Headers::with_status(503, "No\r\nResponders");
        assert_eq!(broken, Err(HeadersError::Value("the status".into())));
        assert_eq!(Headers::with_status(99, ""), Err(HeadersError::Status(99)));
    }

    #[test]
    fn a_status_is_read_from_the_first_line_alone() {
        let of_block = |block| {
            let headers = of(block);
            let own = |text: &str| text.to_owned();
            (headers.status().map(own), headers.description().map(own))
        };
        let said = |status: &str, description: &str| {
            let description = (!description.is_empty()).then(|| description.to_owned());
            (Some(status.to_owned()), description)
        };
        let none = (None, None);
        assert_eq!(of_block(b"NATS/1.0 503\r\n\r\n"), said("503", ""));
        let no_responders = b"NATS/1.0 503 No Responders\r\na: b\r\n\r\n";
        assert_eq!(of_block(no_responders), said("503", "No Responders"));
        assert_eq!(of_block(b"NATS/1.0   404  x \r\n\r\n"), said("404", "x"));
        for nothing in [
            &b"NATS/1.0\r\n\r\n"[..],
            b"NATS/1.0 \r\n\r\n",
            b"HTTP/1.1 404\r\n\r\n",
            b"NATS/1.0\r\nNATS/1.0 503\r\n\r\n",
            b"",
        ] {
            assert_eq!(of_block(nothing), none);
        }
        let made = Headers::with_status(503, "").unwrap();
        assert_eq!(made, of(b"NATS/1.0 503\r\n\r\n"));
        let made = Headers::with_status(503, "No Responders").unwrap();
        assert_eq!(made.with("a", "b").unwrap(), of(no_responders));
    }

    #[test]
    fn what_is_no_pair_is_carried_and_passed_over() {
        let block = b"NATS/1.0\r\nno colon\r\n\xff: x\r\na: \xff\r\na:  y \nb:\r\n";
        let headers = of(block);
        assert_eq!(&headers.as_block()[..], block);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "y"), ("b", "")]);
        assert_eq!(headers.get("A"), Some("y"));
        assert_eq!(headers.get("no colon"), None);
        assert_eq!(headers.pairs().count(), 4);
    }

    proptest! {
        #[test]
        fn what_is_found_by_name_is_what_the_pairs_say(
            block in "(NATS/1.0)?( 503)?(\r\n(a|B|b)?:?[ x\u{e9}]{0,2}){0,5}(\r?\n){0,2}"
        ) {
            let headers = Headers::from_block(block.into());
            for name in ["a", "b", ""] {
                let mut pairs = headers.iter();
                let first = pairs.find(|(own, _)| own.eq_ignore_ascii_case(name));
                prop_assert_eq!(headers.get(name), first.map(|(_, value)| value));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            for block in [rest.clone(), [VERSION.as_bytes(), &rest].concat()] {
                let headers = Headers::from_block(block.into());
                let _ = (headers.iter().count(), headers.status(), headers.get("a"));
                let _ = headers.with("a", "b");
            }
        }
    }
}
