//! What must hold of whatever bytes a client sends. Only there when the crate is built to be fuzzed.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use tidings::{Headers, Message, Topic};

use super::op::{Op, Publication};
use super::parser::{ParseError, Parsed, Parser};
use super::reply;

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

/// Headers reach a subscriber byte for byte, whatever they are, and pairs in them can be read.
fn check_headers(block: &[u8]) {
    let headers = Headers::from_block(Bytes::copy_from_slice(block));
    let topic = Topic::parse("a").expect("a letter is a topic");
    let message = Message::new(topic, "x").with_headers(headers.clone());
    let mut out = BytesMut::new();
    reply::message(&mut out, "1", &message, true);
    let line = match block.len() {
        0 => "MSG a 1 1\r\n".to_owned(),
        bytes => format!("HMSG a 1 {bytes} {}\r\n", bytes + 1),
    };
    assert_eq!(out, [line.as_bytes(), block, b"x\r\n"].concat());
    let _ = (headers.status(), headers.description());
    for (name, value) in headers.iter() {
        assert!(
            headers
                .pairs()
                .any(|pair| pair == (name.as_bytes(), value.as_bytes()))
        );
        if let Ok(made) = Headers::default().with(name, value) {
            assert_eq!(made.get(name), Some(value));
        }
    }
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
