use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::Endpoint;
use tidings_bounds::{Count, CountError};
use tidings_identity::{
    Identity, Incarnation, NodeId, NodeRun, RevocationList, Revocations, Validity,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::acceptor::Acceptor;
use crate::control::{ANSWER_BYTES_MAX, Hello, QUESTION_OVERHEAD_BYTES, REVOKED_OVERHEAD_BYTES};
use crate::credentials::{Credentials, RenewError};
use crate::dialler::{Backoff, Dialler};
use crate::handshake::Handshake;
use crate::inspector::Inspector;
use crate::links::Links;

use crate::refusal::RefusalLog;
use crate::stats::Counters;
use crate::tasks::Tasks;
use crate::tls::TlsError;
use crate::traffic::Traffic;
use crate::{
    AskError, CloseCode, Config, ConfigError, Gap, GossipReceiver, Gossiped, LinkInfo, LinkNumber,
    Local, Net, Peer, Receive, Stats,
};

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
    inner: Arc<Inner>,
}

struct Inner {
    run: NodeRun,
    local_addr: SocketAddr,
    endpoint: Endpoint,
    credentials: Arc<Credentials>,
    links: Arc<Links>,
    tasks: Tasks,
    counters: Arc<Counters>,
    /// Ends all tasks when it is dropped.
    _running: DropGuard,
}

/// Why a transport could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings do not fit together.
    #[error("invalid transport config")]
    Config(#[from] ConfigError),
    /// [`Local::frame_bytes_max`](crate::Local::frame_bytes_max) is out of its bounds.
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
    /// Returns, next to the transport, the gossip that arrives: see
    /// [`GossipReceiver`].
    ///
    /// All tasks run on `net`, are known to `tasks` and end when `token` is cancelled, except those of quinn,
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
    ) -> Result<(Self, GossipReceiver), StartError> {
        Count::<1, FRAME_BYTES_MAX>::try_from(local.frame_bytes_max).map_err(StartError::Frame)?;
        config.check(local.frame_bytes_max)?;
        let credentials = Arc::new(Credentials::new(&config, &identity, net.clone())?);
        let listen = local.listen;
        let failed = |source| StartError::Listen { listen, source };
        let socket = net.open(listen).map_err(failed)?;
        let local_addr = socket.local_addr().map_err(failed)?;
        let advertise = local.advertise.unwrap_or(local_addr);
        if advertise.ip().is_unspecified() || advertise.port() == 0 {
            return Err(StartError::Advertise(advertise));
        }
        let endpoint = Endpoint::new_with_abstract_socket(
            net.endpoint_config(),
            Some(credentials.server()),
            socket,
            net.runtime(),
        )
        .map_err(failed)?;

        let run = NodeRun::new(identity.name().clone(), local.incarnation, advertise);
        let token = token.child_token();
        let tasks = Tasks::new(net.clone(), tasks, token.clone());
        let counters = Arc::<Counters>::default();
        let (links, dials) = Links::new(
            &run,
            local_addr,
            config.clone(),
            local.frame_bytes_max,
            local.budget,
            counters.clone(),
            tasks.draining().clone(),
        );
        let links = Arc::new(links);
        let gossip_in = links.gossip_in().clone();
        let gossip = GossipReceiver::new(gossip_in.clone(), token.clone());
        let handshake = Arc::new(Handshake {
            node: run.node.clone(),
            hello: Hello {
                incarnation: run.incarnation,
                advertised: advertise,
                lanes: config.lane_count(),
                number: LinkNumber::default(),
            },
            control_bytes_max: config.control_bytes_max.get(),
            links: links.clone(),
            traffic: Traffic {
                tasks: tasks.clone(),
                links: links.clone(),
                receiver,
                gossip_in,
                counters: counters.clone(),
                revocations: credentials.revocations().clone(),
                lanes: config.lane_count(),
                frame_bytes_max: local.frame_bytes_max,
                control_bytes_max: config.control_bytes_max.get().max(CONTROL_BYTES_LEAST),
            },
            refusals: RefusalLog::default(),
            counters: counters.clone(),
        });
        let acceptor = Acceptor {
            endpoint: endpoint.clone(),
            handshake: handshake.clone(),
            timeout: config.handshake_timeout.get(),
            tasks: tasks.clone(),
            counters: counters.clone(),
        };
        let dialler = Dialler {
            cluster: identity.cluster().clone(),
            endpoint: endpoint.clone(),
            credentials: credentials.clone(),
            handshake,
            links: links.clone(),
            backoff: Backoff {
                min: config.redial_min.get(),
                max: config.redial_max.get(),
            },
            timeout: config.handshake_timeout.get(),
            counters: counters.clone(),
        };
        let inspector = Inspector {
            links: links.clone(),
            credentials: credentials.clone(),
        };
        tasks.spawn(inspector.run());
        tasks.spawn(acceptor.run());
        tasks.spawn(dialler.run(dials, tasks.clone()));
        let inner = Arc::new(Inner {
            run,
            local_addr,
            endpoint,
            credentials,
            links,
            tasks,
            counters,
            _running: token.drop_guard(),
        });
        Ok((Self { inner }, gossip))
    }

    /// The address of the socket.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// The address that peers are told to dial.
    pub fn advertise(&self) -> SocketAddr {
        self.inner.run.addr
    }

    /// The node's own name.
    pub fn name(&self) -> &NodeId {
        &self.inner.run.node
    }

    /// Sends a gossip message to whoever can be reached at `to`: over its link, or else over one
    /// that is dialled for it. Never waits.
    ///
    /// Up to 64 messages wait for a link that is up; when they are too many the new one is dropped.
    /// Up to 64 wait for a dial; when they are too many the oldest is lost, and all of them when
    /// the dial fails. What is lost after it was [`Sent`](Gossiped::Sent) or
    /// [`Waiting`](Gossiped::Waiting) is counted; what is [`Dropped`](Gossiped::Dropped) is not.
    pub fn gossip(&self, to: SocketAddr, message: Bytes) -> Gossiped {
        self.inner.links.gossip(to, message)
    }

    /// Membership calls this peer live: keeps a link to it, dialling its address as often as
    /// necessary.
    ///
    /// A higher incarnation takes the place of a lower one, whose link is closed; a lower one than
    /// before is ignored. It can be called any number of times.
    pub fn keep(&self, peer: &NodeRun) {
        self.inner.links.keep(peer);
    }

    /// Membership calls the peer dead: closes its link, drops and counts what was queued, and
    /// refuses frames for it until it is kept again or comes back by itself.
    pub fn forget(&self, peer: &NodeId) {
        self.inner.links.forget(peer);
    }

    /// The peer has said goodbye: like [`forget`](Self::forget), but its link stays until the peer
    /// closes it, so that what it has sent still arrives.
    pub fn departed(&self, peer: &NodeId) {
        self.inner.links.departed(peer);
    }

    /// What this run of a peer has said over its link is against the protocol, as `reason` tells it and
    /// people: closes the link, and gives the peer none for a while. A link to a later run of it stays.
    pub fn blame(&self, run: &NodeRun, reason: &str) {
        self.inner.links.blame(run, reason);
    }

    /// Resolves when a peer has refused this run because it knows a later one, before there was a link to
    /// anybody: as when the clock was ahead in that run. One with a greater number than that, which this
    /// returns, is taken. Peers can say so untruly, which costs a new beginning.
    pub async fn outdated(&self) -> Incarnation {
        self.inner.links.outdated().await
    }

    /// The handle for sending frames to a peer, whether there is a link to it or not.
    pub fn peer(&self, name: &NodeId) -> Arc<Peer> {
        self.inner.links.peer(name)
    }

    /// Asks this run of a peer, over its link, and waits for the answer: bytes of up to 16 KiB, answered
    /// with up to 64 KiB. Nothing else waits for it, neither gossip nor frames.
    ///
    /// Up to 32 questions to a peer have no answer yet at a time; who asks more waits. How long to
    /// wait is for the caller to say: when the call is cancelled, the answer is ignored once it comes.
    ///
    /// # Errors
    /// See [`AskError`]. A question that is lost with the link is not asked again over another.
    pub async fn ask(
        &self,
        peer: &NodeId,
        incarnation: Incarnation,
        question: Bytes,
    ) -> Result<Bytes, AskError> {
        let link = self.inner.links.link_to(peer, incarnation);
        let questions = link.map(|link| Arc::clone(&link.questions));
        questions.ok_or(AskError::NoLink)?.ask(question).await
    }

    /// How things stand with each peer that is kept or has a link, by name.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.inner.links.list()
    }

    /// What this node knows to be revoked. Whatever is learnt there, peers are told at once, and
    /// links to nodes that are revoked by it are closed.
    pub fn revocations(&self) -> &Revocations {
        self.inner.credentials.revocations()
    }

    /// From when until when this node's certificate is valid.
    pub fn validity(&self) -> Validity {
        self.inner.credentials.validity()
    }

    /// Goes on with another certificate, key and authorities of the same node. Handshakes from now
    /// on use them; links that are up stay, but for those whose peers would not be let in any more,
    /// which are closed within a second. What the identity brings along of revocations is
    /// [learnt](Revocations::learn).
    ///
    /// # Errors
    /// See [`RenewError`]; the transport goes on as before then.
    pub fn renew(&self, identity: &Identity) -> Result<(), RenewError> {
        let Inner {
            endpoint,
            credentials,
            tasks,
            ..
        } = &*self.inner;
        credentials.renew(identity)?;
        // Who leaves accepts nobody any more, and is not to begin again.
        if !tasks.draining().is_cancelled() {
            endpoint.set_server_config(Some(credentials.server()));
        }
        Ok(())
    }

    /// Waits until frames are known to be missing, on the way from a peer or to one, and tells how
    /// many. Every frame that is counted as dropped is told: by the node that counts it, and to the
    /// peer, if it lives and is reached again. What is missing of a peer and direction is put
    /// together until it is taken, and taken once. Cancelling the call loses nothing.
    ///
    /// `frames` is `None`, and perhaps nothing is missing, when a peer is [forgotten](Self::forget),
    /// which may be dead; when one that was is [known](Peer::know) again, at both ends; and when a run
    /// of a peer has ended, or another has taken its place, before it had sent all.
    pub async fn gaps(&self) -> Vec<Gap> {
        self.inner.links.gaps().await
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// Leaves in good order: dials and accepts no more, sends what is queued, waits until the
    /// peers have acknowledged it, and closes all links.
    ///
    /// Takes no longer than `deadline`; what is not acknowledged by then may be lost. Afterwards
    /// the transport is of no use.
    pub async fn close(&self, deadline: Duration) {
        let Inner {
            endpoint,
            links,
            tasks,
            ..
        } = &*self.inner;
        let start = Instant::now();
        let reserve = (deadline / 4).min(FAREWELL);
        links.drain();
        endpoint.set_server_config(None);
        // Past the deadline the links are closed regardless.
        let _ = timeout_at(start + deadline - reserve, tasks.drain()).await;
        let code = CloseCode::Shutdown;
        endpoint.close(code.number(), code.to_string().as_bytes());
        // The links linger for three times the round trip at its worst, which need not be waited for.
        let end = (Instant::now() + FAREWELL).min(start + deadline);
        let _ = timeout_at(end, endpoint.wait_idle()).await;
        tasks.end();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("run", &self.run)
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

/// Time to tell the peers that their links are closed, also when what was queued takes too long.
const FAREWELL: Duration = Duration::from_millis(200);
/// Largest that frames may be allowed to be.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// The longest message that carries an answer, which is longer than any with a revocation list. A peer
/// may send both whatever the settings.
const CONTROL_BYTES_LEAST: usize = ANSWER_BYTES_MAX + QUESTION_OVERHEAD_BYTES;
const _: () = assert!(RevocationList::BYTES_MAX + REVOKED_OVERHEAD_BYTES <= CONTROL_BYTES_LEAST);
