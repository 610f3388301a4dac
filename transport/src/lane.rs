//! The sending end of a lane: what waits to be sent to a peer.
//!
//! A lane outlives the links that carry it. Its frames are numbered from 0 for each pair of runs
//! of the two nodes, as they are taken out of the queue; on each link a lane begins by saying the
//! number of its first frame. Frames are never sent twice, so a jump in the numbers is exactly
//! what was lost with the link before. What was dropped instead of being sent takes no number: it is
//! *withheld*, and the lane says how much that is, too.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::LinkNumber;
use crate::frame::{Frame, Piece, WITHHELD_MAX};
use crate::opening::{Opening, Withheld};
use crate::{Budget, Held};

/// Frames that wait for the writer of a lane, bounded in bytes.
///
/// Those of each publisher wait in a queue of their own, and the queues take turns by bytes: who
/// sends little does not stand behind the backlog of who sends much. The room is shared, too: a
/// queue may be as long as what is still free, so that a publisher alone fills half, two a third
/// each, and the next one always finds room. Likewise a lane has no more of the node's budget than what
/// is left of it.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    bytes_max: usize,
    bytes: usize,
    held: Held,
    frames: u64,
    /// By publisher. Of those that are empty only such are kept that have sent more than their turn.
    backlogs: HashMap<u64, Backlog>,
    /// The publishers that have a backlog, in the order in which it is their turn.
    turns: VecDeque<u64>,
    /// Frames taken so far, which is the number of the next one.
    taken: u64,
    /// Not sent and never to be.
    withheld: Withheld,
    /// How much of that the writer has said.
    said: Withheld,
    /// The link whose writer may take.
    writer: Option<LinkNumber>,
    /// Membership calls the peer gone: nothing is accepted.
    shut: bool,
}

/// What waits of one publisher.
///
/// Small frames are packed into chunks as they come; a large payload is only referred to.
#[derive(Debug, Default)]
struct Backlog {
    bytes: usize,
    sealed: VecDeque<Chunk>,
    /// The chunk that small frames are being packed into.
    open: BytesMut,
    open_frames: u64,
    /// Bytes that it may still send in this turn. Below zero after a chunk that was longer than
    /// that, which the next turns make up for.
    credit: isize,
}

/// A frame was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Nothing else waited, so a writer may be waiting.
    pub(crate) was_empty: bool,
    /// The publisher has taken half of the room that it may take, or the lane has.
    pub(crate) is_scarce: bool,
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
    /// With at most so many bytes, which count to a budget.
    pub(crate) fn new(bytes_max: usize, budget: &Arc<Budget>) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            held: budget.part(),
            frames: 0,
            backlogs: HashMap::new(),
            turns: VecDeque::new(),
            taken: 0,
            withheld: Withheld::default(),
            said: Withheld::default(),
            writer: None,
            shut: false,
        }
    }

    /// Queues a frame behind those of its publisher, or withholds it.
    pub(crate) fn push(&mut self, publisher: u64, frame: &Frame) -> Result<Pushed, PushError> {
        if self.shut {
            self.withhold();
            return Err(PushError::Shut);
        }
        let bytes = frame.bytes_encoded();
        let free = self.bytes_max - self.bytes;
        let own = self.backlogs.get(&publisher).map_or(0, |own| own.bytes);
        if bytes > free || own > free || !self.held.admits(bytes) {
            self.withhold();
            return Err(PushError::Full);
        }
        let was_empty = self.bytes == 0;
        let share = self.held.share();
        self.bytes += bytes;
        self.held.set(self.bytes);
        self.frames += 1;
        let backlog = self.backlogs.entry(publisher).or_default();
        if backlog.bytes == 0 {
            self.turns.push_back(publisher);
        }
        backlog.push(frame, bytes);
        Ok(Pushed {
            was_empty,
            is_scarce: own + bytes > (free - bytes) / 2 || self.bytes > share / 2,
        })
    }

    /// A frame is not to be sent.
    pub(crate) fn withhold(&mut self) {
        self.withheld.frames += 1;
    }

    /// Makes `writer` the one who may take, and tells how it is to begin.
    pub(crate) fn attach(&mut self, writer: LinkNumber, lane: u8) -> Opening {
        self.writer = Some(writer);
        self.said = self.withheld;
        Opening {
            lane,
            first: self.taken,
            withheld: self.withheld,
        }
    }

    /// Moves frames to `batch`: all of them, or as many as make a batch. Before them goes what was
    /// withheld since the last time.
    pub(crate) fn take(&mut self, writer: LinkNumber, batch: &mut Vec<Bytes>) -> Take {
        if self.writer != Some(writer) {
            return Take::Detached;
        }
        if self.bytes == 0 && self.said == self.withheld {
            return Take::Empty;
        }
        self.say_withheld(batch);
        let (mut bytes, mut frames) = (0, 0);
        while bytes < BATCH_BYTES {
            let Some(publisher) = self.turns.pop_front() else {
                break;
            };
            let Some(backlog) = self.backlogs.get_mut(&publisher) else {
                continue;
            };
            backlog.credit += TURN_BYTES;
            while backlog.credit > 0
                && let Some(chunk) = backlog.pop()
            {
                bytes += chunk.bytes();
                frames += chunk.frames;
                append(batch, chunk.head);
                append(batch, chunk.payload);
            }
            if backlog.bytes > 0 {
                self.turns.push_back(publisher);
            } else if backlog.credit >= 0 {
                self.backlogs.remove(&publisher);
            }
        }
        self.bytes -= bytes;
        self.held.set(self.bytes);
        self.frames -= frames;
        self.taken += frames;
        self.forgive();
        Take::Frames(frames)
    }

    /// Whose writer may take, or took last.
    pub(crate) fn writer(&self) -> Option<LinkNumber> {
        self.writer
    }

    /// How many frames have been taken for this run of the peer.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// How many frames wait, and how many bytes they are.
    pub(crate) fn queued(&self) -> (u64, usize) {
        (self.frames, self.bytes)
    }

    /// Drops what waits and refuses more until [`LaneQueue::reopen`]. Returns how many frames
    /// were dropped.
    pub(crate) fn shut(&mut self) -> u64 {
        self.shut = true;
        let dropped = self.clear();
        self.withheld.frames += dropped;
        dropped
    }

    /// Accepts frames again.
    pub(crate) fn reopen(&mut self) {
        self.shut = false;
    }

    /// The peer was taken for gone for a while, so that nobody knows what it was not sent.
    pub(crate) fn note_absence(&mut self) {
        self.withheld.absences += 1;
    }

    /// The peer has restarted: drops what was meant for its earlier run and numbers anew. Returns
    /// how many frames were dropped.
    pub(crate) fn restart(&mut self) -> u64 {
        self.taken = 0;
        (self.withheld, self.said) = Default::default();
        self.writer = None;
        self.clear()
    }

    fn say_withheld(&mut self, batch: &mut Vec<Bytes>) {
        let said = std::mem::replace(&mut self.said, self.withheld);
        if self.withheld.absences > said.absences {
            batch.push(Piece::withheld(0));
        }
        let mut frames = self.withheld.frames - said.frames;
        while frames > 0 {
            let part = u32::try_from(frames).map_or(WITHHELD_MAX, |part| part.min(WITHHELD_MAX));
            batch.push(Piece::withheld(part));
            frames -= u64::from(part);
        }
    }

    /// Debts matter only while others wait; nor are those remembered of ever more publishers.
    fn forgive(&mut self) {
        if self.bytes == 0 && self.turns.capacity() > PUBLISHERS_KEPT_MAX {
            self.turns = VecDeque::new();
            self.backlogs = HashMap::new();
        } else if self.bytes == 0 {
            self.backlogs.clear();
        } else if self.backlogs.len() > 2 * self.turns.len() + PUBLISHERS_KEPT_MAX {
            self.backlogs.retain(|_, backlog| backlog.bytes > 0);
        }
    }

    fn clear(&mut self) -> u64 {
        self.bytes = 0;
        self.held.set(0);
        self.backlogs = HashMap::new();
        self.turns = VecDeque::new();
        std::mem::take(&mut self.frames)
    }
}

impl Backlog {
    fn push(&mut self, frame: &Frame, bytes: usize) {
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
    }

    fn pop(&mut self) -> Option<Chunk> {
        if self.sealed.is_empty() {
            self.seal();
        }
        let chunk = self.sealed.pop_front()?;
        self.bytes -= chunk.bytes();
        self.credit = self.credit.saturating_sub_unsigned(chunk.bytes());
        Some(chunk)
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

/// Adds what is to be written next. Many short pieces, as of many publishers, become a few longer
/// ones.
fn append(batch: &mut Vec<Bytes>, next: Bytes) {
    if next.is_empty() {
        return;
    }
    if next.len() < SHORT_BYTES
        && let Some(last) = batch.last_mut()
        && last.len() < SHARED_BYTES_MIN
    {
        match std::mem::take(last).try_into_mut() {
            Ok(mut bytes) => {
                bytes.extend_from_slice(&next);
                *last = bytes.freeze();
                return;
            }
            Err(shared) => *last = shared,
        }
    }
    batch.push(next);
}

impl Chunk {
    fn bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }
}

/// Payloads from here on are sent from where they are instead of being copied.
const SHARED_BYTES_MIN: usize = 16 << 10;
/// Small frames are packed up to this size.
const CHUNK_BYTES: usize = 64 << 10;
/// A batch is complete once it has this size. What a writer holds counts no longer as queued, so
/// it must be small against the bound of the queue.
const BATCH_BYTES: usize = 256 << 10;
/// What a publisher sends while it is its turn.
const TURN_BYTES: isize = 64 << 10;
/// Pieces below this are copied together.
const SHORT_BYTES: usize = 4 << 10;
/// A queue that was once filled by more publishers gives its memory back when it has been emptied.
const PUBLISHERS_KEPT_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{FrameDecoder, LENGTH_BYTES};

    fn frame(bytes: usize) -> Frame {
        Frame::new(&[], vec![bytes as u8; bytes].into())
    }

    fn queue(bytes_max: usize) -> LaneQueue {
        LaneQueue::new(bytes_max, &Arc::new(Budget::new(usize::MAX)))
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

    /// The bodies of the frames in these chunks.
    fn decoded(batch: Vec<Bytes>) -> Vec<Bytes> {
        let mut decoder = FrameDecoder::new(1 << 20);
        let mut frames = Vec::new();
        for chunk in batch {
            decoder.feed(chunk);
            while let Some(piece) = decoder.next().unwrap() {
                match piece {
                    Piece::Frame(frame) => frames.push(frame),
                    Piece::Withheld(_) => panic!("nothing was dropped"),
                }
            }
        }
        frames
    }

    proptest! {
        #[test]
        fn frames_leave_whole_and_those_of_a_publisher_in_order(
            sizes in prop::collection::vec((0..4_u64, 0usize..70_000), 1..40),
            takes in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut queue = queue(usize::MAX);
            queue.attach(number(1), 0);
            let mut batch = Vec::new();
            for (index, ((publisher, size), take)) in sizes.iter().zip(takes).enumerate() {
                let head = [*publisher as u8, index as u8];
                queue.push(*publisher, &Frame::new(&head, vec![7; *size].into())).unwrap();
                if take {
                    queue.take(number(1), &mut batch);
                }
            }
            let (_, rest) = drain(&mut queue, number(1));
            batch.extend(rest);
            prop_assert_eq!(queue.attach(number(2), 0).first, sizes.len() as u64);
            prop_assert_eq!(queue.queued(), (0, 0));
            let received = decoded(batch);
            for publisher in 0..4 {
                let sent = sizes.iter().enumerate().filter(|(_, (own, _))| *own == publisher);
                let sent: Vec<_> = sent.map(|(index, (_, size))| (index as u8, size + 2)).collect();
                let own = received.iter().filter(|frame| frame[0] == publisher as u8);
                let own: Vec<_> = own.map(|frame| (frame[1], frame.len())).collect();
                prop_assert_eq!(own, sent);
            }
        }

        /// However long the backlogs of others are, what a quiet publisher sends leaves before any of
        /// them has sent more than a turn and a frame.
        #[test]
        fn a_quiet_publisher_does_not_wait_for_the_backlogs_of_others(
            backlogs in prop::collection::vec((1usize..60, 1usize..200_000), 1..5),
        ) {
            let mut queue = queue(usize::MAX);
            queue.attach(number(1), 0);
            for (publisher, (count, size)) in backlogs.iter().enumerate() {
                for _ in 0..*count {
                    queue.push(publisher as u64, &frame(*size)).unwrap();
                }
            }
            // They are in the middle of it.
            queue.take(number(1), &mut Vec::new());
            queue.push(99, &Frame::new(b"quiet", Bytes::new())).unwrap();
            let (_, batch) = drain(&mut queue, number(1));
            let before = decoded(batch).into_iter().take_while(|frame| frame.as_ref() != b"quiet");
            let before: usize = before.map(|frame| frame.len() + LENGTH_BYTES).sum();
            let turns: usize = backlogs
                .iter()
                .map(|(_, size)| TURN_BYTES as usize + CHUNK_BYTES.max(size + LENGTH_BYTES))
                .sum();
            prop_assert!(before <= turns, "{before} bytes went before, of {turns}");
        }

        #[test]
        fn publishers_who_always_have_more_send_the_same_number_of_bytes(
            sizes in prop::collection::vec(1usize..300_000, 2..5),
        ) {
            let mut queue = queue(usize::MAX);
            queue.attach(number(1), 0);
            let mut sent = vec![0; sizes.len()];
            for _ in 0..60 {
                for (publisher, size) in sizes.iter().enumerate() {
                    while queue.backlogs.get(&(publisher as u64)).map_or(0, |own| own.bytes) < 1 << 20 {
                        let bytes = Frame::new(&[publisher as u8], vec![0; *size].into());
                        queue.push(publisher as u64, &bytes).unwrap();
                    }
                }
                let mut batch = Vec::new();
                queue.take(number(1), &mut batch);
                for frame in decoded(batch) {
                    sent[usize::from(frame[0])] += frame.len() + LENGTH_BYTES;
                }
            }
            let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
            prop_assert!(most - least <= 3 * 300_000, "{sent:?}");
        }
    }

    #[test]
    fn a_full_queue_refuses_the_new_frame_and_keeps_the_old() {
        let mut queue = queue(30);
        let pushed = |was_empty, is_scarce| {
            Ok(Pushed {
                was_empty,
                is_scarce,
            })
        };
        assert_eq!(queue.push(1, &frame(6)), pushed(true, false));
        assert_eq!(queue.push(1, &frame(6)), pushed(false, true));
        assert_eq!(queue.push(1, &frame(6)), Err(PushError::Full));
        // The other half is for others.
        assert_eq!(queue.push(2, &frame(6)), pushed(false, true));
        assert_eq!(queue.push(3, &frame(0)), Err(PushError::Full));
        assert_eq!(queue.queued(), (3, 30));
        queue.attach(number(1), 0);
        assert_eq!(drain(&mut queue, number(1)).0, 3);
        assert_eq!(queue.push(1, &frame(6)), pushed(true, false));
    }

    #[test]
    fn those_who_flood_a_lane_at_the_same_time_leave_room_for_the_next_publisher() {
        let mut queue = queue(1 << 20);
        let mut flooding: Vec<u64> = (0..100).collect();
        while !flooding.is_empty() {
            flooding.retain(|publisher| queue.push(*publisher, &frame(1_000)).is_ok());
        }
        assert!(queue.push(100, &frame(5_000)).is_ok());
    }

    #[test]
    fn lanes_have_no_more_of_the_budget_than_is_left_of_it() {
        let budget = Arc::new(Budget::new(1 << 20));
        let lane = || LaneQueue::new(usize::MAX, &budget);
        let (mut one, mut other, mut third) = (lane(), lane(), lane());
        let fill = |lane: &mut LaneQueue| {
            let mut scarce_at = None;
            while let Ok(pushed) = lane.push(1, &frame(1_000)) {
                if pushed.is_scarce {
                    scarce_at.get_or_insert(lane.queued().1);
                }
            }
            (scarce_at.unwrap(), lane.queued().1)
        };
        let (scarce_at, full_at) = fill(&mut one);
        assert!((400_000..500_000).contains(&full_at), "{full_at}");
        assert!(
            (full_at / 3..full_at / 3 * 2).contains(&scarce_at),
            "{scarce_at}"
        );
        let (_, full_at) = fill(&mut other);
        assert!((200_000..250_000).contains(&full_at), "{full_at}");
        one.attach(number(1), 0);
        drain(&mut one, number(1));
        other.shut();
        assert_eq!(budget.held(), 0);
        assert!(fill(&mut third).1 >= 400_000);
    }

    #[test]
    fn short_pieces_of_many_publishers_are_written_together() {
        let mut queue = queue(1 << 20);
        queue.attach(number(1), 0);
        for publisher in 0..1_000 {
            queue.push(publisher, &frame(100)).unwrap();
        }
        let (frames, batch) = drain(&mut queue, number(1));
        assert_eq!(frames, 1_000);
        assert!(batch.len() <= 10, "{} pieces", batch.len());
        assert_eq!(decoded(batch).len(), 1_000);
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let mut queue = queue(1 << 20);
        queue.attach(number(1), 0);
        let large = frame(SHARED_BYTES_MIN);
        queue.push(1, &large).unwrap();
        let (_, batch) = drain(&mut queue, number(1));
        assert_eq!(batch[1].as_ptr(), large.payload().as_ptr());
    }

    #[test]
    fn only_the_latest_link_takes_frames() {
        let mut queue = queue(100);
        queue.attach(number(1), 0);
        queue.attach(number(2), 0);
        queue.push(1, &frame(1)).unwrap();
        let mut batch = Vec::new();
        assert_eq!(queue.take(number(1), &mut batch), Take::Detached);
        assert_eq!(queue.take(number(2), &mut batch), Take::Frames(1));
        assert_eq!(queue.take(number(2), &mut batch), Take::Empty);
    }

    #[test]
    fn a_forgotten_peer_gets_nothing_until_it_is_kept_again() {
        let mut queue = queue(100);
        queue.push(1, &frame(1)).unwrap();
        queue.push(1, &frame(1)).unwrap();
        assert_eq!(queue.shut(), 2);
        assert_eq!(queue.push(1, &frame(1)), Err(PushError::Shut));
        queue.reopen();
        assert!(queue.push(1, &frame(1)).unwrap().was_empty);
    }

    #[test]
    fn what_is_dropped_is_said_before_the_next_frame_and_on_the_next_link() {
        let mut queue = queue(30);
        queue.attach(number(1), 0);
        let said = |queue: &mut LaneQueue| {
            let (mut batch, mut pieces) = (Vec::new(), Vec::new());
            let mut decoder = FrameDecoder::new(1 << 20);
            while let Take::Frames(_) = queue.take(number(1), &mut batch) {}
            for bytes in batch {
                decoder.feed(bytes);
                while let Some(piece) = decoder.next().unwrap() {
                    pieces.push(piece);
                }
            }
            pieces
        };
        assert_eq!(queue.push(1, &frame(40)), Err(PushError::Full));
        assert_eq!(said(&mut queue), [Piece::Withheld(1)], "nothing else waits");
        queue.push(1, &frame(6)).unwrap();
        queue.push(1, &frame(6)).unwrap();
        queue.push(1, &frame(6)).unwrap_err();
        queue.withhold();
        assert_eq!(said(&mut queue)[0], Piece::Withheld(2));
        assert_eq!(said(&mut queue), []);

        queue.push(1, &frame(6)).unwrap();
        queue.shut();
        queue.push(1, &frame(6)).unwrap_err();
        assert_eq!(said(&mut queue), [Piece::Withheld(2)]);
        queue.note_absence();
        assert_eq!(said(&mut queue), [Piece::Withheld(0)]);
        queue.withhold();
        let opening = queue.attach(number(1), 3);
        let withheld = Withheld {
            frames: 6,
            absences: 1,
        };
        assert_eq!(
            (opening.lane, opening.first, opening.withheld),
            (3, 2, withheld)
        );
        assert_eq!(said(&mut queue), [], "the opening has said it");
    }

    #[test]
    fn a_restarted_peer_is_numbered_anew() {
        let mut queue = queue(100);
        queue.attach(number(1), 0);
        queue.push(1, &frame(1)).unwrap();
        drain(&mut queue, number(1));
        queue.push(1, &frame(1)).unwrap();
        assert_eq!(queue.restart(), 1);
        assert_eq!(
            queue.attach(number(2), 0),
            Opening {
                lane: 0,
                first: 0,
                withheld: Withheld::default()
            }
        );
    }
}
