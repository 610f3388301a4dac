//! How gossip leaves and enters: the thin shell around the pipe.

use std::error::Error;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{Chitchat, ChitchatMessage, Deserializable, Serializable};
use tidings_identity::NodeRun;
use tokio::sync::{SetOnce, mpsc};
use tokio::time::Instant;
use tracing::warn;

use crate::fault::Fault;
use crate::guard::{Guard, LeftOut, Letter, Refusal};
use crate::message_kind::MessageKind;
use crate::pipe::{Handover, Pipe};
use crate::wire::Wire;

/// Hands out the socket over a pipe, once.
pub(crate) struct PipeTransport(Mutex<Option<PipeSocket>>);

/// The gossip state, once there is one.
#[expect(
    clippy::disallowed_types,
    reason = "it is chitchat's own, and never held longer than a call takes"
)]
pub(crate) type State = Arc<SetOnce<Arc<tokio::sync::Mutex<Chitchat>>>>;

impl PipeTransport {
    /// A transport whose messages pass this guard. They wait until the state is there which it is to
    /// know.
    ///
    /// The pipe goes back there when the socket ends, however it does.
    pub(crate) fn new(
        pipe: Pipe,
        back: mpsc::Sender<Pipe>,
        wire: Arc<Wire>,
        guard: Guard,
        state: State,
    ) -> Self {
        let pipe = Borrowed {
            pipe: Some(pipe),
            back,
        };
        Self(Mutex::new(Some(PipeSocket {
            pipe,
            wire,
            guard,
            state,
            unfitted: None,
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

/// The pipe, until it goes back.
struct Borrowed {
    pipe: Option<Pipe>,
    back: mpsc::Sender<Pipe>,
}

struct PipeSocket {
    pipe: Borrowed,
    wire: Arc<Wire>,
    guard: Guard,
    state: State,
    /// A message that was read while the state was in use.
    unfitted: Option<Arrived>,
    /// Whether the message returned last told something. It has been taken in when the next one is
    /// asked for.
    delta_read: bool,
    warned: Option<Instant>,
}

/// A message from this peer, which had so many bytes.
struct Arrived {
    from: NodeRun,
    bytes: usize,
    letter: Letter,
}

impl PipeSocket {
    /// Reads a message. One that is refused is a fault of the peer that sent it, who is blamed: no
    /// honest node says or passes on such a thing.
    fn read(&self, from: NodeRun, bytes: &Bytes) -> Option<Arrived> {
        let counters = &self.wire.counters;
        counters.messages_in.fetch_add(1, Relaxed);
        counters.bytes_in.fetch_add(bytes.len() as u64, Relaxed);
        match self.guard.read(bytes) {
            Ok(letter) => Some(Arrived {
                from,
                bytes: bytes.len(),
                letter,
            }),
            Err(refusal) => {
                self.refuse(&from, &refusal);
                None
            }
        }
    }

    fn refuse(&self, from: &NodeRun, refusal: &Refusal) {
        self.found(refusal.fault(), 1);
        if let Some(pipe) = &self.pipe.pipe {
            (pipe.blame)(from, reason(refusal));
        }
    }

    /// Counts what was left out of a message of this peer, who may have it from others.
    fn note(&mut self, from: &NodeRun, left_out: &LeftOut) {
        let faults = left_out
            .faults()
            .into_iter()
            .filter(|(_, times)| *times > 0);
        for (fault, times) in faults {
            self.found(fault, times);
            if self.warning_is_due() {
                warn!(
                    peer = %from.node, addr = %from.addr, %fault, times,
                    "left something out of a gossip message"
                );
            }
        }
    }

    fn found(&self, fault: Fault, times: u64) {
        self.wire.counters.faults[fault as usize].fetch_add(times, Relaxed);
    }

    fn warning_is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = |last| now.duration_since(last) >= WARN_INTERVAL;
        let due = self.warned.is_none_or(is_due);
        if due {
            self.warned = Some(now);
        }
        due
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // Nobody takes it when gossip is not to go on.
            let _ = self.back.try_send(pipe);
        }
    }
}

impl Socket for PipeSocket {
    /// Hands a message to the pipe, or drops it; never waits and never fails. An Ack that tells nothing is left
    /// unsaid: it is a third of what idle nodes would say to each other.
    fn send<'a, 'f>(&'a mut self, to: SocketAddr, message: ChitchatMessage) -> BoxFuture<'f, ()>
    where
        'a: 'f,
    {
        let (kind, bytes) = (MessageKind::of(&message), message.serialize_to_vec());
        if Letter::tells_nothing(&bytes) {
            self.wire.left_unsaid(to, kind);
            return Box::pin(ready(Ok(())));
        }
        let bytes = Bytes::from(self.guard.send(to, bytes));
        let len = bytes.len();
        let pipe = self.pipe.pipe.as_ref();
        let handover = pipe.map_or(Handover::Dropped, |pipe| (pipe.outbound)(to, bytes));
        self.wire.handed_over(to, kind, len, handover);
        Box::pin(ready(Ok(())))
    }

    /// The next message that the guard lets pass. Cancel-safe. Pends for ever once the pipe is closed,
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
            if self.unfitted.is_none() {
                let arrived = match &mut self.pipe.pipe {
                    Some(pipe) => pipe.inbound.recv().await,
                    None => None,
                };
                let Some((from, bytes)) = arrived else {
                    return std::future::pending().await;
                };
                self.unfitted = self.read(from, &bytes);
            }
            // It stays there while the state is waited for, which may be cancelled. Nobody but who
            // asks for the message changes what the state has of others.
            let state = self.state.wait().await.lock().await;
            let Some(mut arrived) = self.unfitted.take() else {
                continue;
            };
            let fitted = self
                .guard
                .fit(&arrived.from, &mut arrived.letter, state.node_states());
            drop(state);
            let Arrived {
                from,
                bytes,
                letter,
            } = arrived;
            let left_out = match fitted {
                Ok(left_out) => left_out,
                Err(refusal) => {
                    self.refuse(&from, &refusal);
                    continue;
                }
            };
            self.note(&from, &left_out);
            self.wire.set_heard(from.clone());
            if left_out.heard.is_unfinished {
                self.wire.set_unfinished(from.addr);
            }
            // What is no more than heartbeats is looked at soon enough, in the next round.
            self.delta_read = !letter.delta.is_empty() || left_out.heard.is_unfinished;
            if letter.kind.carries_delta() && bytes >= TRUNCATED_BYTES_MIN {
                self.wire.set_truncated(from.addr);
            }
            match ChitchatMessage::deserialize(&mut &letter.write()[..]) {
                Ok(message) => return Ok((from.addr, message)),
                Err(error) => {
                    debug_assert!(
                        false,
                        "chitchat does not read what was written for it: {error:#}"
                    );
                    self.found(Fault::Format, 1);
                }
            }
        }
    }
}

/// What is wrong with a message, with all causes.
fn reason(refusal: &Refusal) -> String {
    let mut reason = format!("bad gossip: {refusal}");
    let mut source = refusal.source();
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    reason
}

/// A message with a delta of at least this many bytes may have been truncated to fit, so the peer
/// has more to tell.
const TRUNCATED_BYTES_MIN: usize = 16_384;

/// A peer that talks nonsense is named in the log at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
