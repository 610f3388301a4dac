use bytes::Bytes;

use tidings::{Headers, HeadersError};

/// How a block of headers begins.
pub(super) const VERSION: &[u8] = b"NATS/1.0";
/// What a block has more than its header lines: the version line and the empty line at the end.
pub(super) const FRAME_BYTES: usize = VERSION.len() + 4;

/// Reads the block of an HPUB: `NATS/1.0`, header lines, an empty line.
///
/// A status after the version, as in `NATS/1.0 503 No Responders`, becomes the headers `Status` and
/// `Description`, which is how most clients show it to their users.
pub(super) fn parse(block: &[u8]) -> Result<Headers, HeaderBlockError> {
    let after_version = block
        .strip_prefix(VERSION)
        .ok_or(HeaderBlockError::NoVersion)?;
    let content = after_version
        .strip_suffix(b"\r\n")
        .ok_or(HeaderBlockError::NoEnd)?;
    if let Some(lines) = content.strip_prefix(b"\r\n") {
        return Ok(Headers::parse(Bytes::copy_from_slice(lines))?);
    }
    let content = std::str::from_utf8(content).map_err(|_| HeadersError::NotUtf8)?;
    let (status_line, lines) = content.split_once("\r\n").ok_or(HeaderBlockError::NoEnd)?;
    let status_line = status_line
        .strip_prefix([' ', '\t'])
        .ok_or(HeaderBlockError::NoVersion)?;
    let status_line = status_line.trim();
    let (status, description) = status_line.split_once(' ').unwrap_or((status_line, ""));
    let mut headers = Headers::default();
    if !status.is_empty() {
        headers = headers.with("Status", status)?;
    }
    if !description.is_empty() {
        headers = headers.with("Description", description.trim())?;
    }
    let mut block = headers.as_bytes().to_vec();
    block.extend_from_slice(lines.as_bytes());
    Ok(Headers::parse(block.into())?)
}

/// Why something is not a block of headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderBlockError {
    #[error("headers begin with NATS/1.0")]
    NoVersion,
    #[error("headers end with an empty line")]
    NoEnd,
    #[error(transparent)]
    Lines(#[from] HeadersError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(block: &str) -> Vec<(String, String)> {
        let headers = parse(block.as_bytes()).unwrap();
        headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn header_lines_are_kept_as_they_are() {
        let headers = parse(b"NATS/1.0\r\nTrace:1\r\nb:  x y \r\n\r\n").unwrap();
        assert_eq!(&headers.as_bytes()[..], b"Trace:1\r\nb:  x y \r\n");
        assert!(parse(b"NATS/1.0\r\n\r\n").unwrap().is_empty());
    }

    #[test]
    fn a_status_becomes_headers() {
        let (status, description) = (pair("Status", "503"), pair("Description", "No Responders"));
        let all = pairs("NATS/1.0 503 No Responders\r\na: b\r\n\r\n");
        assert_eq!(all, [status, description, pair("a", "b")]);
        assert_eq!(pairs("NATS/1.0 404\r\n\r\n"), [pair("Status", "404")]);
        assert_eq!(pairs("NATS/1.0 \r\n\r\n"), []);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        assert_eq!(parse(b""), Err(HeaderBlockError::NoVersion));
        assert_eq!(
            parse(b"NATS/1.01\r\n\r\n"),
            Err(HeaderBlockError::NoVersion)
        );
        assert_eq!(parse(b"NATS/1.0"), Err(HeaderBlockError::NoEnd));
        assert_eq!(parse(b"NATS/1.0\r\na: b"), Err(HeaderBlockError::NoEnd));
        let no_empty_line = parse(b"NATS/1.0\r\na: b\r\n");
        assert_eq!(no_empty_line, Err(HeadersError::Unfinished.into()));
        assert_eq!(
            parse(b"NATS/1.0\r\nab\r\n\r\n"),
            Err(HeadersError::NoColon.into())
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&rest);
            let _ = parse(&[VERSION, &rest].concat());
            let _ = parse(&[VERSION, b" ", &rest, b"\r\n\r\n"].concat());
        }
    }
}
