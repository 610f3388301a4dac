//! The sending sides of a link: a task for each lane and one for gossip.
//!
//! A writer ends when its link does, or, in a graceful end, once its queue is empty and the peer
//! has acknowledged everything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{SendStream, WriteError};
use tokio::sync::Notify;
use tracing::debug;

use crate::CloseCode;
use crate::control::Control;
use crate::hub::Hub;
use crate::lane::Take;
use crate::link::Link;
use crate::reader::LANE_OPENING_BYTES;

/// Sends the frames of one lane over one link.
pub(crate) async fn lane(hub: Arc<Hub>, link: Arc<Link>, lane: u8) {
    if let Err(error) = send_lane(&hub, &link, lane).await {
        debug!(peer = %link.peer.name(), lane, %error, "lane ended");
        abandon(&link, &error);
    }
}

/// Sends gossip over one link, on its control stream.
pub(crate) async fn gossip(hub: Arc<Hub>, link: Arc<Link>, stream: SendStream) {
    if let Err(error) = send_gossip(&hub, &link, stream).await {
        debug!(peer = %link.peer.name(), %error, "control stream ended");
        abandon(&link, &error);
    }
}

async fn send_lane(hub: &Hub, link: &Link, lane: u8) -> Result<(), WriteError> {
    let outbound = &link.peer.outbound()[usize::from(lane)];
    let mut stream = link.connection.open_uni().await?;
    let first = outbound.queue().attach(link.number);
    let mut opening = BytesMut::with_capacity(LANE_OPENING_BYTES);
    opening.put_u8(lane);
    opening.put_u64(first);
    stream.write_chunk(opening.freeze()).await?;

    let mut batch: Vec<Bytes> = Vec::new();
    loop {
        let taken = outbound.queue().take(link.number, &mut batch);
        match taken {
            Take::Frames(frames) => {
                let bytes: usize = batch.iter().map(Bytes::len).sum();
                stream.write_all_chunks(&mut batch).await?;
                batch.clear();
                batch.shrink_to(BATCH_KEPT_MAX);
                hub.counters.frames_sent.fetch_add(frames, Relaxed);
                hub.counters
                    .frame_bytes_sent
                    .fetch_add(bytes as u64, Relaxed);
            }
            Take::Empty if hub.draining.is_cancelled() => return finish(stream).await,
            Take::Empty => filled(hub, &outbound.filled).await,
            Take::Detached => {
                // The wake-up that brought us here was meant for the writer of the newer link.
                outbound.filled.notify_one();
                return Ok(());
            }
        }
    }
}

async fn send_gossip(hub: &Hub, link: &Link, mut stream: SendStream) -> Result<(), WriteError> {
    loop {
        while let Some(message) = link.gossip.pop() {
            let bytes = message.len() as u64;
            stream
                .write_chunk(Control::Gossip(message).encode())
                .await?;
            hub.counters.gossip_sent.fetch_add(1, Relaxed);
            hub.counters.gossip_bytes_sent.fetch_add(bytes, Relaxed);
        }
        if hub.draining.is_cancelled() {
            return finish(stream).await;
        }
        filled(hub, &link.gossip.filled).await;
    }
}

/// Waits until there may be something in a queue, or there will be nothing more.
async fn filled(hub: &Hub, filled: &Notify) {
    tokio::select! {
        () = filled.notified() => {}
        () = hub.draining.cancelled() => {}
    }
}

/// Ends a stream in good order and waits until the peer has all of it.
async fn finish(mut stream: SendStream) -> Result<(), WriteError> {
    stream.finish()?;
    // Whether the peer acknowledged it or the connection broke: there is nothing left to do.
    let _ = stream.stopped().await;
    Ok(())
}

/// A link on which one stream no longer works is of no use: the peer has stopped reading it, or
/// the connection is lost already, in which case this has no effect.
fn abandon(link: &Link, error: &WriteError) {
    let reason = error.to_string();
    link.connection
        .close(CloseCode::Violation.number(), reason.as_bytes());
}

/// A batch was once larger than usual: its list gives memory back.
const BATCH_KEPT_MAX: usize = 16;
