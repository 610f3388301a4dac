//! The receiving side of a lane: a task that hands frames over and never waits for anything else.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes};
use quinn::{ReadError, ReadExactError, RecvStream};
use tracing::{debug, warn};

use crate::Violation;
use crate::frame::{FrameDecoder, FrameTooLargeError};
use crate::hub::Hub;
use crate::link::Link;

/// Bytes with which a lane begins on each link: its number (`u8`) and that of its first frame
/// (`u64`, big endian).
pub(crate) const LANE_OPENING_BYTES: usize = 9;

/// Reads one lane from one link until either ends.
pub(crate) async fn lane(hub: Arc<Hub>, link: Arc<Link>, stream: RecvStream) {
    match read(&hub, &link, stream).await {
        Ok(()) => {}
        // Whatever ended the connection is reported with the link.
        Err(LaneError::Opening(_) | LaneError::Read(_)) => {}
        Err(error) => link.violation(&hub, &error),
    }
}

/// Why a lane cannot be read any further.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error("the stream ended before the lane began")]
    Opening(#[from] ReadExactError),
    #[error("the stream broke")]
    Read(#[from] ReadError),
    #[error("lane {0} does not exist or is open already")]
    Lane(u8),
    #[error("lane {lane} claims that {lost} frames were lost")]
    Jump { lane: u8, lost: u64 },
    #[error(transparent)]
    Frame(#[from] FrameTooLargeError),
    #[error(transparent)]
    Refused(#[from] Violation),
}

async fn read(hub: &Hub, link: &Link, mut stream: RecvStream) -> Result<(), LaneError> {
    let mut opening = [0; LANE_OPENING_BYTES];
    stream.read_exact(&mut opening).await?;
    let mut opening = opening.as_slice();
    let lane = opening.get_u8();
    let mut number = opening.get_u64();
    if !link.open_lane(lane) {
        return Err(LaneError::Lane(lane));
    }
    let opened = link
        .peer
        .inbound(lane)
        .open(link.incarnation, link.number, number);
    let Some(lost) = opened else {
        return Ok(());
    };
    if lost > LOST_MAX {
        return Err(LaneError::Jump { lane, lost });
    }
    if lost > 0 {
        hub.counters.dropped_link_lost.fetch_add(lost, Relaxed);
        warn!(peer = %link.peer.name(), lane, frames = lost, "frames were lost with the last link");
    }

    let mut decoder = FrameDecoder::new(hub.frame_bytes_max);
    let mut chunks = [const { Bytes::new() }; CHUNKS_MAX];
    while let Some(count) = stream.read_chunks(&mut chunks).await? {
        let chunks = chunks[..count].iter_mut().map(std::mem::take);
        if !deliver(hub, link, lane, &mut number, &mut decoder, chunks)? {
            debug!(peer = %link.peer.name(), lane, "a newer link carries the lane");
            return Ok(());
        }
        // A peer that sends without a pause must not keep other tasks from running.
        tokio::task::coop::consume_budget().await;
    }
    Ok(())
}

/// Hands over the frames that are complete with `chunks`. `number` is that of the next one. False
/// when another link carries the lane now.
fn deliver(
    hub: &Hub,
    link: &Link,
    lane: u8,
    number: &mut u64,
    decoder: &mut FrameDecoder,
    chunks: impl Iterator<Item = Bytes>,
) -> Result<bool, LaneError> {
    let mut cursor = link.peer.inbound(lane);
    if !cursor.is_read_from(link.number) {
        return Ok(false);
    }
    for chunk in chunks {
        decoder.feed(chunk);
        while let Some(frame) = decoder.next()? {
            let admitted = cursor.admit(*number);
            *number += 1;
            if !admitted {
                // Numbered below what came before, which only a node that runs twice under one
                // name does.
                hub.counters.dropped_link_lost.fetch_add(1, Relaxed);
                continue;
            }
            hub.counters.frames_received.fetch_add(1, Relaxed);
            hub.counters
                .frame_bytes_received
                .fetch_add(frame.len() as u64, Relaxed);
            hub.receiver
                .frame(link.peer.name(), link.incarnation, frame)?;
        }
    }
    Ok(true)
}

/// Chunks taken from QUIC at a time.
const CHUNKS_MAX: usize = 32;
/// More frames than links can lose in any sensible time.
const LOST_MAX: u64 = 1 << 32;
