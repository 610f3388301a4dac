use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::mpsc;

/// The longest gossip message, in bytes.
pub const GOSSIP_BYTES_MAX: usize = 65_507;

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
