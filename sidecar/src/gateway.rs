//! The client gateway: the NATS client protocol, so that existing clients of every language work.
//!
//! A connection is a session. The server greets with INFO; the client answers with CONNECT and from
//! then on publishes (PUB, HPUB), subscribes (SUB, UNSUB) and receives (MSG, HMSG). Each control
//! line ends in CR LF, a payload is as long as its control line says. What is served and what is
//! not stands in `docs/clients.md`.
//!
//! The gateway parses, translates and maps errors; what is allowed is decided by the [`Session`].
//!
//! [`Session`]: tidings::Session

mod acks;
mod admission;
mod advertise;
mod announcement;
mod client;
mod client_error;
mod clients;
mod connect_options;
mod connection;
mod door;
mod end;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lame_duck;
mod op;
mod pages;
mod parser;
mod place;
mod record;
mod reply;
mod requests;
mod service;
mod turn;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tracing::info;

use crate::acceptor::{Acceptor, Arrival};
use crate::builder::Builder;
use crate::{GatewayConfig, descriptors};
pub use advertise::Advertise;
use client_error::ClientError;
pub use clients::Clients;
use door::Door;
pub(crate) use record::Facts;
use reply::Info;
pub(crate) use reply::NATS_VERSION;
pub(crate) use service::PREFIX as SERVICE_PREFIX;
use tidings::Node;

/// Serves clients that connect to this listener, until the node stops, and tells the other nodes where that
/// is. What it returns knows its clients.
///
/// As many connections are served at a time as there may be sessions (`sessions_max`), but only so
/// many that three quarters of the files that the process may have open are enough for them; one
/// more is told so and closed. The gateway keeps the node going: a node that serves clients ends with
/// [`Node::leave`] or when its token is cancelled, not when its last handle is dropped.
pub fn serve(node: &Node, listener: TcpListener, config: GatewayConfig) -> Clients {
    let clients = Clients::new(node, config, listener.local_addr().ok());
    node.open_door(clients.inner.door.clone());
    node.spawn(clients.clone().follow());
    let closing = clients.inner.closing.clone();
    let slots = descriptors::client_slots(node.config().limits.sessions_max.get());
    let acceptor = Acceptor::new(listener, slots);
    let accepting =
        closing.run_until_cancelled_owned(accept(node.clone(), acceptor, clients.clone()));
    node.spawn(async {
        accepting.await;
    });
    clients
}

async fn accept(node: Node, mut acceptor: Acceptor, clients: Clients) {
    let mut client_id = 0;
    let door = Arc::new(Door {
        node: node.clone(),
        config: Arc::clone(&clients.inner.config),
        builder: Builder::new(),
        clients: clients.clone(),
    });
    loop {
        let Arrival { stream, peer, slot } = acceptor.next().await;
        client_id += 1;
        let Some(slot) = slot else {
            turn_away(&clients, &stream, peer, client_id);
            continue;
        };
        let door = Arc::clone(&door);
        node.spawn_draining(async move {
            connection::run(door, stream, peer, client_id).await;
            drop(slot);
        });
    }
}

/// Tells a client that there is no room for it, and where else there may be, as far as that can be done
/// without waiting for it.
fn turn_away(clients: &Clients, stream: &TcpStream, peer: SocketAddr, client_id: u64) {
    info!(%peer, "turned a client away: too many connections");
    let mut out = BytesMut::new();
    let info = Info::new(clients.node(), stream, peer, client_id);
    let (announcement, advertised) = (clients.announcement(), clients.config().advertise.first());
    reply::info(&mut out, &info.announcing(&announcement, advertised, false));
    reply::error(&mut out, &ClientError::TooManyConnections);
    // A fresh socket takes this much at once; a client that is gone already needs no answer.
    let _ = stream.try_write(&out);
}
