use memchr::memchr;

use super::op::{Op, Publication, number};

/// Reads the client's side of the protocol.
///
/// It keeps nothing between calls: what the input means depends on its bytes alone, however they
/// were cut on their way. Verbs in any case, fields separated by spaces and tabs, control lines
/// ended by CR LF or LF, payloads by CR LF.
#[derive(Debug, Clone)]
pub(super) struct Parser {
    /// The longest control line, without its end.
    pub(super) line_bytes_max: usize,
    /// The largest payload with its headers.
    pub(super) payload_bytes_max: usize,
}

/// What stands at the beginning of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// An operation, and how many bytes it takes.
    Op(Op<'a>, usize),
    /// The beginning of an operation, of which at least so many bytes are missing.
    Incomplete(usize),
}

/// Why the input is not the protocol. Where the next operation begins is not known then, so the
/// connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseError {
    #[error("there is no such operation")]
    UnknownOperation,
    #[error("the operation is malformed")]
    Malformed,
    #[error("the control line is too long")]
    LineTooLong,
    #[error("the payload or the headers are too large")]
    PayloadTooLarge,
}

impl Parser {
    /// Reads the first operation of the input.
    pub(super) fn parse<'a>(&self, input: &'a [u8]) -> Result<Parsed<'a>, ParseError> {
        if input
            .first()
            .is_some_and(|first| !b"cphsuiCPHSUI+".contains(first))
        {
            return Err(ParseError::UnknownOperation);
        }
        let Some((line, after)) = self.line(input)? else {
            return Ok(Parsed::Incomplete(1));
        };
        let line = std::str::from_utf8(line).map_err(|_| ParseError::Malformed)?;
        let (verb, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let is = |name: &str| verb.eq_ignore_ascii_case(name);
        let begins =
            |name: &[u8]| line.as_bytes()[..name.len().min(line.len())].eq_ignore_ascii_case(name);
        // As the NATS server has it: these go on with a space, and after those anything may follow.
        let goes_on = line.len() > verb.len();
        let op = if is("PUB") && goes_on {
            return self.publish(arguments, input, after);
        } else if is("HPUB") && goes_on {
            return self.publish_with_headers(arguments, input, after);
        } else if begins(b"PING") {
            Op::Ping
        } else if begins(b"PONG") {
            Op::Pong
        } else if is("SUB") && goes_on {
            Op::subscribe(arguments).ok_or(ParseError::Malformed)?
        } else if is("UNSUB") && !arguments.trim_matches([' ', '\t']).is_empty() {
            Op::unsubscribe(arguments).ok_or(ParseError::Malformed)?
        } else if is("+OK") || is("INFO") {
            Op::Ignored
        } else if is("CONNECT") {
            Op::Connect(arguments.trim())
        } else {
            return Err(ParseError::UnknownOperation);
        };
        Ok(Parsed::Op(op, after))
    }

    /// The first line without its end, and where the next begins.
    fn line<'a>(&self, input: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, ParseError> {
        // The longest line may be followed by CR LF.
        let window = &input[..input.len().min(self.line_bytes_max + 2)];
        let Some(end) = memchr(b'\n', window) else {
            let is_too_long = window.len() == self.line_bytes_max + 2;
            return if is_too_long {
                Err(ParseError::LineTooLong)
            } else {
                Ok(None)
            };
        };
        let line = &window[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.line_bytes_max {
            return Err(ParseError::LineTooLong);
        }
        Ok(Some((line, end + 1)))
    }

    fn publish<'a>(
        &self,
        arguments: &'a str,
        input: &'a [u8],
        after: usize,
    ) -> Result<Parsed<'a>, ParseError> {
        let mut fields = arguments.split_ascii_whitespace();
        let fields = [fields.next(), fields.next(), fields.next(), fields.next()];
        let (subject, reply, size) = match fields {
            [Some(subject), Some(size), None, _] => (subject, None, size),
            [Some(subject), Some(reply), Some(size), None] => (subject, Some(reply), size),
            _ => return Err(ParseError::Malformed),
        };
        let payload_bytes = size_bytes(size)?;
        if payload_bytes > self.payload_bytes_max {
            return Err(ParseError::PayloadTooLarge);
        }
        let content = match content(input, after, payload_bytes)? {
            Ok(content) => content,
            Err(missing) => return Ok(Parsed::Incomplete(missing)),
        };
        let publication = Publication {
            subject,
            reply,
            headers: None,
            payload: content,
        };
        Ok(Parsed::Op(
            Op::Publish(publication),
            after + content.len() + 2,
        ))
    }

    fn publish_with_headers<'a>(
        &self,
        arguments: &'a str,
        input: &'a [u8],
        after: usize,
    ) -> Result<Parsed<'a>, ParseError> {
        let mut fields = arguments.split_ascii_whitespace();
        let fields = [
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ];
        let (subject, reply, sizes) = match fields {
            [Some(subject), Some(headers), Some(total), None, _] => {
                (subject, None, (headers, total))
            }
            [Some(subject), Some(reply), Some(headers), Some(total), None] => {
                (subject, Some(reply), (headers, total))
            }
            _ => return Err(ParseError::Malformed),
        };
        let (headers_bytes, total_bytes) = (size_bytes(sizes.0)?, size_bytes(sizes.1)?);
        if headers_bytes > total_bytes {
            return Err(ParseError::Malformed);
        }
        if total_bytes > self.payload_bytes_max {
            return Err(ParseError::PayloadTooLarge);
        }
        let content = match content(input, after, total_bytes)? {
            Ok(content) => content,
            Err(missing) => return Ok(Parsed::Incomplete(missing)),
        };
        let (headers, payload) = content.split_at(headers_bytes);
        let publication = Publication {
            subject,
            reply,
            headers: Some(headers),
            payload,
        };
        Ok(Parsed::Op(
            Op::Publish(publication),
            after + content.len() + 2,
        ))
    }
}

/// The bytes that follow a control line, or how many are missing, the end of line included.
fn content(input: &[u8], from: usize, bytes: usize) -> Result<Result<&[u8], usize>, ParseError> {
    let end = from + bytes;
    match input.get(end..end + 2) {
        Some(b"\r\n") => Ok(Ok(&input[from..end])),
        // What follows is no operation, wherever it begins.
        Some(_) => Err(ParseError::UnknownOperation),
        None => Ok(Err(end + 2 - input.len())),
    }
}

fn size_bytes(field: &str) -> Result<usize, ParseError> {
    let number = number(field).ok_or(ParseError::Malformed)?;
    usize::try_from(number).map_err(|_| ParseError::PayloadTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARSER: Parser = Parser {
        line_bytes_max: 64,
        payload_bytes_max: 32,
    };

    /// All operations of the input that comes in these pieces, and what is wrong with the rest.
    fn parse_all(pieces: &[&[u8]]) -> (Vec<String>, Option<ParseError>) {
        let (mut input, mut ops) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match PARSER.parse(&input) {
                    Ok(Parsed::Op(op, op_bytes)) => {
                        ops.push(format!("{op:?}"));
                        input.drain(..op_bytes);
                    }
                    Ok(Parsed::Incomplete(missing)) => {
                        assert!(missing > 0);
                        break;
                    }
                    Err(error) => return (ops, Some(error)),
                }
            }
        }
        (ops, None)
    }

    fn op(input: &str) -> Op<'_> {
        match PARSER.parse(input.as_bytes()) {
            Ok(Parsed::Op(op, op_bytes)) if op_bytes == input.len() => op,
            other => panic!("{input:?} is {other:?}"),
        }
    }

    fn error(input: &str) -> ParseError {
        PARSER.parse(input.as_bytes()).unwrap_err()
    }

    #[test]
    fn operations_are_read_as_the_nats_server_reads_them() {
        assert_eq!(op("PING\r\n"), Op::Ping);
        assert_eq!(op("pong\n"), Op::Pong);
        assert_eq!(op("PINGS\r\n"), Op::Ping);
        assert_eq!(op("CONNECT  {\"a\": 1} \r\n"), Op::Connect("{\"a\": 1}"));
        let subject = "a.b";
        let plain = Op::Subscribe {
            subject,
            queue: None,
            sid: "1",
        };
        assert_eq!(op("SUB\ta.b \t 1\r\n"), plain);
        let queue = Op::Subscribe {
            subject,
            queue: Some("q"),
            sid: "1",
        };
        assert_eq!(op("sub a.b q 1\r\n"), queue);
        assert_eq!(
            op("UNSUB x\r\n"),
            Op::Unsubscribe {
                sid: "x",
                max: None
            }
        );
        assert_eq!(
            op("Unsub x 5\r\n"),
            Op::Unsubscribe {
                sid: "x",
                max: Some(5)
            }
        );
        for at_once in ["UNSUB x 0\r\n", "UNSUB x -1\r\n", "UNSUB x y\r\n"] {
            let (sid, max) = ("x", None);
            assert_eq!(op(at_once), Op::Unsubscribe { sid, max });
        }
        for passed_on in ["+OK\r\n", "INFO {}\r\n"] {
            assert_eq!(op(passed_on), Op::Ignored);
        }
    }

    #[test]
    fn payloads_are_as_long_as_the_line_says() {
        let plain = Publication {
            subject: "a",
            reply: None,
            headers: None,
            payload: b"\r\nx",
        };
        assert_eq!(op("PUB a 3\r\n\r\nx\r\n"), Op::Publish(plain));
        let empty = Publication {
            subject: "a",
            reply: Some("r"),
            headers: None,
            payload: b"",
        };
        assert_eq!(op("pub a r 0\n\r\n"), Op::Publish(empty));
        let headers = Some(&b"NATS/1.0\r\n\r\n"[..]);
        let with = Publication {
            subject: "a",
            reply: Some("r"),
            headers,
            payload: b"x",
        };
        assert_eq!(
            op("HPUB a r 12 13\r\nNATS/1.0\r\n\r\nx\r\n"),
            Op::Publish(with)
        );
        let incomplete = PARSER.parse(b"PUB a 3\r\nx");
        assert_eq!(incomplete, Ok(Parsed::Incomplete(4)));
    }

    #[test]
    fn what_is_no_operation_is_an_error() {
        for input in [
            "GET / HTTP/1.1\r\n",
            "\r\n",
            "-ERR 'x'\r\n",
            "UNSUB\r\n",
            "PUB a 1\r\nxyz",
            "PUB\r\n",
            "SUB\r\n",
            "PINX\r\n",
            "CAT\r\n",
        ] {
            assert_eq!(error(input), ParseError::UnknownOperation, "{input:?}");
        }
        // No need to wait for the end of what will never be a line.
        assert_eq!(error("\u{16}\u{3}"), ParseError::UnknownOperation);
        for input in [
            "PUB a\r\n",
            "PUB a b c 1\r\n",
            "PUB a -1\r\n",
            "PUB a 1x\r\n",
            "PUB a 10000000000\r\n",
            "HPUB a 5 4\r\n",
            "SUB a\r\n",
            "SUB a b c d\r\n",
            "UNSUB a 1 2\r\n",
        ] {
            assert_eq!(error(input), ParseError::Malformed, "{input:?}");
        }
        assert_eq!(PARSER.parse(b"SUB \xff 1\r\n"), Err(ParseError::Malformed));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_there() {
        assert_eq!(error("PUB a 33\r\n"), ParseError::PayloadTooLarge);
        assert_eq!(error("HPUB a 33 33\r\n"), ParseError::PayloadTooLarge);
        assert_eq!(error("HPUB a 12 33\r\n"), ParseError::PayloadTooLarge);
        assert!(matches!(
            PARSER.parse(b"HPUB a 12 32\r\n"),
            Ok(Parsed::Incomplete(34))
        ));
        assert!(matches!(
            PARSER.parse(b"PUB a 32\r\n"),
            Ok(Parsed::Incomplete(34))
        ));
        let longest = format!("PING {}", "x".repeat(59));
        assert_eq!(op(&format!("{longest}\r\n")), Op::Ping);
        assert_eq!(error(&format!("{longest}x\r\n")), ParseError::LineTooLong);
        assert_eq!(error(&format!("{longest}x\n")), ParseError::LineTooLong);
        assert_eq!(error(&format!("{longest}xx")), ParseError::LineTooLong);
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => "(PUB|pub) [a-c.]{1,4} ([a-z]{1,3} )?[0-9]{1,2}\r\n".prop_map(String::into_bytes),
            4 => "PUB a 5\r\n[a-z]{5}\r\n".prop_map(String::into_bytes),
            4 => "HPUB a 12 15\r\nNATS/1.0\r\n\r\n[a-z]{3}\r\n".prop_map(String::into_bytes),
            4 => proptest::collection::vec(any::<u8>(), 0..16).prop_map(|block| {
                let line = format!("HPUB a {} {}\r\n", block.len(), block.len() + 1);
                [line.as_bytes(), &block, b"x\r\n"].concat()
            }),
            4 => "(SUB|UNSUB|CONNECT|PING|PONG)[ \ta-z0-9>*]{0,12}\r?\n".prop_map(String::into_bytes),
            1 => "[a-z ]{60,70}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
        ]
    }

    proptest! {
        #[test]
        fn operations_do_not_depend_on_how_the_input_is_cut(
            pieces in proptest::collection::vec(piece(), 1..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let input = pieces.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let cut: Vec<_> = cuts.windows(2).map(|ends| &input[ends[0]..ends[1]]).collect();
            let bytes: Vec<_> = input.chunks(1).collect();
            let whole = parse_all(&[&input]);
            prop_assert_eq!(&parse_all(&cut), &whole);
            prop_assert_eq!(&parse_all(&bytes), &whole);
        }

        #[test]
        fn no_bytes_make_it_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse_all(&[&input]);
        }
    }
}
