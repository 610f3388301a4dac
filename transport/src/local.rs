use std::net::SocketAddr;
use std::sync::Arc;

use tidings_identity::Incarnation;

use crate::Budget;

/// What a transport is told about its node, next to the settings.
#[derive(Debug, Clone)]
pub struct Local {
    /// Address of the UDP socket. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address under which other nodes reach this one. By default the address that `listen` was
    /// bound to; needed when that is unspecified (`0.0.0.0`, `::`) or behind a translation.
    pub advertise: Option<SocketAddr>,
    /// This run of the node. Must be higher than that of any earlier run under the same name:
    /// peers replace the links of a lower incarnation and refuse to go back.
    pub incarnation: Incarnation,
    /// Largest frame, sent or received, in bytes: 1 byte to 256 MiB. A larger one is refused at
    /// the sender; received, it is a violation that closes the link.
    pub frame_bytes_max: usize,
    /// What the frames in all lanes count to.
    pub budget: Arc<Budget>,
}
