use std::net::SocketAddr;
use std::time::Duration;

use tidings_identity::{Incarnation, NodeId};

use crate::LinkNumber;

/// How things stand with one peer: its link, and what waits for it or was lost.
///
/// The numbers are of one moment each, not of the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The peer.
    pub peer: NodeId,
    /// Its link; none while it is being dialled.
    pub up: Option<LinkUp>,
    /// Frames that wait to be handed to QUIC, on all lanes.
    pub queued_frames: u64,
    /// Bytes of those frames, with their length prefixes.
    pub queued_bytes: usize,
    /// Frames to the peer that were dropped here, for whatever reason, since the transport started.
    pub dropped_frames: u64,
    /// Frames from the peer that were lost on the way, since the transport started.
    pub lost_frames: u64,
    /// Frames from the peer that it dropped, as it says: they are part of its `dropped_frames`.
    pub dropped_frames_there: u64,
    /// Frames to the peer that were lost on the way, as it says: its `lost_frames`.
    pub lost_frames_there: u64,
    /// How often frames from the peer may have been missing without anybody knowing how many, since the
    /// transport started: it died or seemed to, or took this node for dead.
    pub unknown_gaps: u64,
    /// What went between the present runs of the two nodes.
    pub carried: Carried,
}

/// Frames between the present runs of two nodes. What one has `sent` the other has `received` or
/// `lost`, when nothing is on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Carried {
    /// Frames handed to QUIC.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Frames from the peer that were lost with links.
    pub lost: u64,
}

/// A link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkUp {
    /// Which of the links with this peer it is. Both ends know it by the same number.
    pub number: LinkNumber,
    /// The peer's run, by its Hello.
    pub incarnation: Incarnation,
    /// The address the peer advertises.
    pub advertised: SocketAddr,
    /// The address its packets come from.
    pub remote: SocketAddr,
    /// Whether we dialled.
    pub dialled: bool,
    /// Estimated time to the peer and back.
    pub round_trip: Duration,
}
