//! Bytes between authenticated peers.
//!
//! A [`Transport`] owns one UDP port. Over it runs one *link* to each peer, a QUIC connection on
//! which both sides have proved with certificates that they are nodes of the same cluster. A link
//! carries gossip messages on its control stream, and [`Frame`]s on a number of *lanes*: streams
//! that keep order each for itself.
//!
//! The crate knows peers as names, addresses and bytes. What the bytes mean, which peers there are
//! and which of them live is decided elsewhere, and told to it with [`Transport::keep`] and
//! [`Transport::forget`].
//!
//! What lies on the wire is described in `docs/protocol.md`.

mod acceptor;
mod admission;
mod budget;
mod bulletin;
mod candidate;
mod close;
mod config;
mod control;
mod credentials;
mod credit;
mod cursor;
mod dialler;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gap;
mod gossip;
mod gossip_in;
mod handshake;
mod inspector;
mod intake;
mod lane;
mod link;
mod link_info;
mod link_number;
mod links;
mod local;
mod mesh;
mod meter;
mod net;
mod offences;
mod opening;
mod pair;
mod peer;
mod questions;
mod quic;
mod reader;
mod receive;
mod refusal;
mod reports;
mod stats;
mod tasks;
mod tls;
mod traffic;
mod transport;
mod writer;

pub use budget::{Budget, Held};
pub use close::CloseCode;
pub use config::{Config, ConfigError};
pub use credentials::RenewError;
pub use credit::Credit;
pub use frame::Frame;
pub use gap::{Direction, Gap};
pub use gossip::Gossiped;
pub use gossip_in::GossipReceiver;
pub use link_info::{Carried, LinkInfo, LinkUp};
pub use link_number::LinkNumber;
pub use local::Local;
pub use net::{Net, SystemNet, Task};
pub use peer::{Peer, Room, SendError};
pub use questions::{Answering, AskError};
pub use receive::{Receive, Violation};
pub use stats::Stats;
pub use tls::TlsError;
pub use transport::{StartError, Transport};
