//! The sending sides of a link: a task for each lane and one for the control stream.
//!
//! A writer ends when its link does, or, in a graceful end, once its queue is empty and the peer
//! has acknowledged everything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use quinn::{SendStream, VarInt, WriteError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::CloseCode;
use crate::bulletin::Bulletin;
use crate::control::Control;
use crate::lane::Take;
use crate::link::Link;
use crate::stats::Counters;

/// Sends the frames of one lane over one link.
pub(crate) struct LaneWriter {
    pub(crate) link: Arc<Link>,
    pub(crate) lane: u8,
    pub(crate) counters: Arc<Counters>,
    /// Cancelled when the writer is to finish.
    pub(crate) draining: CancellationToken,
}

/// Sends revocations, gossip, reports and questions over one link, on its control stream.
pub(crate) struct ControlWriter {
    pub(crate) link: Arc<Link>,
    pub(crate) bulletin: Bulletin,
    pub(crate) counters: Arc<Counters>,
    /// Cancelled when the writer is to finish.
    pub(crate) draining: CancellationToken,
}

impl LaneWriter {
    pub(crate) async fn run(self) {
        if let Err(error) = self.send().await {
            debug!(peer = %self.link.peer.name(), lane = self.lane, %error, "lane ended");
            abandon(&self.link, &error);
        }
    }

    async fn send(&self) -> Result<(), WriteError> {
        let link = &*self.link;
        let outbound = &link.peer.outbound()[usize::from(self.lane)];
        let mut stream = Unfinished(link.connection.open_uni().await?);
        let opening = outbound.queue().attach(link.number, self.lane);
        stream.0.write_chunk(opening.encode()).await?;

        let mut batch: Vec<Bytes> = Vec::new();
        loop {
            let taken = outbound.queue().take(link.number, &mut batch);
            match taken {
                Take::Frames(frames) => {
                    let bytes: usize = batch.iter().map(Bytes::len).sum();
                    stream.0.write_all_chunks(&mut batch).await?;
                    batch.clear();
                    batch.shrink_to(BATCH_KEPT_MAX);
                    self.counters.frames_sent.fetch_add(frames, Relaxed);
                    self.counters
                        .frame_bytes_sent
                        .fetch_add(bytes as u64, Relaxed);
                }
                // Who is not sent everything is not to take the end for the end of it.
                Take::Empty if self.draining.is_cancelled() && self.ends_absence() => {}
                Take::Empty if self.draining.is_cancelled() => return finish(&mut stream.0).await,
                Take::Empty => filled(&outbound.filled, &self.draining).await,
                Take::Detached => {
                    // The wake-up that brought us here was meant for the writer of the newer link.
                    outbound.filled.notify_one();
                    return Ok(());
                }
            }
        }
    }

    fn ends_absence(&self) -> bool {
        self.lane == 0 && self.link.peer.end_absence()
    }
}

impl ControlWriter {
    pub(crate) async fn run(mut self, stream: SendStream) {
        if let Err(error) = self.send(stream).await {
            debug!(peer = %self.link.peer.name(), %error, "control stream ended");
            abandon(&self.link, &error);
        }
    }

    async fn send(&mut self, mut stream: SendStream) -> Result<(), WriteError> {
        let (gossip, reports) = (&self.link.gossip, self.link.peer.reports());
        let questions = &self.link.questions;
        loop {
            // There are few, and of gossip there may always be more.
            if let Some(list) = self.bulletin.next() {
                stream.write_chunk(Control::Revoked(list).encode()).await?;
            } else if let Some(message) = gossip.pop() {
                let bytes = message.len() as u64;
                stream
                    .write_chunk(Control::Gossip(message).encode())
                    .await?;
                self.counters.gossip_sent.fetch_add(1, Relaxed);
                self.counters.gossip_bytes_sent.fetch_add(bytes, Relaxed);
            } else if let Some(report) = reports.pop() {
                stream.write_chunk(report.encode()).await?;
            } else if let Some(message) = questions.pop() {
                // Last, since they may be long.
                stream.write_chunk(message.encode()).await?;
            } else if self.draining.is_cancelled() {
                return finish(&mut stream).await;
            } else {
                tokio::select! {
                    () = filled(&gossip.filled, &self.draining) => {}
                    () = reports.filled.notified() => {}
                    () = questions.filled.notified() => {}
                    () = self.bulletin.changed() => {}
                }
            }
        }
    }
}

/// Waits until there may be something in a queue, or there will be nothing more.
async fn filled(filled: &Notify, draining: &CancellationToken) {
    tokio::select! {
        () = filled.notified() => {}
        () = draining.cancelled() => {}
    }
}

/// A stream of which the peer may not have all. QUIC takes one that is dropped for finished, from
/// which the peer would conclude that nothing is missing.
struct Unfinished(SendStream);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Of one that is finished, and acknowledged, this is an error without an effect.
        let _ = self.0.reset(VarInt::from_u32(0));
    }
}

/// Ends a stream in good order and waits until the peer has all of it.
async fn finish(stream: &mut SendStream) -> Result<(), WriteError> {
    stream.finish()?;
    // Whether the peer acknowledged it or the connection broke: there is nothing left to do.
    let _ = stream.stopped().await;
    Ok(())
}

/// A link on which one stream no longer works is of no use: the peer has stopped reading it, or
/// the connection is lost already, in which case this has no effect.
fn abandon(link: &Link, error: &WriteError) {
    CloseCode::Violation.close_because(&link.connection, error);
}

/// A batch was once larger than usual: its list gives memory back.
const BATCH_KEPT_MAX: usize = 16;
