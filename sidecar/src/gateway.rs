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
mod client;
mod client_error;
mod connect_options;
mod connection;
mod door;
mod end;
#[cfg(fuzzing)]
pub mod fuzzing;
mod op;
mod pages;
mod parser;
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
use client_error::ClientError;
use door::Door;
use reply::Info;
pub(crate) use service::PREFIX as SERVICE_PREFIX;
use tidings::Node;

/// Serves clients that connect to this listener, until the node stops.
///
/// As many connections are served at a time as there may be sessions (`sessions_max`), but only so
/// many that three quarters of the files that the process may have open are enough for them; one
/// more is told so and closed. The gateway keeps the node going: a node that serves clients ends with
/// [`Node::leave`] or when its token is cancelled, not when its last handle is dropped.
pub fn serve(node: &Node, listener: TcpListener, config: GatewayConfig) {
    let leaving = node.leaving().clone();
    let slots = descriptors::client_slots(node.config().limits.sessions_max.get());
    let acceptor = Acceptor::new(listener, slots);
    let accepting =
        leaving.run_until_cancelled_owned(accept(node.clone(), acceptor, Arc::new(config)));
    node.spawn(async {
        accepting.await;
    });
}

async fn accept(node: Node, mut acceptor: Acceptor, config: Arc<GatewayConfig>) {
    let mut client_id = 0;
    let builder = Builder::new();
    loop {
        let Arrival { stream, peer, slot } = acceptor.next().await;
        client_id += 1;
        let Some(slot) = slot else {
            turn_away(&node, &stream, peer, client_id);
            continue;
        };
        let door = Door {
            node: node.clone(),
            config: Arc::clone(&config),
            builder: builder.clone(),
        };
        node.spawn_draining(async move {
            connection::run(door, stream, peer, client_id).await;
            drop(slot);
        });
    }
}

/// Tells a client that there is no room for it, as far as that can be done without waiting for it.
fn turn_away(node: &Node, stream: &TcpStream, peer: SocketAddr, client_id: u64) {
    info!(%peer, "turned a client away: too many connections");
    let mut out = BytesMut::new();
    reply::info(&mut out, &Info::new(node, stream, peer, client_id));
    reply::error(&mut out, &ClientError::TooManyConnections);
    // A fresh socket takes this much at once; a client that is gone already needs no answer.
    let _ = stream.try_write(&out);
}
