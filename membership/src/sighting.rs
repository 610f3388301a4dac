use std::net::SocketAddr;
use std::sync::Arc;

use tidings_identity::Incarnation;

/// The newest incarnation of a node as gossip has it, with what is new since it was last seen.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) name: Arc<str>,
    pub(crate) incarnation: Incarnation,
    pub(crate) addr: SocketAddr,
    pub(crate) heartbeat: u64,
    /// Whether the failure detector takes it to be running.
    pub(crate) detected: bool,
    /// The version of its state.
    pub(crate) version: u64,
    /// The keys and values that changed since the version known before.
    pub(crate) changes: Vec<(String, String)>,
}
