//! How gossip leaves and enters: the thin shell around the pipe.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::warn;

use crate::farewell::{Farewell, MessageKind};
use crate::stats::Counters;

/// The longest gossip message, in bytes.
pub const GOSSIP_BYTES_MAX: usize = 65_507;

/// An answer of at least this many bytes may have been cut to fit, so the peer has more to tell.
const CUT_BYTES_MIN: usize = 16_384;

/// A peer that talks nonsense is named in the log at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Gossip messages to and from peers, which are known by their advertised addresses.
///
/// Gossip tolerates messages that are lost, repeated or out of order. It must be able to trust
/// whoever can put messages in.
pub struct Pipe {
    /// Takes a message to the peer at this address, of at most [`GOSSIP_BYTES_MAX`] bytes. It must
    /// not wait; false says that the message was dropped.
    pub outbound: Box<dyn Fn(SocketAddr, Bytes) -> bool + Send + Sync>,
    /// Messages from peers, each with the address that its sender advertises.
    pub inbound: mpsc::Receiver<(SocketAddr, Bytes)>,
}

/// What the socket tells the rest of membership.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) counters: Counters,
    /// Gossip has taken in an answer: its state may have changed.
    pub(crate) heard: Notify,
    /// Everyone has been told goodbye.
    pub(crate) told: Notify,
    farewell: Mutex<Option<Farewell>>,
    /// Who sent the last answer that may have been cut.
    more: Mutex<Option<SocketAddr>>,
}

impl Wire {
    /// Begins to follow who is told goodbye.
    pub(crate) fn begin_farewell(&self, farewell: Farewell) {
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(farewell);
    }

    /// Who is still to be told goodbye.
    pub(crate) fn still_to_tell(&self) -> Vec<SocketAddr> {
        let farewell = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        farewell.iter().flat_map(Farewell::waiting).collect()
    }

    /// The peer that may have more to tell than fitted into its last answer, once.
    pub(crate) fn take_more(&self) -> Option<SocketAddr> {
        self.more
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn sent(&self, to: SocketAddr, kind: MessageKind, bytes: usize) {
        self.counters.messages_out.fetch_add(1, Relaxed);
        self.counters.bytes_out.fetch_add(bytes as u64, Relaxed);
        let mut farewell = self.farewell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(farewell) = farewell.as_mut() {
            farewell.sent(to, kind, bytes);
            if farewell.is_over() {
                self.told.notify_one();
            }
        }
    }
}

/// Hands out the socket over a pipe, once.
pub(crate) struct PipeTransport(Mutex<Option<PipeSocket>>);

impl PipeTransport {
    pub(crate) fn new(pipe: Pipe, wire: Arc<Wire>) -> Self {
        Self(Mutex::new(Some(PipeSocket {
            pipe,
            wire,
            answered: false,
            warned: None,
        })))
    }
}

#[async_trait]
impl Transport for PipeTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match socket {
            Some(socket) => Ok(Box::new(socket)),
            None => anyhow::bail!("the pipe is in use"),
        }
    }
}

struct PipeSocket {
    pipe: Pipe,
    wire: Arc<Wire>,
    /// Whether the message returned last was an answer. It has been taken in when the next one is
    /// asked for.
    answered: bool,
    warned: Option<Instant>,
}

impl PipeSocket {
    fn read(&mut self, from: SocketAddr, bytes: &Bytes) -> Option<ChitchatMessage> {
        self.wire.counters.messages_in.fetch_add(1, Relaxed);
        self.wire
            .counters
            .bytes_in
            .fetch_add(bytes.len() as u64, Relaxed);
        let message = if bytes.len() > GOSSIP_BYTES_MAX {
            Err(anyhow::anyhow!("it is too long"))
        } else {
            ChitchatMessage::deserialize(&mut &bytes[..])
        };
        let error = match message {
            Ok(message) => return Some(message),
            Err(error) => error,
        };
        self.wire.counters.messages_malformed.fetch_add(1, Relaxed);
        let now = Instant::now();
        if self
            .warned
            .is_none_or(|last| now.duration_since(last) >= WARN_INTERVAL)
        {
            self.warned = Some(now);
            warn!(%from, bytes = bytes.len(), "skipped a gossip message that cannot be read: {error:#}");
        }
        None
    }
}

#[async_trait]
impl Socket for PipeSocket {
    /// Hands a message to the pipe, or drops it; never waits and never fails.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let bytes = Bytes::from(message.serialize_to_vec());
        let len = bytes.len();
        if (self.pipe.outbound)(to, bytes) {
            self.wire.sent(to, kind(&message), len);
        } else {
            self.wire.counters.messages_dropped.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// The next message that can be read. Cancel-safe. Pends for ever once the pipe is closed,
    /// because an error would end gossip as if it had failed.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        if std::mem::take(&mut self.answered) {
            self.wire.heard.notify_one();
        }
        loop {
            let Some((from, bytes)) = self.pipe.inbound.recv().await else {
                return std::future::pending().await;
            };
            let Some(message) = self.read(from, &bytes) else {
                continue;
            };
            self.answered = kind(&message) == MessageKind::Answer;
            if self.answered && bytes.len() >= CUT_BYTES_MIN {
                *self
                    .wire
                    .more
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(from);
            }
            return Ok((from, message));
        }
    }
}

fn kind(message: &ChitchatMessage) -> MessageKind {
    match message {
        ChitchatMessage::Syn { .. } => MessageKind::Greeting,
        ChitchatMessage::SynAck { .. } | ChitchatMessage::Ack { .. } => MessageKind::Answer,
        ChitchatMessage::BadCluster => MessageKind::Refusal,
    }
}
