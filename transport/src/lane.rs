//! The two ends of a lane: what waits to be sent to a peer, and how far we have received from it.
//!
//! A lane outlives the links that carry it. Its frames are numbered from 0 for each pair of runs
//! of the two nodes, as they are taken out of the queue; on each link a lane begins by saying the
//! number of its first frame. Frames are never sent twice, so a jump in the numbers is exactly
//! what was lost with the link before.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tidings_identity::Incarnation;

use crate::LinkNumber;
use crate::frame::Frame;

/// Frames that wait for the writer of a lane, bounded in bytes.
///
/// Small frames are packed into chunks as they come; a large payload is only referred to.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    bytes_max: usize,
    bytes: usize,
    sealed: VecDeque<Chunk>,
    /// The chunk that small frames are being packed into.
    open: BytesMut,
    open_frames: u64,
    /// Frames taken so far, which is the number of the next one.
    taken: u64,
    /// The link whose writer may take.
    writer: Option<LinkNumber>,
    /// Membership calls the peer gone: nothing is accepted.
    shut: bool,
}

/// How far a lane has been received.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The peer's run that the numbers belong to.
    incarnation: Incarnation,
    /// The link that the lane is read from.
    link: LinkNumber,
    next: u64,
}

/// Why a frame was not queued. The queue is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PushError {
    #[error("the queue is full")]
    Full,
    #[error("the queue is shut")]
    Shut,
}

/// What a writer got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// So many frames.
    Frames(u64),
    /// Nothing waits.
    Empty,
    /// Another link carries the lane now.
    Detached,
}

/// Whole frames that are written together.
#[derive(Debug)]
struct Chunk {
    head: Bytes,
    /// The payload that was too large to copy, or empty.
    payload: Bytes,
    frames: u64,
}

impl LaneQueue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            sealed: VecDeque::new(),
            open: BytesMut::new(),
            open_frames: 0,
            taken: 0,
            writer: None,
            shut: false,
        }
    }

    /// Queues a frame. True when the queue was empty, so that a writer may be waiting.
    pub(crate) fn push(&mut self, frame: &Frame) -> Result<bool, PushError> {
        if self.shut {
            return Err(PushError::Shut);
        }
        let bytes = frame.bytes_encoded();
        if bytes > self.bytes_max - self.bytes {
            return Err(PushError::Full);
        }
        let was_empty = self.bytes == 0;
        self.bytes += bytes;
        if frame.payload().len() >= SHARED_BYTES_MIN {
            self.seal();
            self.sealed.push_back(Chunk {
                head: frame.head().clone(),
                payload: frame.payload().clone(),
                frames: 1,
            });
        } else {
            if self.open.len() + bytes > CHUNK_BYTES {
                self.seal();
            }
            self.open.extend_from_slice(frame.head());
            self.open.extend_from_slice(frame.payload());
            self.open_frames += 1;
        }
        Ok(was_empty)
    }

    /// Makes `writer` the one who may take, and tells the number of the first frame it will get.
    pub(crate) fn attach(&mut self, writer: LinkNumber) -> u64 {
        self.writer = Some(writer);
        self.taken
    }

    /// Moves frames to `batch`: all of them, or as many as make a batch.
    pub(crate) fn take(&mut self, writer: LinkNumber, batch: &mut Vec<Bytes>) -> Take {
        if self.writer != Some(writer) {
            return Take::Detached;
        }
        if self.bytes == 0 {
            return Take::Empty;
        }
        self.seal();
        let (mut bytes, mut frames) = (0, 0);
        while bytes < BATCH_BYTES {
            let Some(chunk) = self.sealed.pop_front() else {
                break;
            };
            bytes += chunk.bytes();
            frames += chunk.frames;
            batch.push(chunk.head);
            if !chunk.payload.is_empty() {
                batch.push(chunk.payload);
            }
        }
        self.bytes -= bytes;
        self.taken += frames;
        if self.sealed.is_empty() && self.sealed.capacity() > CHUNKS_KEPT_MAX {
            self.sealed = VecDeque::new();
        }
        Take::Frames(frames)
    }

    /// How many frames wait, and how many bytes they are.
    pub(crate) fn queued(&self) -> (u64, usize) {
        let sealed: u64 = self.sealed.iter().map(|chunk| chunk.frames).sum();
        (sealed + self.open_frames, self.bytes)
    }

    /// Drops what waits and refuses more until [`LaneQueue::reopen`]. Returns how many frames
    /// were dropped.
    pub(crate) fn shut(&mut self) -> u64 {
        self.shut = true;
        self.clear()
    }

    /// Accepts frames again.
    pub(crate) fn reopen(&mut self) {
        self.shut = false;
    }

    /// The peer has restarted: drops what was meant for its earlier run and numbers anew. Returns
    /// how many frames were dropped.
    pub(crate) fn restart(&mut self) -> u64 {
        self.taken = 0;
        self.writer = None;
        self.clear()
    }

    fn clear(&mut self) -> u64 {
        self.seal();
        self.bytes = 0;
        let dropped = std::mem::take(&mut self.sealed);
        dropped.iter().map(|chunk| chunk.frames).sum()
    }

    fn seal(&mut self) {
        if self.open_frames > 0 {
            // Handing the buffer over, instead of splitting it, leaves an idle lane without one.
            self.sealed.push_back(Chunk {
                head: std::mem::take(&mut self.open).freeze(),
                payload: Bytes::new(),
                frames: std::mem::take(&mut self.open_frames),
            });
        }
    }
}

impl Cursor {
    /// The lane goes on over `link`, beginning with frame `first`. Returns how many frames were
    /// lost before it, or `None` when a later link already carries the lane.
    pub(crate) fn open(
        &mut self,
        incarnation: Incarnation,
        link: LinkNumber,
        first: u64,
    ) -> Option<u64> {
        if link < self.link {
            return None;
        }
        if incarnation != self.incarnation {
            self.incarnation = incarnation;
            self.next = 0;
        }
        self.link = link;
        let lost = first.saturating_sub(self.next);
        self.next = self.next.max(first);
        Some(lost)
    }

    /// Whether `link` still carries the lane.
    pub(crate) fn is_read_from(&self, link: LinkNumber) -> bool {
        self.link == link
    }

    /// Whether frame `number` is to be delivered; if it is, it counts as received.
    pub(crate) fn admit(&mut self, number: u64) -> bool {
        let new = number >= self.next;
        if new {
            self.next = number + 1;
        }
        new
    }
}

impl Chunk {
    fn bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// Bytes with which a lane begins on each link: its number (`u8`) and that of its first frame
/// (`u64`, big endian).
pub(crate) const LANE_OPENING_BYTES: usize = 9;
/// Payloads from here on are sent from where they are instead of being copied.
const SHARED_BYTES_MIN: usize = 16 << 10;
/// Small frames are packed up to this size.
const CHUNK_BYTES: usize = 64 << 10;
/// A batch is complete once it has this size. What a writer holds counts no longer as queued, so
/// it must be small against the bound of the queue.
const BATCH_BYTES: usize = 256 << 10;
/// A queue that was once longer gives its memory back when it has been emptied.
const CHUNKS_KEPT_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::FrameDecoder;

    fn frame(bytes: usize) -> Frame {
        Frame::new(&[], vec![bytes as u8; bytes].into())
    }

    fn number(counter: u64) -> LinkNumber {
        LinkNumber::new(1.into(), counter)
    }

    fn drain(queue: &mut LaneQueue, writer: LinkNumber) -> (u64, Vec<Bytes>) {
        let (mut frames, mut batch) = (0, Vec::new());
        while let Take::Frames(n) = queue.take(writer, &mut batch) {
            frames += n;
        }
        (frames, batch)
    }

    proptest! {
        #[test]
        fn frames_leave_whole_and_in_order(sizes in prop::collection::vec(0usize..70_000, 1..40)) {
            let mut queue = LaneQueue::new(usize::MAX);
            queue.attach(number(1));
            for size in &sizes {
                queue.push(&frame(*size)).unwrap();
            }
            let (frames, batch) = drain(&mut queue, number(1));
            prop_assert_eq!(frames, sizes.len() as u64);
            prop_assert_eq!(queue.attach(number(2)), frames);

            let mut decoder = FrameDecoder::new(70_000);
            let mut received = Vec::new();
            for chunk in batch {
                decoder.feed(chunk);
                while let Some(frame) = decoder.next().unwrap() {
                    received.push(frame.len());
                }
            }
            prop_assert_eq!(received, sizes);
        }
    }

    #[test]
    fn a_full_queue_refuses_the_new_frame_and_keeps_the_old() {
        let mut queue = LaneQueue::new(25);
        assert_eq!(queue.push(&frame(6)), Ok(true));
        assert_eq!(queue.push(&frame(6)), Ok(false));
        assert_eq!(queue.push(&frame(6)), Err(PushError::Full));
        assert_eq!(queue.push(&frame(1)), Ok(false));
        assert_eq!(queue.queued(), (3, 25));
        queue.attach(number(1));
        assert_eq!(drain(&mut queue, number(1)).0, 3);
        assert_eq!(queue.push(&frame(6)), Ok(true));
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let mut queue = LaneQueue::new(1 << 20);
        queue.attach(number(1));
        let large = frame(SHARED_BYTES_MIN);
        queue.push(&large).unwrap();
        let (_, batch) = drain(&mut queue, number(1));
        assert_eq!(batch[1].as_ptr(), large.payload().as_ptr());
    }

    #[test]
    fn only_the_latest_link_takes_frames() {
        let mut queue = LaneQueue::new(100);
        queue.attach(number(1));
        queue.attach(number(2));
        queue.push(&frame(1)).unwrap();
        let mut batch = Vec::new();
        assert_eq!(queue.take(number(1), &mut batch), Take::Detached);
        assert_eq!(queue.take(number(2), &mut batch), Take::Frames(1));
        assert_eq!(queue.take(number(2), &mut batch), Take::Empty);
    }

    #[test]
    fn a_forgotten_peer_gets_nothing_until_it_is_kept_again() {
        let mut queue = LaneQueue::new(100);
        queue.push(&frame(1)).unwrap();
        queue.push(&frame(1)).unwrap();
        assert_eq!(queue.shut(), 2);
        assert_eq!(queue.push(&frame(1)), Err(PushError::Shut));
        queue.reopen();
        assert_eq!(queue.push(&frame(1)), Ok(true));
    }

    #[test]
    fn a_restarted_peer_is_numbered_anew() {
        let mut queue = LaneQueue::new(100);
        queue.attach(number(1));
        queue.push(&frame(1)).unwrap();
        drain(&mut queue, number(1));
        queue.push(&frame(1)).unwrap();
        assert_eq!(queue.restart(), 1);
        assert_eq!(queue.attach(number(2)), 0);
    }

    #[test]
    fn a_gap_between_links_is_what_was_lost() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.open(7.into(), number(1), 0), Some(0));
        assert!(cursor.admit(0) && cursor.admit(1));
        assert_eq!(cursor.open(7.into(), number(2), 5), Some(3));
        assert!(!cursor.is_read_from(number(1)));
        assert_eq!(cursor.open(7.into(), number(1), 2), None);
        assert!(!cursor.admit(4));
        assert!(cursor.admit(5));
        assert_eq!(cursor.open(8.into(), number(3), 0), Some(0));
    }
}
