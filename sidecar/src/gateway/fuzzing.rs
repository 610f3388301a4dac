//! What must hold of whatever bytes a client sends. Only there when the crate is built to be fuzzed.

use std::fmt::Write as _;

use tidings::Headers;

use super::header_block;
use super::op::{Op, Publication};
use super::parser::{ParseError, Parsed, Parser};

/// Reads what a client sends, at once and in pieces: the operations are the same, and so is each
/// when it is written and read again. The first byte of the input says how long the pieces are.
pub fn client(input: &[u8]) {
    let Some((piece_bytes, stream)) = input.split_first() else {
        return;
    };
    let whole = read_all(stream.chunks(stream.len().max(1)));
    let cut = read_all(stream.chunks(usize::from(*piece_bytes).max(1)));
    assert_eq!(whole, cut, "the operations depend on how the input was cut");
}

// Small, so that what is too long or too large is found soon.
const PARSER: Parser = Parser {
    line_bytes_max: 128,
    payload_bytes_max: 64,
    headers_bytes_max: 64,
};

/// All operations of the input that comes in these pieces, and what is wrong with the rest.
fn read_all<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<ParseError>) {
    let (mut input, mut ops) = (Vec::new(), Vec::new());
    // How long the operation at the beginning is at least, as far as was told.
    let mut op_bytes_min = 0;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match PARSER.parse(&input) {
                Ok(Parsed::Op(op, op_bytes)) => {
                    assert!(op_bytes_min <= op_bytes, "more was asked for than there is");
                    assert!(op_bytes <= input.len());
                    op_bytes_min = 0;
                    ops.push(check(&op));
                    input.drain(..op_bytes);
                }
                Ok(Parsed::Incomplete(missing)) => {
                    assert!(missing > 0);
                    op_bytes_min = input.len() + missing;
                    break;
                }
                Err(error) => return (ops, Some(error)),
            }
        }
    }
    (ops, None)
}

/// The operation as it is written, which reads as the same operation again.
fn check(op: &Op<'_>) -> Vec<u8> {
    let written = write(op);
    let again = PARSER.parse(&written);
    assert!(
        matches!(&again, Ok(Parsed::Op(same, bytes)) if same == op && *bytes == written.len()),
        "{op:?} is written {written:?}, which is {again:?}"
    );
    if let Op::Publish(Publication {
        headers: Some(block),
        ..
    }) = op
    {
        check_headers(block);
    }
    written
}

/// Headers that are understood are the same after another way through the protocol and to a peer.
fn check_headers(block: &[u8]) {
    let Ok(headers) = header_block::parse(block) else {
        return;
    };
    let lines = headers.as_bytes();
    let block = [header_block::VERSION, b"\r\n", lines, b"\r\n"].concat();
    assert_eq!(block.len(), header_block::FRAME_BYTES + lines.len());
    assert_eq!(header_block::parse(&block).as_ref(), Ok(&headers));
    let rebuilt = headers
        .iter()
        .try_fold(Headers::default(), |all, (name, value)| {
            all.with(name, value)
        });
    let pairs = |headers: &Headers| {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        headers.iter().map(owned).collect::<Vec<_>>()
    };
    assert_eq!(rebuilt.as_ref().map(pairs), Ok(pairs(&headers)));
}

fn write(op: &Op<'_>) -> Vec<u8> {
    let mut line = String::new();
    let mut content = None;
    match op {
        Op::Connect(options) => line = format!("CONNECT {options}"),
        Op::Ping => line.push_str("PING"),
        Op::Pong => line.push_str("PONG"),
        Op::Ignored => line.push_str("+OK"),
        Op::Publish(publication) => {
            let Publication {
                subject,
                reply,
                headers,
                payload,
            } = publication;
            line.push_str(if headers.is_some() { "HPUB" } else { "PUB" });
            for field in [Some(*subject), *reply].into_iter().flatten() {
                line.push(' ');
                line.push_str(field);
            }
            let block = headers.unwrap_or_default();
            if headers.is_some() {
                let _ = write!(line, " {}", block.len());
            }
            let _ = write!(line, " {}", block.len() + payload.len());
            content = Some([block, payload].concat());
        }
        Op::Subscribe {
            subject,
            queue,
            sid,
        } => {
            line = format!("SUB {subject}");
            for field in [*queue, Some(*sid)].into_iter().flatten() {
                line.push(' ');
                line.push_str(field);
            }
        }
        Op::Unsubscribe { sid, max } => {
            line = format!("UNSUB {sid}");
            if let Some(max) = max {
                let _ = write!(line, " {max}");
            }
        }
    }
    let mut written = line.into_bytes();
    written.extend_from_slice(b"\r\n");
    if let Some(content) = content {
        written.extend_from_slice(&content);
        written.extend_from_slice(b"\r\n");
    }
    written
}
