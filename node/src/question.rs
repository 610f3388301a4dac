use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_membership::{Pattern, Scope, Sight, Topic};

use crate::changes::Since;
use crate::streams::prefix::Piece;

/// What nodes ask each other. See `docs/protocol.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Do your routes have my state up to this version? To be answered once they do.
    Routes { version: u64 },
    /// What does your view show of this topic?
    Topic { scope: Scope, pattern: Pattern },
    /// What was published on you of the changes of this server, after this number?
    Changes {
        scope: Scope,
        server: Topic,
        after: u64,
    },
    /// What follows on the first `from` chunks of the stream of yours that has this number, in this scope? To be
    /// answered as soon as there is something, or after so long.
    Stream {
        scope: Scope,
        number: u64,
        from: u64,
        wait_ms: u16,
    },
}

/// What they answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// There is no such question, as far as the other node knows.
    NotUnderstood,
    /// They do.
    Yes,
    /// They do not, after a while.
    NotYet,
    /// This, on each node, or on so many of them as fit in.
    Sees { sights: Vec<Sight>, is_all: bool },
    /// This, or a part of it.
    Changes(Since),
    /// This follows, which is nothing if there is nothing yet.
    Stream(Piece),
    /// There is no such stream here.
    NoStream,
}

impl Question {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self)
    }

    /// None if it is another question than those there are.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        decode(body)
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Bytes {
        encode(self)
    }

    /// None if it is another reply than those there are.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        decode(body)
    }
}

fn encode(body: &impl Serialize) -> Bytes {
    let bytes = postcard::to_allocvec(body);
    let bytes = bytes.expect("a question or reply has no part that cannot be serialised");
    bytes.into()
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(body) {
        Ok((decoded, [])) => Some(decoded),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::StreamEnd;

    #[test]
    fn what_is_asked_and_answered_lies_on_the_wire_as_it_is_documented() {
        let question = Question::Routes { version: 300 };
        assert_eq!(question.encode()[..], [0, 0xac, 2]);
        assert_eq!(Question::decode(&[0, 0xac, 2]), Some(question));
        let replies = [Reply::NotUnderstood, Reply::Yes, Reply::NotYet];
        for (reply, byte) in replies.into_iter().zip(0..) {
            assert_eq!(reply.encode()[..], [byte]);
            assert_eq!(Reply::decode(&[byte]), Some(reply));
        }
        let question = Question::Topic {
            scope: "s".parse().unwrap(),
            pattern: "a.*".parse().unwrap(),
        };
        let bytes = [&[1, 1][..], b"s", &[3], b"a.*"].concat();
        assert_eq!(question.encode()[..], bytes);
        assert_eq!(Question::decode(&bytes), Some(question));
        let sight = Sight {
            node: "n1".parse().unwrap(),
            incarnation: 7.into(),
            version: 300,
            members: 2,
            digest: 1,
        };
        let reply = Reply::Sees {
            sights: vec![sight],
            is_all: true,
        };
        let bytes = [&[3, 1, 2][..], b"n1", &[7, 0xac, 2, 2, 1, 1]].concat();
        assert_eq!(reply.encode()[..], bytes);
        assert_eq!(Reply::decode(&bytes), Some(reply));
        let question = Question::Changes {
            scope: "s".parse().unwrap(),
            server: "mcp.w".parse().unwrap(),
            after: 300,
        };
        let bytes = [&[2, 1][..], b"s", &[5], b"mcp.w", &[0xac, 2]].concat();
        assert_eq!(question.encode()[..], bytes);
        assert_eq!(Question::decode(&bytes), Some(question));
        let reply = Reply::Changes(Since {
            number: 300,
            messages: vec![("mcp.w.x".parse().unwrap(), "{}".into())],
            is_complete: true,
            has_more: false,
        });
        let bytes = [&[4, 0xac, 2, 1, 7][..], b"mcp.w.x", &[2], b"{}", &[1, 0]].concat();
        assert_eq!(reply.encode()[..], bytes);
        assert_eq!(Reply::decode(&bytes), Some(reply));
    }

    #[test]
    fn questions_for_streams_lie_on_the_wire_as_they_are_documented() {
        let question = Question::Stream {
            scope: "s".parse().unwrap(),
            number: 3,
            from: 300,
            wait_ms: 1_000,
        };
        let bytes = [3, 1, b's', 3, 0xac, 2, 0xe8, 7];
        assert_eq!(question.encode()[..], bytes);
        assert_eq!(Question::decode(&bytes), Some(question));
        let piece = Piece {
            at: 300,
            chunks: vec!["ab".into(), "c".into()],
            end: Some(StreamEnd::Failed("no".into())),
        };
        let reply = Reply::Stream(piece);
        let bytes = [5, 0xac, 2, 2, 2, b'a', b'b', 1, b'c', 1, 1, 2, b'n', b'o'];
        assert_eq!(reply.encode()[..], bytes);
        assert_eq!(Reply::decode(&bytes), Some(reply));
        assert_eq!(Reply::NoStream.encode()[..], [6]);
        assert_eq!(Reply::decode(&[5, 0, 0xff, 0xff, 3, 1]), None, "fewer come");
    }

    #[test]
    fn what_is_not_known_is_told_apart() {
        let no_scope = [1, 0, 1, b'a'];
        let more_than_come = [3, 0xff, 0xff, 0xff, 0xff, 0x0f, 1];
        for unknown in [&[][..], &[9], &[0], &[0, 1, 1], &no_scope, &more_than_come] {
            assert_eq!(Question::decode(unknown), None);
            assert_eq!(Reply::decode(unknown).filter(|_| unknown.len() != 1), None);
        }
    }
}
