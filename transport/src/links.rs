use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use tidings_identity::{Incarnation, NodeId, NodeRun};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::control::GOSSIP_OVERHEAD_BYTES;
use crate::gap::Gaps;
use crate::gossip_in::GossipIn;
use crate::link::Link;
use crate::mesh::{DIALS_MAX, DialOutcome, DialStep, Effect, Mesh, Route};
use crate::offences::Offences;
use crate::pair::Claim;
use crate::stats::Counters;
use crate::{Budget, CloseCode, Config, Gap, Gossiped, LinkInfo, LinkNumber, Peer};

/// The peers and links of a node: performs what the [`Mesh`] decides.
///
/// Each input is decided and its effects are performed under one lock, so that they happen in the
/// order of the inputs. Nothing under it waits.
pub(crate) struct Links {
    config: Config,
    frame_bytes_max: usize,
    budget: Arc<Budget>,
    gaps: Arc<Gaps>,
    gossip_in: Arc<GossipIn>,
    counters: Arc<Counters>,
    /// A later run of this node, as peers say that know one.
    outdated_by: watch::Sender<Option<Incarnation>>,
    /// Cancelled when no new links are wanted.
    draining: CancellationToken,
    dials: mpsc::Sender<DialRequest>,
    state: Mutex<State>,
}

/// An address that is to be dialled, and what says that it is wanted again.
pub(crate) type DialRequest = (SocketAddr, Arc<Notify>);

/// Stands for a connection in what the mesh decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

struct State {
    mesh: Mesh<ConnectionId>,
    offences: Offences,
    /// Never removed; see [`Peer`].
    peers: BTreeMap<NodeId, Arc<Peer>>,
    connections: BTreeMap<ConnectionId, Held>,
    connections_registered: u64,
    /// What wakes the dialling of an address.
    dials: BTreeMap<SocketAddr, Arc<Notify>>,
}

struct Held {
    connection: Connection,
    /// Once both sides agree on it.
    link: Option<Arc<Link>>,
}

impl Links {
    /// The links of `run`, which listens on `local`. What is to be dialled comes out of the
    /// receiver.
    pub(crate) fn new(
        run: &NodeRun,
        local: SocketAddr,
        config: Config,
        frame_bytes_max: usize,
        budget: Arc<Budget>,
        counters: Arc<Counters>,
        draining: CancellationToken,
    ) -> (Self, mpsc::Receiver<DialRequest>) {
        let (dials, requests) = mpsc::channel(DIALS_MAX);
        let state = State {
            mesh: Mesh::new(run, local),
            offences: Offences::default(),
            peers: BTreeMap::new(),
            connections: BTreeMap::new(),
            connections_registered: 0,
            dials: BTreeMap::new(),
        };
        let links = Self {
            config,
            frame_bytes_max,
            budget,
            gaps: Arc::default(),
            gossip_in: Arc::default(),
            counters,
            outdated_by: watch::Sender::new(None),
            draining,
            dials,
            state: Mutex::new(state),
        };
        (links, requests)
    }

    pub(crate) fn keep(&self, run: &NodeRun) {
        self.decide(|state| state.mesh.keep(run));
    }

    pub(crate) fn forget(&self, peer: &NodeId) {
        self.decide(|state| state.mesh.forget(peer));
    }

    pub(crate) fn departed(&self, peer: &NodeId) {
        self.decide(|state| state.mesh.departed(peer));
    }

    pub(crate) fn gossip(&self, to: SocketAddr, message: Bytes) -> Gossiped {
        if message.len() + GOSSIP_OVERHEAD_BYTES > self.config.control_bytes_max.get() {
            return Gossiped::Dropped;
        }
        self.decide(|state| match state.mesh.gossip(to, message) {
            Route::Link {
                connection,
                message,
            } => match state.push_gossip(connection, message) {
                true => Gossiped::Sent,
                false => Gossiped::Dropped,
            },
            Route::Waiting => Gossiped::Waiting,
            Route::Dropped => Gossiped::Dropped,
        })
    }

    /// The link to this run of a peer.
    pub(crate) fn link_to(&self, peer: &NodeId, incarnation: Incarnation) -> Option<Arc<Link>> {
        let state = self.state();
        let link = state.mesh.link(peer).and_then(|id| state.link(id))?;
        (link.incarnation == incarnation).then(|| Arc::clone(link))
    }

    /// The gossip that arrives.
    pub(crate) fn gossip_in(&self) -> &Arc<GossipIn> {
        &self.gossip_in
    }

    /// Dials no more and takes no more links.
    pub(crate) fn drain(&self) {
        self.decide(|state| {
            state.mesh.drain();
            state.dials.clear();
        });
    }

    pub(crate) fn peer(&self, name: &NodeId) -> Arc<Peer> {
        self.peer_in(&mut self.state(), name).clone()
    }

    /// See [`Transport::gaps`](crate::Transport::gaps).
    pub(crate) async fn gaps(&self) -> Vec<Gap> {
        self.gaps.take().await
    }

    pub(crate) fn list(&self) -> Vec<LinkInfo> {
        let state = self.state();
        let known = |(name, connection): (&NodeId, Option<ConnectionId>)| {
            let up = connection.and_then(|id| state.link(id));
            Some((
                Arc::clone(state.peers.get(name)?),
                up.map(|link| link.info()),
            ))
        };
        let peers: Vec<_> = state.mesh.peers().filter_map(known).collect();
        drop(state);
        // A lane that is just being read is waited for, which nothing else is to do.
        peers.into_iter().map(|(peer, up)| peer.info(up)).collect()
    }

    /// The links that are up, those among them that are just ending.
    pub(crate) fn up_now(&self) -> Vec<Arc<Link>> {
        let state = self.state();
        let links = state.connections.values();
        links.filter_map(|held| held.link.clone()).collect()
    }

    /// Gives a connection a name. It is held until it has [`ended`](Self::ended).
    pub(crate) fn register(&self, connection: &Connection) -> ConnectionId {
        let mut state = self.state();
        let id = ConnectionId(state.connections_registered);
        state.connections_registered += 1;
        let held = Held {
            connection: connection.clone(),
            link: None,
        };
        state.connections.insert(id, held);
        id
    }

    /// See [`Mesh::offer`].
    pub(crate) fn offer(&self, peer: &NodeId, id: ConnectionId) -> Option<LinkNumber> {
        self.decide(|state| state.mesh.offer(peer, id))
    }

    /// See [`Mesh::answer`].
    pub(crate) fn answer(
        &self,
        peer: &NodeId,
        claim: Claim,
        id: ConnectionId,
    ) -> Result<LinkNumber, CloseCode> {
        self.decide(|state| state.mesh.answer(peer, claim, id))
    }

    /// See [`Mesh::answered`].
    pub(crate) fn answered(
        &self,
        peer: &NodeId,
        claim: Claim,
        id: ConnectionId,
    ) -> Result<LinkNumber, CloseCode> {
        self.decide(|state| state.mesh.answered(peer, claim, id))
    }

    /// See [`Mesh::up`].
    pub(crate) fn up(
        &self,
        id: ConnectionId,
        link: &Arc<Link>,
        dialled: Option<SocketAddr>,
    ) -> bool {
        self.decide(|state| {
            let (peer, advertised) = (link.peer.name(), link.advertised);
            let up = state.mesh.up(peer, id, advertised, dialled);
            if up && let Some(held) = state.connections.get_mut(&id) {
                held.link = Some(link.clone());
                link.peer.linked(link.lanes());
                self.counters.links_opened.fetch_add(1, Relaxed);
            }
            up
        })
    }

    /// See [`Mesh::ended`].
    pub(crate) fn ended(&self, peer: &NodeId, id: ConnectionId) {
        self.decide(|state| {
            state.mesh.ended(peer, id);
            let held = state.connections.remove(&id);
            if let Some(link) = held.and_then(|held| held.link) {
                self.counters.links_closed.fetch_add(1, Relaxed);
                link.peer.unlinked();
                self.lose_gossip(link.gossip.clear());
                link.questions.close();
            }
        });
    }

    /// See [`Mesh::latest_run`].
    pub(crate) fn latest_run(&self, peer: &NodeId) -> Option<Incarnation> {
        self.state().mesh.latest_run(peer)
    }

    /// A peer has refused this run because it knows a later one. While nobody takes this run that is
    /// believed, within bounds: numbers are milliseconds of clocks.
    pub(crate) fn refused_as_old(&self, reason: &[u8]) {
        let number = str::from_utf8(reason).ok();
        let number = number.and_then(|reason| reason.rsplit(' ').next()?.parse::<u64>().ok());
        let own = self.state().mesh.incarnation().get();
        let is_later = |later: &u64| *later > own && *later - own <= CLOCK_OFF_MAX_MS;
        if let Some(later) = number.filter(is_later)
            && self.counters.links_opened.load(Relaxed) == 0
        {
            self.outdated_by.send_replace(Some(later.into()));
        }
    }

    /// See [`Transport::outdated`](crate::Transport::outdated).
    pub(crate) async fn outdated(&self) -> Incarnation {
        let mut outdated_by = self.outdated_by.subscribe();
        let later = outdated_by.wait_for(Option::is_some).await;
        match later.map(|later| *later) {
            Ok(Some(later)) => later,
            // Cannot be: the sender is held here.
            _ => std::future::pending().await,
        }
    }

    /// See [`Mesh::is_of_another`].
    pub(crate) fn is_of_another(&self, addr: SocketAddr, peer: &NodeId) -> bool {
        self.state().mesh.is_of_another(addr, peer)
    }

    /// See [`Mesh::next_dial`].
    pub(crate) fn next_dial(&self, addr: SocketAddr) -> DialStep {
        self.decide(|state| {
            let step = state.mesh.next_dial(addr);
            if step == DialStep::End {
                state.dials.remove(&addr);
            }
            step
        })
    }

    /// See [`Mesh::dial_ended`].
    pub(crate) fn dial_ended(&self, addr: SocketAddr, outcome: DialOutcome) {
        self.decide(|state| state.mesh.dial_ended(addr, outcome));
    }

    /// See [`Mesh::lingered`].
    pub(crate) fn lingered(&self, addr: SocketAddr) {
        self.decide(|state| state.mesh.lingered(addr));
    }

    /// The peer broke the protocol over this link: closes it, and nothing else but what the same run of
    /// the peer has, and gives the peer none for a while.
    pub(crate) fn violation(&self, link: &Link, error: &dyn Display) {
        if link.violate() {
            self.counters.violations.fetch_add(1, Relaxed);
            CloseCode::Violation.close_because(&link.connection, error);
            self.convict(&link.run(), error);
        }
    }

    /// See [`Transport::blame`](crate::Transport::blame).
    pub(crate) fn blame(&self, run: &NodeRun, reason: &str) {
        match self.link_to(&run.node, run.incarnation) {
            Some(link) => self.violation(&link, &reason),
            // It is gone already, which is to make no difference to the peer.
            None => self.convict(run, &reason),
        }
    }

    /// How much longer a peer gets no link, because it broke the protocol.
    pub(crate) fn pause(&self, peer: &NodeId) -> Option<Duration> {
        self.state().offences.pause(peer, Instant::now())
    }

    fn convict(&self, run: &NodeRun, error: &dyn Display) {
        let NodeRun {
            node: peer,
            incarnation,
            addr,
        } = run;
        let consequence = self.decide(|state| {
            state.mesh.violated(peer, *incarnation);
            state.offences.record(peer, Instant::now())
        });
        self.lose_gossip(self.gossip_in.discard(run));
        if let Some(consequence) = consequence
            && let Some(unlogged) = consequence.log
        {
            let pause = consequence.pause;
            warn!(
                %peer, %incarnation, %addr, %error, ?pause, unlogged,
                "a peer broke the protocol: it gets no link for a while"
            );
        }
    }

    fn decide<T>(&self, input: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        if self.draining.is_cancelled() {
            state.mesh.drain();
        }
        let answer = input(&mut state);
        for effect in state.mesh.effects() {
            self.perform(&mut state, effect);
        }
        answer
    }

    fn perform(&self, state: &mut State, effect: Effect<ConnectionId>) {
        match effect {
            Effect::Close { connection, code } => {
                if let Some(held) = state.connections.get(&connection) {
                    code.close(&held.connection);
                }
            }
            Effect::StartDial(addr) => {
                let wake = Arc::new(Notify::new());
                state.dials.insert(addr, wake.clone());
                // There is room for all that the mesh dials at a time, so only a transport that
                // is over does not take it.
                let _ = self.dials.try_send((addr, wake));
            }
            Effect::WakeDial(addr) => {
                if let Some(wake) = state.dials.get(&addr) {
                    wake.notify_one();
                }
            }
            Effect::TooManyDials(addr) => {
                warn!(%addr, "not dialling: {DIALS_MAX} other addresses are being dialled");
            }
            Effect::Gossip {
                connection,
                message,
            } => {
                if !state.push_gossip(connection, message) {
                    self.lose_gossip(1);
                }
            }
            Effect::GossipLost(messages) => self.lose_gossip(messages),
            Effect::ReviveLanes(peer) => self.peer_in(state, &peer).revive(),
            Effect::RestartLanes(peer) => self.peer_in(state, &peer).restart(),
            Effect::ShutLanes { peer, left } => {
                if let Some(peer) = state.peers.get(&peer) {
                    peer.shut(left);
                }
            }
        }
    }

    fn peer_in<'a>(&self, state: &'a mut State, name: &NodeId) -> &'a Arc<Peer> {
        state.peers.entry(name.clone()).or_insert_with(|| {
            Arc::new(Peer::new(
                name.clone(),
                &self.config,
                self.frame_bytes_max,
                &self.budget,
                self.gaps.clone(),
                self.counters.clone(),
            ))
        })
    }

    fn lose_gossip(&self, messages: u64) {
        self.counters.gossip_dropped.fetch_add(messages, Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing done under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By how much the clock of an earlier run may have been ahead: a year.
const CLOCK_OFF_MAX_MS: u64 = 366 * 86_400_000;

impl State {
    fn link(&self, id: ConnectionId) -> Option<&Arc<Link>> {
        self.connections.get(&id)?.link.as_ref()
    }

    /// False when the link has no room.
    fn push_gossip(&self, id: ConnectionId, message: Bytes) -> bool {
        self.link(id).is_some_and(|link| link.gossip.push(message))
    }
}
