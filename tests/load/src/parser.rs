//! What a server sends to a client, read as it comes: `MSG` with the beginning of its payload, and
//! the few operations that are no messages. Payloads are passed over without being copied, so that
//! the subscriber costs as little as can be beside the server that is measured.

use memchr::{memchr, memrchr};

use crate::stamp::Stamp;

/// The longest line that is taken; the `INFO` of a server with many routes is long.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One operation of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A message that has arrived whole.
    Message { stamp: Stamp, payload_bytes: usize },
    /// The server wants to know whether the client lives.
    Ping,
    /// The answer to the client's own question.
    Pong,
    /// The text of `-ERR`.
    Error(&'a str),
}

/// What the server sent is not its protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Reads the stream of one connection, cut into pieces anywhere.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    message: Option<Partial>,
}

/// A message whose payload is on its way.
#[derive(Debug)]
struct Partial {
    stamp: [u8; Stamp::BYTES],
    payload_bytes: usize,
    /// Of the payload and the line end after it.
    bytes_read: usize,
}

impl Parser {
    /// Takes the next piece, and tells `on` each operation that is whole with it.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if let Some(message) = &mut self.message {
                bytes = message.take(bytes);
                if message.is_whole() {
                    let (stamp, payload_bytes) =
                        (Stamp::read(&message.stamp), message.payload_bytes);
                    self.message = None;
                    on(Event::Message {
                        stamp,
                        payload_bytes,
                    });
                }
                continue;
            }
            let Some(end) = memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                if self.line.len() > LINE_BYTES_MAX {
                    return Err(Malformed("a line without end".to_owned()));
                }
                return Ok(());
            };
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.line.is_empty() {
                self.message = operation(line, &mut on)?;
            } else {
                self.line.extend_from_slice(line);
                self.message = operation(&self.line, &mut on)?;
                self.line.clear();
            }
        }
        Ok(())
    }
}

impl Partial {
    /// Takes what is its own, and returns the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = self.payload_bytes + 2 - self.bytes_read;
        let (mine, rest) = bytes.split_at(wanted.min(bytes.len()));
        if self.bytes_read < Stamp::BYTES {
            let missing = &mut self.stamp[self.bytes_read..];
            let copied = missing.len().min(mine.len());
            missing[..copied].copy_from_slice(&mine[..copied]);
        }
        self.bytes_read += mine.len();
        rest
    }

    fn is_whole(&self) -> bool {
        self.bytes_read == self.payload_bytes + 2
    }
}

/// Reads a line; the one of a message says what follows.
fn operation(line: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<Option<Partial>, Malformed> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let malformed = || Malformed(String::from_utf8_lossy(line).into_owned());
    if line.starts_with(b"MSG ") {
        let size = &line[memrchr(b' ', line).unwrap_or(0) + 1..];
        let payload_bytes = str::from_utf8(size).ok().and_then(|size| size.parse().ok());
        return match payload_bytes {
            Some(payload_bytes) if payload_bytes >= Stamp::BYTES => Ok(Some(Partial {
                stamp: [0; Stamp::BYTES],
                payload_bytes,
                bytes_read: 0,
            })),
            _ => Err(malformed()),
        };
    }
    match line {
        b"PING" => on(Event::Ping),
        b"PONG" => on(Event::Pong),
        b"+OK" => {}
        // Said again when the routes of the server change.
        _ if line.starts_with(b"INFO ") => {}
        _ if line.starts_with(b"-ERR") => {
            on(Event::Error(str::from_utf8(line).map_err(|_| malformed())?));
        }
        _ => return Err(malformed()),
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, payload_bytes: usize) -> Vec<u8> {
        let mut payload = vec![b'\n'; payload_bytes];
        let stamp = Stamp {
            publisher: 7,
            sequence,
            sent_nanos: 5,
        };
        stamp.write(&mut payload);
        let mut bytes = format!("MSG a.b 1 {payload_bytes}\r\n").into_bytes();
        bytes.extend(payload);
        bytes.extend(b"\r\n");
        bytes
    }

    fn stream() -> Vec<u8> {
        let mut stream = b"INFO {\"x\":1}\r\nPING\r\n".to_vec();
        stream.extend(message(1, 20));
        stream.extend(message(2, 100));
        stream.extend(b"+OK\r\n-ERR 'Slow Consumer'\r\nPONG\r\n");
        stream
    }

    fn told(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<String> {
        let (mut parser, mut told) = (Parser::default(), Vec::new());
        for piece in pieces {
            let on = |event: Event<'_>| match event {
                Event::Message {
                    stamp,
                    payload_bytes,
                } => told.push(format!(
                    "{}/{} {payload_bytes}",
                    stamp.publisher, stamp.sequence
                )),
                other => told.push(format!("{other:?}")),
            };
            parser.feed(piece, on).unwrap();
        }
        told
    }

    #[test]
    fn pieces_of_all_sizes_say_the_same() {
        let stream = stream();
        let whole = told(&mut std::iter::once(&stream[..]));
        let error = "Error(\"-ERR 'Slow Consumer'\")";
        assert_eq!(whole, ["Ping", "7/1 20", "7/2 100", error, "Pong"]);
        for size in 1..=stream.len() {
            assert_eq!(told(&mut stream.chunks(size)), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_reply_subject_is_passed_over() {
        let bytes = message(9, 20);
        let text = bytes.strip_prefix(b"MSG a.b 1 20").unwrap();
        let with_reply = [b"MSG a.b 1 _INBOX.x 20", text].concat();
        assert_eq!(told(&mut std::iter::once(&with_reply[..])), ["7/9 20"]);
    }

    #[test]
    fn what_is_no_protocol_is_an_error() {
        for bytes in ["HELLO\r\n", "MSG a 1 x\r\n", "MSG a 1 19\r\n", "MSG \r\n"] {
            let result = Parser::default().feed(bytes.as_bytes(), |_| {});
            assert!(result.is_err(), "{bytes}");
        }
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(Parser::default().feed(&endless, |_| {}).is_err());
    }
}
