use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tidings_identity::NodeRun;
use tokio::sync::mpsc;

/// The longest gossip message, in bytes.
pub const GOSSIP_BYTES_MAX: usize = 65_507;

/// Gossip messages to peers, which are known by their advertised addresses, and from them.
///
/// Gossip tolerates messages that are lost, repeated or out of order, and bytes that are none. Of each
/// node it believes only what that node has signed.
pub struct Pipe {
    /// Takes a message to the peer at this address, of at most [`GOSSIP_BYTES_MAX`] bytes, and
    /// says what became of it. It must not wait.
    pub outbound: Arc<Outbound>,
    /// Messages from peers, each with its sender. Its name must be certain; answers go to the address
    /// of its run.
    pub inbound: Box<dyn Inbound>,
    /// Told of each message that was refused as a whole, by whom it was sent and why. No honest peer
    /// sends such a message, or passes on what makes another do so. It must not wait.
    pub blame: Box<Blame>,
}

/// What [`Pipe::outbound`] calls: with the address and the message.
pub type Outbound = dyn Fn(SocketAddr, Bytes) -> Handover + Send + Sync;

/// What [`Pipe::blame`] calls: with the sender and the reason.
pub type Blame = dyn Fn(&NodeRun, String) + Send + Sync;

/// Where gossip messages arrive.
pub trait Inbound: Send + Sync {
    /// The next message, or `None` when there will be no more. Dropping what is returned loses none.
    fn recv(&mut self) -> Receiving<'_>;
}

/// What [`Inbound::recv`] returns.
pub type Receiving<'a> = Pin<Box<dyn Future<Output = Option<(NodeRun, Bytes)>> + Send + 'a>>;

impl Inbound for mpsc::Receiver<(NodeRun, Bytes)> {
    fn recv(&mut self) -> Receiving<'_> {
        Box::pin(self.recv())
    }
}

/// What became of a message that was handed to a [`Pipe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// It is queued on a link that is up.
    Sent,
    /// It is queued for a peer that is being dialled, and dropped should the dial fail.
    Waiting,
    /// It was dropped.
    Dropped,
}
