//! How gossip leaves and enters: the thin shell around the pipe.

use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use tokio::time::Instant;
use tracing::warn;

use crate::message_kind::MessageKind;
use crate::pipe::{GOSSIP_BYTES_MAX, Pipe};
use crate::wire::Wire;

/// Hands out the socket over a pipe, once.
pub(crate) struct PipeTransport(Mutex<Option<PipeSocket>>);

impl PipeTransport {
    pub(crate) fn new(pipe: Pipe, wire: Arc<Wire>) -> Self {
        Self(Mutex::new(Some(PipeSocket {
            pipe,
            wire,
            delta_read: false,
            warned: None,
        })))
    }
}

impl Transport for PipeTransport {
    fn open<'a, 'f>(&'a self, _: SocketAddr) -> BoxFuture<'f, Box<dyn Socket>>
    where
        'a: 'f,
    {
        Box::pin(async {
            let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            match socket {
                Some(socket) => Ok(Box::new(socket) as Box<dyn Socket>),
                None => anyhow::bail!("the pipe is in use"),
            }
        })
    }
}

/// What the methods of chitchat's traits return.
type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send + 'f>>;

struct PipeSocket {
    pipe: Pipe,
    wire: Arc<Wire>,
    /// Whether the message returned last carried a delta. It has been applied when the next one is
    /// asked for.
    delta_read: bool,
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
        let is_due = |last| now.duration_since(last) >= WARN_INTERVAL;
        if self.warned.is_none_or(is_due) {
            self.warned = Some(now);
            warn!(%from, bytes = bytes.len(), "skipped a gossip message that cannot be read: {error:#}");
        }
        None
    }
}

impl Socket for PipeSocket {
    /// Hands a message to the pipe, or drops it; never waits and never fails.
    fn send<'a, 'f>(&'a mut self, to: SocketAddr, message: ChitchatMessage) -> BoxFuture<'f, ()>
    where
        'a: 'f,
    {
        let bytes = Bytes::from(message.serialize_to_vec());
        let (kind, len) = (MessageKind::of(&message), bytes.len());
        let handover = (self.pipe.outbound)(to, bytes);
        self.wire.handed_over(to, kind, len, handover);
        Box::pin(ready(Ok(())))
    }

    /// The next message that can be read. Cancel-safe. Pends for ever once the pipe is closed,
    /// because an error would end gossip as if it had failed.
    fn recv<'a, 'f>(&'a mut self) -> BoxFuture<'f, (SocketAddr, ChitchatMessage)>
    where
        'a: 'f,
    {
        Box::pin(self.next())
    }
}

impl PipeSocket {
    async fn next(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        if std::mem::take(&mut self.delta_read) {
            self.wire.delta_applied.notify_one();
        }
        loop {
            let Some((from, bytes)) = self.pipe.inbound.recv().await else {
                return std::future::pending().await;
            };
            let Some(message) = self.read(from, &bytes) else {
                continue;
            };
            self.delta_read = MessageKind::of(&message).carries_delta();
            if self.delta_read && bytes.len() >= TRUNCATED_BYTES_MIN {
                self.wire.set_truncated(from);
            }
            return Ok((from, message));
        }
    }
}

/// A message with a delta of at least this many bytes may have been truncated to fit, so the peer
/// has more to tell.
const TRUNCATED_BYTES_MIN: usize = 16_384;

/// A peer that talks nonsense is named in the log at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
