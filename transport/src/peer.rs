use std::fmt;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tokio::sync::Notify;

use crate::config::LANES_MAX;
use crate::cursor::{Cursor, Lack};
use crate::frame::Frame;
use crate::gap::{Direction, Gaps};
use crate::lane::{LaneQueue, PushError};
use crate::reports::ReportQueue;
use crate::stats::Counters;
use crate::{Budget, Carried, Config, Credit, LinkInfo, LinkNumber, LinkUp};

/// The hot path to one peer. It stays valid while links to the peer come and go.
///
/// The frames of one publisher arrive in the order in which they were sent, none twice. A frame
/// that was accepted is delivered, or counted as dropped: here when the peer is forgotten or
/// restarts, at the peer when it is lost with a link.
///
/// A peer's record of about 2 KiB is kept as long as the transport, so that numbers go on where
/// they were when it comes back. The certificate authority bounds how many names there can be.
pub struct Peer {
    name: NodeId,
    frame_bytes_max: usize,
    outbound: Box<[Outbound]>,
    inbound: Box<[Mutex<Cursor>]>,
    reports: ReportQueue,
    /// Frames to the peer that were dropped here.
    dropped: AtomicU64,
    /// Frames from the peer that were lost with a link.
    lost: AtomicU64,
    /// Frames from the peer that it dropped, as it says.
    dropped_there: AtomicU64,
    /// Frames to the peer that were lost with a link, as it says.
    lost_there: AtomicU64,
    /// How many of them in this run of the peer.
    lost_there_in_run: AtomicU64,
    /// How often frames from the peer may have been missing, and nobody knows how many.
    unknown_gaps: AtomicU64,
    /// How many lanes it opens, as it said last; 0 before it has.
    lanes: AtomicU8,
    /// How many links to it are up. More than one only for a moment.
    links: AtomicUsize,
    /// Whether it was taken for gone, and it is not [known](Self::know) again.
    is_absent: AtomicBool,
    /// Whether it has said goodbye.
    has_left: AtomicBool,
    gaps: Arc<Gaps>,
    counters: Arc<Counters>,
}

/// How much room a publisher has left for frames to a peer, after one that was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// More than half of what it may take.
    Plenty,
    /// Less: it is sending faster than the link, or others are, too.
    Scarce,
}

/// Why a frame was not sent. It has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The outbound buffer of the lane is full, or the publisher has taken its part of it.
    #[error("the publisher's part of the outbound buffer to the peer is full")]
    Full,
    /// The frame exceeds `frame_bytes_max`.
    #[error("frame of {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Size of the frame.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Membership calls the peer dead or departed.
    #[error("the peer is gone")]
    Forgotten,
}

/// The sending end of a lane.
#[derive(Debug)]
pub(crate) struct Outbound {
    queue: Mutex<LaneQueue>,
    /// Wakes the writer when the queue is no longer empty.
    pub(crate) filled: Notify,
}

impl Peer {
    pub(crate) fn new(
        name: NodeId,
        config: &Config,
        frame_bytes_max: usize,
        budget: &Arc<Budget>,
        gaps: Arc<Gaps>,
        counters: Arc<Counters>,
    ) -> Self {
        let outbound = || Outbound {
            queue: Mutex::new(LaneQueue::new(config.outbound_bytes_max.get(), budget)),
            filled: Notify::new(),
        };
        Self {
            name,
            frame_bytes_max,
            outbound: (0..config.lanes.get()).map(|_| outbound()).collect(),
            inbound: (0..LANES_MAX).map(|_| Mutex::default()).collect(),
            reports: ReportQueue::default(),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            dropped_there: AtomicU64::new(0),
            lost_there: AtomicU64::new(0),
            lost_there_in_run: AtomicU64::new(0),
            unknown_gaps: AtomicU64::new(0),
            lanes: AtomicU8::new(0),
            links: AtomicUsize::new(0),
            is_absent: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            gaps,
            counters,
        }
    }

    /// The peer's name.
    pub fn name(&self) -> &NodeId {
        &self.name
    }

    /// Queues a frame for the peer. Those of one publisher share a lane and keep their order; those
    /// of several that share a lane take turns.
    ///
    /// Never waits. While there is no link the frame waits for one to come up.
    ///
    /// # Errors
    /// When the frame was dropped instead.
    pub fn send(&self, publisher: u64, frame: &Frame) -> Result<Room, SendError> {
        let bytes = frame.bytes();
        let lane = self.lane(publisher);
        if bytes > self.frame_bytes_max {
            lane.queue().withhold();
            lane.filled.notify_one();
            self.count_dropped(&self.counters.dropped_too_large, 1);
            return Err(SendError::TooLarge {
                bytes,
                bytes_max: self.frame_bytes_max,
            });
        }
        let pushed = lane.queue().push(publisher, frame);
        match pushed {
            Ok(pushed) => {
                if pushed.was_empty {
                    lane.filled.notify_one();
                }
                Ok(if pushed.is_scarce {
                    Room::Scarce
                } else {
                    Room::Plenty
                })
            }
            Err(PushError::Full) => {
                lane.filled.notify_one();
                self.count_dropped(&self.counters.dropped_outbound_full, 1);
                Err(SendError::Full)
            }
            Err(PushError::Shut) => {
                self.count_dropped(&self.counters.dropped_peer_forgotten, 1);
                Err(SendError::Forgotten)
            }
        }
    }

    /// Drops a frame of this publisher instead of sending it, because the publisher would have to wait
    /// for room. It is counted, and the peer is told.
    pub fn withhold(&self, publisher: u64) {
        let lane = self.lane(publisher);
        lane.queue().withhold();
        lane.filled.notify_one();
        self.count_dropped(&self.counters.dropped_congested, 1);
    }

    /// All who are to get frames on the peer are known, so that whatever is sent from now on is meant
    /// for all of them. When the peer was [forgotten](crate::Transport::forget) before, that was not
    /// so in between, and both ends are told of a gap.
    pub fn know(&self) {
        self.end_absence();
    }

    /// Notes, to be said in the first lane, that the peer was taken for gone for a while. False if it
    /// was not.
    pub(crate) fn end_absence(&self) -> bool {
        let was_absent = self.is_absent.swap(false, SeqCst);
        if was_absent {
            let lane = &self.outbound[0];
            lane.queue().note_absence();
            lane.filled.notify_one();
            self.gaps.add(&self.name, Direction::Outbound, None);
        }
        was_absent
    }

    /// How many frames have been taken from the lane of a publisher, its own and those of others, to be
    /// sent to this run of the peer. When that changes, the link gets on.
    pub fn frames_taken(&self, publisher: u64) -> u64 {
        self.lane(publisher).queue().taken()
    }

    /// Tells a publisher of the peer that there is room here for what it sends. Nothing comes of it
    /// when the link is lost meanwhile, so it has to do without.
    pub fn give(&self, credit: Credit) {
        self.reports.push_credit(credit);
    }

    /// Says something about assured messages to the node of the peer. Nothing comes of it when the link is
    /// lost meanwhile, or too much waits to be said.
    pub fn assure(&self, message: Bytes) {
        self.reports.push_assurance(message);
    }

    /// The link that took the frames of this publisher last, or takes them now. As long as it is the same,
    /// no frame that was taken is lost.
    pub fn carrier(&self, publisher: u64) -> Option<LinkNumber> {
        self.lane(publisher).queue().writer()
    }

    fn lane(&self, publisher: u64) -> &Outbound {
        let lanes = self.outbound.len() as u64;
        &self.outbound[(publisher % lanes) as usize]
    }

    pub(crate) fn reports(&self) -> &ReportQueue {
        &self.reports
    }

    pub(crate) fn outbound(&self) -> &[Outbound] {
        &self.outbound
    }

    /// The receiving end of a lane. Holding it keeps frames of the lane from being delivered
    /// elsewhere. `lane` is below [`LANES_MAX`].
    pub(crate) fn inbound(&self, lane: u8) -> MutexGuard<'_, Cursor> {
        // A cursor is valid after every step, so a receiver that panicked does no harm to it.
        self.inbound[usize::from(lane)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How things stand with the peer, with this link.
    pub(crate) fn info(&self, up: Option<LinkUp>) -> LinkInfo {
        let queued = self.outbound.iter().map(|lane| lane.queue().queued());
        let (queued_frames, queued_bytes) = queued.fold((0, 0), |sum, lane| {
            let ((frames, bytes), (more_frames, more_bytes)) = (sum, lane);
            (frames + more_frames, bytes + more_bytes)
        });
        LinkInfo {
            peer: self.name.clone(),
            up,
            queued_frames,
            queued_bytes,
            dropped_frames: self.dropped.load(Relaxed),
            lost_frames: self.lost.load(Relaxed),
            dropped_frames_there: self.dropped_there.load(Relaxed),
            lost_frames_there: self.lost_there.load(Relaxed),
            unknown_gaps: self.unknown_gaps.load(Relaxed),
            carried: self.carried(),
        }
    }

    fn carried(&self) -> Carried {
        let taken = self.outbound.iter().map(|lane| lane.queue().taken());
        let lanes = (0..LANES_MAX).map(|lane| self.inbound(lane));
        // A peer may say that any number of frames was lost.
        let (received, lost) = lanes.fold((0_u64, 0_u64), |(received, lost), lane| {
            let more = (lane.received(), lane.lost());
            (received + more.0, lost.saturating_add(more.1))
        });
        Carried {
            sent: taken.sum(),
            received,
            lost,
        }
    }

    /// Frames from the peer are missing in a lane.
    pub(crate) fn count_lack(&self, lack: Lack) {
        let Lack {
            lost,
            withheld,
            unknown,
        } = lack;
        self.counters.dropped_link_lost.fetch_add(lost, Relaxed);
        self.lost.fetch_add(lost, Relaxed);
        self.dropped_there.fetch_add(withheld, Relaxed);
        let known = lost.saturating_add(withheld);
        let frames = if unknown { None } else { Some(known) };
        self.miss(frames);
    }

    /// Tells the peer how many of its frames were lost with links, if any were.
    pub(crate) fn report_lost(&self) {
        let lost = self.carried().lost;
        if lost > 0 {
            self.reports.push_lost(lost);
        }
    }

    /// The peer says how many frames to this run of it were lost with links.
    pub(crate) fn lost_there(&self, frames: u64) {
        let known = self.lost_there_in_run.fetch_max(frames, Relaxed);
        let more = frames.saturating_sub(known);
        self.lost_there.fetch_add(more, Relaxed);
        self.gaps.add(&self.name, Direction::Outbound, Some(more));
    }

    /// A lane is not read to its end. What is missing is known once it goes on, which it does not
    /// after the peer has left.
    pub(crate) fn count_cut(&self) {
        if self.has_left.load(SeqCst) {
            self.miss(None);
        }
    }

    /// A link to the peer has come up, on which it opens so many lanes.
    pub(crate) fn linked(&self, lanes: u8) {
        self.lanes.store(lanes, SeqCst);
        self.links.fetch_add(1, Relaxed);
    }

    /// A link that had come up has ended.
    pub(crate) fn unlinked(&self) {
        self.links.fetch_sub(1, Relaxed);
    }

    /// Whether there is a link to the peer, so that a frame need not wait for one. It may be one of which
    /// it is not known yet that it carries nothing any more.
    pub fn is_linked(&self) -> bool {
        self.links.load(Relaxed) > 0
    }

    /// Frames are dropped, and no longer accepted. `left` is the run of the peer that has said
    /// goodbye, if it has.
    pub(crate) fn shut(&self, left: Option<Incarnation>) {
        self.reports.clear();
        self.is_absent.store(true, SeqCst);
        let dropped = self.outbound.iter().map(|lane| lane.queue().shut()).sum();
        self.count_dropped(&self.counters.dropped_peer_forgotten, dropped);
        // Before the lanes are looked at, so that one that ends now is seen by one of the two.
        self.has_left.store(left.is_some(), SeqCst);
        // One that has not said goodbye may be dead, with what it was about to send.
        let is_all_read = left.is_some_and(|run| {
            let lanes = self.lanes.load(SeqCst);
            lanes > 0 && (0..lanes).all(|lane| !self.inbound(lane).is_cut(run))
        });
        if !is_all_read {
            self.miss(None);
        }
    }

    /// Frames are accepted again.
    pub(crate) fn revive(&self) {
        self.has_left.store(false, SeqCst);
        self.outbound.iter().for_each(|lane| lane.queue().reopen());
    }

    /// Another run of the peer has taken the place of the one that frames were queued for.
    pub(crate) fn restart(&self) {
        self.reports.clear();
        self.lost_there_in_run.store(0, Relaxed);
        self.is_absent.store(false, SeqCst);
        let lanes = self.outbound.iter();
        let dropped = lanes.map(|lane| lane.queue().restart()).sum();
        self.count_dropped(&self.counters.dropped_peer_restarted, dropped);
    }

    /// So many frames from the peer are missing, if that is known.
    fn miss(&self, frames: Option<u64>) {
        if self.gaps.add(&self.name, Direction::Inbound, frames) {
            self.unknown_gaps.fetch_add(1, Relaxed);
        }
    }

    fn count_dropped(&self, reason: &AtomicU64, frames: u64) {
        reason.fetch_add(frames, Relaxed);
        self.dropped.fetch_add(frames, Relaxed);
        self.gaps.add(&self.name, Direction::Outbound, Some(frames));
    }
}

impl Outbound {
    pub(crate) fn queue(&self) -> MutexGuard<'_, LaneQueue> {
        // No step on a queue panics half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.name).finish()
    }
}
