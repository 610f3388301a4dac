use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::Endpoint;
use tidings_bounds::{Count, CountError};
use tidings_identity::{Identity, Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::hub::{Hub, Parts};
use crate::net::WallClock;
use crate::tls::TlsError;
use crate::{CloseCode, Config, ConfigError, LinkInfo, Net, Peer, Receive, Stats, accept, quic};

/// One node's end of all its links.
///
/// Links come up because gossip is to be sent to an address, because a peer is to be kept, or
/// because a peer dials. There is at most one link to a peer at any time. Nothing here waits for
/// the network except [`Transport::close`].
///
/// Cloning shares the transport. When the last clone is dropped, or the token that it was started
/// with is cancelled, all its tasks end and its links with them, without ceremony. A receiver that
/// owns a clone of the transport keeps it alive until the token is cancelled.
#[derive(Debug, Clone)]
pub struct Transport {
    hub: Arc<Hub>,
    _running: Arc<DropGuard>,
}

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
}

/// Why a transport could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings do not fit together.
    #[error("invalid transport config")]
    Config(#[from] ConfigError),
    /// [`Local::frame_bytes_max`] is out of its bounds.
    #[error("the size of frames is out of its bounds")]
    Frame(#[source] CountError),
    /// The identity cannot be used.
    #[error("the node's identity cannot be used")]
    Tls(#[from] TlsError),
    /// The socket cannot be opened.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Peers could not dial the address.
    #[error("{0} cannot be dialled by peers: set the address to advertise")]
    Advertise(SocketAddr),
}

impl Transport {
    /// Opens the socket and begins to accept links.
    ///
    /// Returns, next to the transport, the gossip that arrives: messages with the advertised
    /// address of their sender. Up to 1024 wait there; when it is full further ones are dropped
    /// and counted.
    ///
    /// All tasks are spawned on `tasks` and end when `token` is cancelled, except those of quinn,
    /// which end soon after. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        config: Config,
        local: Local,
        identity: Identity,
        net: Arc<dyn Net>,
        receiver: Arc<dyn Receive>,
        tasks: TaskTracker,
        token: CancellationToken,
    ) -> Result<(Self, mpsc::Receiver<(SocketAddr, Bytes)>), StartError> {
        Count::<1, FRAME_BYTES_MAX>::try_from(local.frame_bytes_max).map_err(StartError::Frame)?;
        config.check(local.frame_bytes_max)?;
        let (server, client) = quic::configs(&config, &identity, Arc::new(WallClock(net.clone())))?;
        let Local {
            listen,
            incarnation,
            frame_bytes_max,
            ..
        } = local;
        let failed = |source| StartError::Listen { listen, source };
        let socket = net.open(listen).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let advertise = local.advertise.unwrap_or(bound);
        if advertise.ip().is_unspecified() || advertise.port() == 0 {
            return Err(StartError::Advertise(advertise));
        }
        let endpoint = Endpoint::new_with_abstract_socket(
            net.endpoint_config(),
            Some(server),
            socket,
            net.runtime(),
        )
        .map_err(failed)?;

        let (gossip_in, gossip) = mpsc::channel(GOSSIP_IN_MAX);
        let token = token.child_token();
        let hub = Arc::new(Hub::new(Parts {
            config,
            name: identity.name().clone(),
            cluster: identity.cluster().clone(),
            incarnation,
            frame_bytes_max,
            local: bound,
            advertise,
            endpoint,
            client,
            receiver,
            gossip_in,
            tasks,
            token: token.clone(),
        }));
        hub.spawn(accept::run(hub.clone()));
        let transport = Self {
            hub,
            _running: Arc::new(token.drop_guard()),
        };
        Ok((transport, gossip))
    }

    /// The address of the socket.
    pub fn local_addr(&self) -> SocketAddr {
        self.hub.local
    }

    /// The address that peers are told to dial.
    pub fn advertise(&self) -> SocketAddr {
        self.hub.advertise
    }

    /// The node's own name.
    pub fn name(&self) -> &NodeId {
        &self.hub.name
    }

    /// Sends a gossip message to whoever can be reached at `to`: over its link, or else over one
    /// that is dialled for it. Never waits.
    ///
    /// Messages may be lost. Up to 64 wait for a link, the oldest are dropped first; all of them
    /// are dropped when a dial fails.
    pub fn gossip(&self, to: SocketAddr, message: Bytes) {
        self.hub.gossip(to, message);
    }

    /// Membership calls this peer live: keeps a link to it, dialling `addr` as often as necessary.
    ///
    /// A higher incarnation takes the place of a lower one, whose link is closed; a lower one than
    /// before is ignored. It can be called any number of times.
    pub fn keep(&self, peer: &NodeId, incarnation: Incarnation, addr: SocketAddr) {
        self.hub.keep(peer, incarnation, addr);
    }

    /// Membership calls the peer dead: closes its link, drops and counts what was queued, and
    /// refuses frames for it until it is kept again or comes back by itself.
    pub fn forget(&self, peer: &NodeId) {
        self.hub.forget(peer);
    }

    /// The peer has said goodbye: like [`forget`](Self::forget), but its link stays until the peer
    /// closes it, so that what it has sent still arrives.
    pub fn part(&self, peer: &NodeId) {
        self.hub.part(peer);
    }

    /// The handle for sending frames to a peer, whether there is a link to it or not.
    pub fn peer(&self, name: &NodeId) -> Arc<Peer> {
        self.hub.peer(name)
    }

    /// The links that are up.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.hub.links()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.hub.counters.snapshot()
    }

    /// Leaves in good order: dials and accepts no more, sends what is queued, waits until the
    /// peers have acknowledged it, and closes all links.
    ///
    /// Takes no longer than `deadline`; what is not acknowledged by then may be lost. Afterwards
    /// the transport is of no use.
    pub async fn close(&self, deadline: Duration) {
        let start = Instant::now();
        let reserve = (deadline / 4).min(FAREWELL);
        self.hub.drain();
        // Past the deadline the links are closed regardless.
        let _ = timeout_at(start + deadline - reserve, self.hub.writers.wait()).await;
        let code = CloseCode::Shutdown;
        let endpoint = &self.hub.endpoint;
        endpoint.close(code.number(), code.to_string().as_bytes());
        // The links linger for three times the round trip at its worst, which need not be waited for.
        let told = (Instant::now() + FAREWELL).min(start + deadline);
        let _ = timeout_at(told, endpoint.wait_idle()).await;
        self.hub.token.cancel();
    }
}

/// Time to tell the peers that their links are closed, also when what was queued takes too long.
const FAREWELL: Duration = Duration::from_millis(200);
/// Largest that frames may be allowed to be.
const FRAME_BYTES_MAX: usize = 256 << 20;
const GOSSIP_IN_MAX: usize = 1024;
