use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_identity::NodeId;
use tokio::sync::Notify;

use crate::config::LANES_MAX;
use crate::credit::CreditQueue;
use crate::frame::Frame;
use crate::lane::{Cursor, LaneQueue, PushError};
use crate::stats::Counters;
use crate::{Config, Credit, LinkInfo, LinkUp};

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
    credits: CreditQueue,
    /// Frames to the peer that were dropped here.
    dropped: AtomicU64,
    /// Frames from the peer that were lost with a link.
    lost: AtomicU64,
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
        counters: Arc<Counters>,
    ) -> Self {
        let outbound = || Outbound {
            queue: Mutex::new(LaneQueue::new(config.outbound_bytes_max.get())),
            filled: Notify::new(),
        };
        Self {
            name,
            frame_bytes_max,
            outbound: (0..config.lanes.get()).map(|_| outbound()).collect(),
            inbound: (0..LANES_MAX).map(|_| Mutex::default()).collect(),
            credits: CreditQueue::default(),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
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
        if bytes > self.frame_bytes_max {
            self.count_dropped(&self.counters.dropped_too_large, 1);
            return Err(SendError::TooLarge {
                bytes,
                bytes_max: self.frame_bytes_max,
            });
        }
        let lane = self.lane(publisher);
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
                self.count_dropped(&self.counters.dropped_outbound_full, 1);
                Err(SendError::Full)
            }
            Err(PushError::Shut) => {
                self.count_dropped(&self.counters.dropped_peer_forgotten, 1);
                Err(SendError::Forgotten)
            }
        }
    }

    /// How many frames have been taken from the lane of a publisher, its own and those of others, to be
    /// sent to this run of the peer. When that changes, the link gets on.
    pub fn frames_taken(&self, publisher: u64) -> u64 {
        self.lane(publisher).queue().taken()
    }

    /// Tells a publisher of the peer that there is room here for what it sends. Nothing comes of it
    /// when the link is lost meanwhile, so it has to do without.
    pub fn give(&self, credit: Credit) {
        self.credits.push(credit);
    }

    fn lane(&self, publisher: u64) -> &Outbound {
        let lanes = self.outbound.len() as u64;
        &self.outbound[(publisher % lanes) as usize]
    }

    pub(crate) fn credits(&self) -> &CreditQueue {
        &self.credits
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
        }
    }

    /// Frames from the peer were lost with a link.
    pub(crate) fn count_lost(&self, frames: u64) {
        self.counters.dropped_link_lost.fetch_add(frames, Relaxed);
        self.lost.fetch_add(frames, Relaxed);
    }

    /// Frames are dropped, and no longer accepted.
    pub(crate) fn shut(&self) {
        self.credits.clear();
        let dropped = self.outbound.iter().map(|lane| lane.queue().shut()).sum();
        self.count_dropped(&self.counters.dropped_peer_forgotten, dropped);
    }

    /// Frames are accepted again.
    pub(crate) fn revive(&self) {
        self.outbound.iter().for_each(|lane| lane.queue().reopen());
    }

    /// Another run of the peer has taken the place of the one that frames were queued for.
    pub(crate) fn restart(&self) {
        self.credits.clear();
        let lanes = self.outbound.iter();
        let dropped = lanes.map(|lane| lane.queue().restart()).sum();
        self.count_dropped(&self.counters.dropped_peer_restarted, dropped);
    }

    fn count_dropped(&self, reason: &AtomicU64, frames: u64) {
        reason.fetch_add(frames, Relaxed);
        self.dropped.fetch_add(frames, Relaxed);
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
