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
mod certificate_names;
mod changed;
mod cipher;
mod client;
mod client_error;
mod clients;
mod connect_options;
mod connection;
mod door;
mod end;
mod entry;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lame_duck;
mod op;
mod pages;
mod parser;
mod peer;
mod place;
mod record;
mod reply;
mod requests;
mod service;
mod socket;
mod stream;
mod streams;
mod tls;
mod turn;
mod unix_door;
mod web_socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::acceptor::{self, Acceptor, Arrival, Listener};
use crate::builder::Builder;
use crate::{GatewayConfig, descriptors};
pub use advertise::Advertise;
use client_error::ClientError;
pub use clients::Clients;
use door::Door;
use entry::Entry;
use peer::Peer;
pub(crate) use record::Facts;
use reply::Info;
pub(crate) use reply::NATS_VERSION;
pub(crate) use service::PREFIX as SERVICE_PREFIX;
use tidings::Node;
use tls::Tls;
pub use tls::TlsError;
pub use unix_door::UnixDoor;
pub(crate) use web_socket::{Upgrade, WebSocket};

/// Serves clients that connect to this listener, until the node stops, and tells the other nodes where that
/// is: the gateway of one listener, of which nothing else is wanted. What it returns knows its clients.
///
/// # Errors
/// See [`Gateway::new`].
pub fn serve(
    node: &Node,
    listener: TcpListener,
    config: GatewayConfig,
) -> Result<Clients, TlsError> {
    let gateway = Gateway::new(node, config, listener.local_addr().ok())?;
    gateway.serve(listener);
    Ok(gateway.clients().clone())
}

/// Whether a gateway could be opened with this config: that its certificates can be read and used.
///
/// # Errors
/// When they cannot.
pub fn check_tls(config: &GatewayConfig) -> Result<(), TlsError> {
    Tls::load(&config.tls).map(drop)
}

/// The client gateway of a node, which clients come to by one or more ways until the node stops.
///
/// As many connections are served at a time as there may be sessions (`sessions_max`), but only so
/// many that three quarters of the files that the process may have open are enough for them, whichever
/// way they come; one more is told so and closed. What serves keeps the node going: a node that serves
/// clients ends with [`Node::leave`] or when its token is cancelled, not when its last handle is dropped.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Door>);

impl Gateway {
    /// A gateway that nobody can come to yet, and that is going to [serve](Self::serve) who connects to this
    /// address, if there is one. Reads the certificates that the config names.
    ///
    /// # Errors
    /// When there are no whole ones.
    pub fn new(
        node: &Node,
        config: GatewayConfig,
        listens: Option<SocketAddr>,
    ) -> Result<Self, TlsError> {
        let tls = Tls::load(&config.tls)?;
        let slots = descriptors::client_slots(node.config().limits.sessions_max.get());
        let clients = Clients::new(node, config, listens);
        node.spawn(clients.clone().follow());
        Ok(Self(Arc::new(Door {
            node: node.clone(),
            config: Arc::clone(&clients.inner.config),
            builder: Builder::new(),
            clients,
            tls: tls.map(Arc::new),
            slots: acceptor::slots(slots),
            last_client_id: AtomicU64::new(0),
        })))
    }

    /// Its clients.
    pub fn clients(&self) -> &Clients {
        &self.0.clients
    }

    /// Serves who connects here over TCP, with TLS if the config says so, and tells the other nodes where
    /// that is.
    pub fn serve(&self, listener: TcpListener) {
        self.0.node.open_door(self.0.clients.inner.door.clone());
        let gateway = self.clone();
        self.accept(listener, move |stream, addr, slot| {
            let peer = Peer::network(addr);
            match slot {
                Some(slot) => gateway.spawn(slot, gateway.serve_tcp(stream, peer)),
                None => gateway.turn_away(&stream, &peer),
            }
        });
    }

    /// Serves who connects here by WebSocket, under any path, with TLS if the config says so.
    pub fn serve_web_socket(&self, listener: TcpListener) {
        let gateway = self.clone();
        self.accept(listener, move |stream, addr, slot| {
            let peer = Peer::network(addr);
            let Some(slot) = slot else {
                return info!(%peer, "turned a client away: too many connections");
            };
            let door = Arc::clone(&gateway.0);
            let serving = async move {
                let leaving = door.node.leaving().clone();
                let accepting = Box::pin(web_socket::accept(&door, stream, &peer));
                if let Some(Some(socket)) = leaving.run_until_cancelled(accepting).await {
                    let entry = Entry::web_socket(&door, socket, peer);
                    connection::run(door, entry).await;
                }
            };
            gateway.spawn(slot, serving);
        });
    }

    /// Serves who connects here. Its file is removed when the node stops.
    pub fn serve_unix(&self, unix: UnixDoor) {
        let gateway = self.clone();
        self.accept(unix, move |stream, _, slot| {
            let peer = match stream.peer_cred() {
                Ok(credentials) => Peer::process(&credentials),
                Err(error) => return info!(%error, "the system does not say which client this is"),
            };
            let Some(slot) = slot else {
                return info!(%peer, "turned a client away: too many connections");
            };
            let door = Arc::clone(&gateway.0);
            let entry = Entry::unix(&door, stream, peer);
            gateway.spawn(slot, connection::run(door, entry));
        });
    }

    /// Reads the certificates for clients again, for those who connect from now on; the others stay.
    ///
    /// # Errors
    /// When they cannot be read; the gateway goes on with those that it has.
    pub async fn reload(&self) -> Result<(), TlsError> {
        let Some(tls) = self.0.tls.clone() else {
            return Ok(());
        };
        // They may be on a disk that takes its time.
        let reload = spawn_blocking(move || tls.reload());
        reload.await.map_err(|_| TlsError::Ending)?
    }

    /// The same, and tells the log what came of it.
    pub(crate) async fn reload_and_tell(&self) {
        match self.reload().await {
            Ok(()) => info!("the certificate for clients was read again"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let cause = cause.unwrap_or_default();
                error!(
                    "the certificate for clients was not read again, and the one from before stays: {error}{cause}"
                );
            }
        }
    }

    /// Whether there is something to reload.
    pub(crate) fn has_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    /// The pages that may connect by WebSocket.
    pub(crate) fn origins(&self) -> &[String] {
        &self.0.config.origins
    }

    /// Serves a client that goes on by WebSocket after a request to somebody else's server, whose
    /// connection is taken apart by `socket`. False if there is no room for it, or nobody is let in any more.
    pub(crate) fn take_in(
        &self,
        upgrading: OnUpgrade,
        socket: fn(Upgraded) -> Option<WebSocket>,
    ) -> bool {
        let slot = Arc::clone(&self.0.slots).try_acquire_owned();
        let Some(slot) = slot
            .ok()
            .filter(|_| !self.0.clients.inner.closing.is_cancelled())
        else {
            return false;
        };
        let door = Arc::clone(&self.0);
        self.spawn(slot, async move {
            // Who is gone before it was told that it may go on needs nothing.
            let Ok(upgraded) = upgrading.await else {
                return;
            };
            let Some((socket, peer)) = socket(upgraded).and_then(WebSocket::with_peer) else {
                return;
            };
            let entry = Entry::web_socket(&door, socket, peer);
            connection::run(door, entry).await;
        });
        true
    }

    /// Hands who comes to `serve`, until nobody is to be let in any more.
    fn accept<L>(
        &self,
        listener: L,
        serve: impl Fn(L::Stream, L::Addr, Option<OwnedSemaphorePermit>) + Send + 'static,
    ) where
        L: Listener<Stream: Send, Addr: Send> + Send + Sync + 'static,
    {
        let node = &self.0.node;
        let mut acceptor = Acceptor::new(listener, Arc::clone(&self.0.slots));
        let accepting = async move {
            loop {
                let Arrival { stream, peer, slot } = acceptor.next().await;
                serve(stream, peer, slot);
            }
        };
        let closing = self.0.clients.inner.closing.clone();
        let accepting = closing.run_until_cancelled_owned(accepting);
        node.spawn(async {
            accepting.await;
        });
    }

    /// Serves a client, which a node that leaves waits for.
    fn spawn(
        &self,
        slot: OwnedSemaphorePermit,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        // Moved about, it would take its room several times for as long as the client stays.
        let serving = Box::pin(serving);
        self.0.node.spawn_draining(async move {
            serving.await;
            drop(slot);
        });
    }

    fn serve_tcp(&self, stream: TcpStream, peer: Peer) -> impl Future<Output = ()> + Send + use<> {
        let door = Arc::clone(&self.0);
        async move {
            // What it takes to come in is not kept for as long as the client stays.
            let entering = Box::pin(Entry::tcp(&door, stream, peer));
            if let Some(entry) = entering.await {
                connection::run(door, entry).await;
            }
        }
    }

    /// Tells a client that there is no room for it, and where else there may be, as far as that can be done
    /// without waiting for it.
    fn turn_away(&self, stream: &TcpStream, peer: &Peer) {
        info!(%peer, "turned a client away: too many connections");
        let Door {
            node,
            clients,
            config,
            ..
        } = &*self.0;
        let mut out = BytesMut::new();
        let local = stream.local_addr().ok();
        let info = Info::new(node, local, peer, self.0.next_client_id());
        let (announcement, advertised) = (clients.announcement(), config.advertise.first());
        reply::info(&mut out, &info.announcing(&announcement, advertised, false));
        reply::error(&mut out, &ClientError::TooManyConnections);
        // A fresh socket takes this much at once; a client that is gone already needs no answer.
        let _ = stream.try_write(&out);
    }
}
