//! What is kept of one stream: its last chunks, from somewhere on, and its end.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::stream_end::StreamEnd;

/// The chunks of a stream that are kept.
#[derive(Debug, Default)]
pub(crate) struct Prefix {
    /// How many chunks were dropped.
    begins: u64,
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<StreamEnd>,
}

/// A piece of a stream: some chunks that follow on each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// How many chunks were before the first: as many as was asked for, or more, if those are not kept.
    pub(crate) at: u64,
    pub(crate) chunks: Vec<Bytes>,
    /// How the stream ended, if it did so after the last of these.
    pub(crate) end: Option<StreamEnd>,
}

impl Prefix {
    /// Adds a chunk, unless the stream has ended.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.end.is_none() {
            self.bytes += cost(&chunk);
            self.chunks.push_back(chunk);
        }
    }

    /// Ends it, unless it has ended.
    pub(crate) fn end(&mut self, end: StreamEnd) {
        self.end.get_or_insert(end);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// How many chunks were pushed.
    pub(crate) fn written(&self) -> u64 {
        self.begins + self.chunks.len() as u64
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the oldest chunk, if there is one.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(oldest) = self.chunks.pop_front() {
            self.begins += 1;
            self.bytes -= cost(&oldest);
        }
    }

    /// What follows on the first `from` chunks, as far as it fits in one answer. It is empty if there is
    /// nothing yet.
    pub(crate) fn read(&self, from: u64) -> Piece {
        let at = from.max(self.begins);
        let skipped = usize::try_from(at - self.begins).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |chunk: &&Bytes| {
            bytes += chunk.len() + FRAMING;
            bytes <= PIECE_BYTES_MAX
        };
        let chunks = self.chunks.iter().skip(skipped).take_while(fits);
        let chunks: Vec<Bytes> = chunks.cloned().collect();
        let is_last = at + chunks.len() as u64 >= self.written();
        Piece {
            at,
            end: self.end.clone().filter(|_| is_last),
            chunks,
        }
    }
}

impl Piece {
    /// Whether it says nothing that is new to who has asked for what follows on so many chunks.
    pub(crate) fn is_empty(&self, from: u64) -> bool {
        self.at == from && self.chunks.is_empty() && self.end.is_none()
    }
}

/// What a chunk takes in memory.
fn cost(chunk: &Bytes) -> usize {
    chunk.len() + CHUNK_COST
}

/// What a chunk takes besides its bytes.
pub(crate) const CHUNK_COST: usize = 64;
/// What is pushed in one is no longer than this; longer ones are split.
pub(crate) const CHUNK_BYTES_MAX: usize = 32 << 10;
/// The chunks of an answer and their lengths have no more bytes than this, because an answer has 64 KiB.
const PIECE_BYTES_MAX: usize = 56 << 10;
/// What the length of a chunk takes in an answer at most.
const FRAMING: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arb_chunk() -> impl Strategy<Value = Bytes> {
        let lengths = prop_oneof![1_usize..20, CHUNK_BYTES_MAX - 9..=CHUNK_BYTES_MAX];
        (any::<u8>(), lengths).prop_map(|(byte, length)| vec![byte; length].into())
    }

    proptest! {
        /// A follower that asks again from where it is has each chunk once, in order, from where they are
        /// kept on.
        #[test]
        fn whoever_reads_on_gets_what_was_written_once_and_in_order(
            chunks in proptest::collection::vec(arb_chunk(), 0..30),
            dropped in 0_usize..10,
            from in 0_u64..40,
        ) {
            let mut prefix = Prefix::default();
            chunks.iter().cloned().for_each(|chunk| prefix.push(chunk));
            (0..dropped).for_each(|_| prefix.drop_oldest());
            let dropped = dropped.min(chunks.len());
            let (mut next, mut read) = (from, Vec::new());
            loop {
                let piece = prefix.read(next);
                prop_assert_eq!(piece.at, next.max(dropped as u64));
                if piece.is_empty(next) {
                    break;
                }
                next = piece.at + piece.chunks.len() as u64;
                read.extend(piece.chunks);
            }
            let first = dropped.max(usize::try_from(from).unwrap()).min(chunks.len());
            prop_assert_eq!(&read[..], &chunks[first..]);
            let bytes: usize = chunks[dropped..].iter().map(cost).sum();
            prop_assert_eq!(prefix.bytes(), bytes);
            prefix.end(StreamEnd::Complete);
            prefix.push("late".into());
            prop_assert_eq!(prefix.read(next).end, Some(StreamEnd::Complete));
            prop_assert_eq!(prefix.written(), chunks.len() as u64);
        }

        #[test]
        fn the_end_comes_after_all_chunks(chunks in proptest::collection::vec(arb_chunk(), 1..12)) {
            let mut prefix = Prefix::default();
            chunks.iter().cloned().for_each(|chunk| prefix.push(chunk));
            prefix.end(StreamEnd::Aborted);
            let mut next = 0;
            loop {
                let piece = prefix.read(next);
                next += piece.chunks.len() as u64;
                prop_assert_eq!(piece.end.is_some(), next == chunks.len() as u64);
                if piece.end.is_some() {
                    break;
                }
                prop_assert!(!piece.chunks.is_empty());
            }
        }
    }
}
