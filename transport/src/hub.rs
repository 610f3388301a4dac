use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quinn::{ClientConfig, Connection, Endpoint};
use tidings_identity::{ClusterName, Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::LinkNumber;
use crate::control::{GOSSIP_OVERHEAD_BYTES, Hello};
use crate::dial;
use crate::gossip::GossipQueue;
use crate::link::Link;
use crate::pair::{Pair, Taken};
use crate::refusal::RefusalLog;
use crate::stats::Counters;
use crate::table::{Entry, Holder, Kept, Table, Target};
use crate::{CloseCode, Config, LinkInfo, Peer, Receive};

/// What the tasks of a running transport share: what it was started with, and the table of peers.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) name: NodeId,
    pub(crate) cluster: ClusterName,
    pub(crate) incarnation: Incarnation,
    pub(crate) frame_bytes_max: usize,
    pub(crate) local: SocketAddr,
    pub(crate) advertise: SocketAddr,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientConfig,
    pub(crate) receiver: Arc<dyn Receive>,
    pub(crate) gossip_in: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(crate) token: CancellationToken,
    pub(crate) counters: Arc<Counters>,
    pub(crate) refusals: RefusalLog,
    /// Cancelled when no new links are wanted and writers are to finish.
    pub(crate) draining: CancellationToken,
    /// The writers of all links, which a graceful end waits for.
    pub(crate) writers: TaskTracker,
    tasks: TaskTracker,
    table: Mutex<Table>,
}

/// What a hub is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) name: NodeId,
    pub(crate) cluster: ClusterName,
    pub(crate) incarnation: Incarnation,
    pub(crate) frame_bytes_max: usize,
    pub(crate) local: SocketAddr,
    pub(crate) advertise: SocketAddr,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientConfig,
    pub(crate) receiver: Arc<dyn Receive>,
    pub(crate) gossip_in: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(crate) tasks: TaskTracker,
    pub(crate) token: CancellationToken,
}

/// A connection's claim to the slot of its pair. Dropping it frees the slot if the connection
/// still holds it.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    pub(crate) peer: NodeId,
    pub(crate) number: LinkNumber,
}

impl Hub {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            config: parts.config,
            name: parts.name,
            cluster: parts.cluster,
            incarnation: parts.incarnation,
            frame_bytes_max: parts.frame_bytes_max,
            local: parts.local,
            advertise: parts.advertise,
            endpoint: parts.endpoint,
            client: parts.client,
            receiver: parts.receiver,
            gossip_in: parts.gossip_in,
            draining: parts.token.child_token(),
            token: parts.token,
            counters: Arc::default(),
            refusals: RefusalLog::default(),
            writers: TaskTracker::new(),
            tasks: parts.tasks,
            table: Mutex::default(),
        }
    }

    /// Runs `task` until it ends or the transport does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks
            .spawn(self.token.clone().run_until_cancelled_owned(task));
    }

    /// Runs a task that sends on `link`. A graceful end waits for it.
    pub(crate) fn spawn_writer(
        &self,
        link: &Arc<Link>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let link = link.clone();
        let task = async move {
            tokio::select! {
                () = task => {}
                _ = link.connection.closed() => {}
            }
        };
        self.spawn(self.writers.track_future(task));
    }

    /// Dials and accepts no more, and lets writers end once their queues are empty.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
        self.writers.close();
        self.endpoint.set_server_config(None);
    }

    pub(crate) fn gossip(self: &Arc<Self>, to: SocketAddr, message: Bytes) {
        if message.len() + GOSSIP_OVERHEAD_BYTES > self.config.control_bytes_max.get() {
            self.counters.gossip_dropped.fetch_add(1, Relaxed);
            return;
        }
        let mut table = self.table();
        if let Some(link) = table.link_to(to) {
            self.counters
                .gossip_dropped
                .fetch_add(link.gossip.push(message), Relaxed);
        } else if to == self.advertise || to == self.local || table.own.contains(&to) {
            self.counters.gossip_dropped.fetch_add(1, Relaxed);
        } else if let Some(waiting) = self.dial(&mut table, to, false) {
            self.counters
                .gossip_dropped
                .fetch_add(waiting.push(message), Relaxed);
        } else {
            self.counters.gossip_dropped.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn keep(
        self: &Arc<Self>,
        peer: &NodeId,
        incarnation: Incarnation,
        addr: SocketAddr,
    ) {
        if *peer == self.name {
            return;
        }
        let mut table = self.table();
        let entry = self.entry(&mut table, peer);
        if entry
            .kept
            .is_some_and(|kept| kept.incarnation > incarnation)
        {
            return;
        }
        entry.kept = Some(Kept { incarnation, addr });
        entry.peer.revive();
        let slot = entry.pair.slot();
        let older = slot.and_then(|slot| slot.incarnation);
        if older.is_some_and(|older| older < incarnation) {
            entry.evict(CloseCode::Stale);
        }
        // Membership may be behind a link that is already to a later run.
        if entry.incarnation.is_none_or(|known| known < incarnation) {
            entry.expect_run(incarnation);
        }
        if let Some(link) = entry.link().cloned() {
            self.route(&mut table, addr, &link);
        }
        self.settle(&mut table, peer, false);
    }

    pub(crate) fn forget(&self, peer: &NodeId) {
        let mut table = self.table();
        if let Some(entry) = table.peers.get_mut(peer) {
            entry.kept = None;
            entry.peer.forget();
            entry.evict(CloseCode::Forgotten);
        }
    }

    pub(crate) fn part(&self, peer: &NodeId) {
        let mut table = self.table();
        if let Some(entry) = table.peers.get_mut(peer) {
            entry.kept = None;
            entry.peer.forget();
        }
    }

    pub(crate) fn peer(&self, name: &NodeId) -> Arc<Peer> {
        self.entry(&mut self.table(), name).peer.clone()
    }

    pub(crate) fn links(&self) -> Vec<LinkInfo> {
        let table = self.table();
        let links = table.peers.values().filter_map(Entry::link);
        links.map(|link| link.info()).collect()
    }

    /// We are about to introduce ourselves on a connection that we dialled. `None` when the pair
    /// needs no further link.
    pub(crate) fn offer(self: &Arc<Self>, peer: &NodeId, connection: &Connection) -> Option<Seat> {
        if self.draining.is_cancelled() {
            return None;
        }
        let mut table = self.table();
        let entry = self.entry(&mut table, peer);
        let number = entry.pair.offer(Holder::new(connection))?;
        Some(self.seat(peer, number))
    }

    /// The peer has introduced itself on a connection that it dialled.
    pub(crate) fn answer(
        self: &Arc<Self>,
        peer: &NodeId,
        hello: &Hello,
        connection: &Connection,
    ) -> Result<Seat, CloseCode> {
        let holder = Holder::new(connection);
        let number = self.decide(peer, hello, |pair| pair.answer(hello.claim(), holder))?;
        Ok(self.seat(peer, number))
    }

    /// The peer has introduced itself on a connection that we dialled.
    pub(crate) fn answered(
        self: &Arc<Self>,
        offered: Seat,
        hello: &Hello,
        connection: &Connection,
    ) -> Result<Seat, CloseCode> {
        let holder = Holder::new(connection);
        let number = self.decide(&offered.peer, hello, |pair| {
            pair.answered(offered.number, hello.claim(), holder)
        })?;
        if number == offered.number {
            return Ok(offered);
        }
        Ok(self.seat(&offered.peer, number))
    }

    fn decide(
        &self,
        peer: &NodeId,
        hello: &Hello,
        decide: impl FnOnce(&mut Pair<Holder>) -> Result<Taken<Holder>, CloseCode>,
    ) -> Result<LinkNumber, CloseCode> {
        if self.draining.is_cancelled() {
            return Err(CloseCode::Shutdown);
        }
        let mut table = self.table();
        let entry = self.entry(&mut table, peer);
        if entry
            .kept
            .is_some_and(|kept| kept.incarnation > hello.incarnation)
        {
            return Err(CloseCode::Stale);
        }
        let taken = decide(&mut entry.pair)?;
        if let Some(replaced) = taken.replaced {
            replaced.close(CloseCode::Replaced);
        }
        Ok(taken.number)
    }

    /// Both sides agree on the link. False when it has been replaced in the meantime.
    pub(crate) fn up(&self, seat: &Seat, link: &Arc<Link>, dialled: Option<SocketAddr>) -> bool {
        let mut table = self.table();
        let table = &mut *table;
        let Some(entry) = table.peers.get_mut(&seat.peer) else {
            return false;
        };
        let Some(slot) = entry.pair.ready(seat.number) else {
            return false;
        };
        self.counters.links_opened.fetch_add(1, Relaxed);
        slot.holder.link = Some(link.clone());
        entry.peer.revive();
        entry.expect_run(link.incarnation);
        table.routes.retain(|_, peer| *peer != seat.peer);
        // Membership may know the peer by another address than the one it tells us.
        let kept = entry.kept.map(|kept| kept.addr);
        for addr in dialled.into_iter().chain(kept).chain([link.advertised]) {
            self.route(table, addr, link);
        }
        true
    }

    fn release(self: &Arc<Self>, peer: &NodeId, number: LinkNumber) {
        let mut table = self.table();
        let Some(entry) = table.peers.get_mut(peer) else {
            return;
        };
        entry.pair.release(number);
        if entry.link().is_none() {
            table.routes.retain(|_, to| to != peer);
        }
        self.settle(&mut table, peer, true);
    }

    /// Dials a peer that is kept and has no link.
    fn settle(self: &Arc<Self>, table: &mut Table, peer: &NodeId, pause: bool) {
        let Some(entry) = table.peers.get(peer) else {
            return;
        };
        if let (Some(kept), None) = (entry.kept, entry.pair.slot())
            && let Some(waiting) = self.dial(table, kept.addr, pause)
        {
            waiting.filled.notify_one();
        }
    }

    /// The queue of the task that dials `addr`, which is started if there is none.
    fn dial(
        self: &Arc<Self>,
        table: &mut Table,
        addr: SocketAddr,
        pause: bool,
    ) -> Option<Arc<GossipQueue>> {
        if self.draining.is_cancelled() || self.token.is_cancelled() {
            return None;
        }
        if let Some(waiting) = table.dials.get(&addr) {
            return Some(waiting.clone());
        }
        if table.dials.len() >= DIALS_MAX {
            warn!(%addr, "not dialling: {DIALS_MAX} other addresses are being dialled");
            return None;
        }
        let waiting = Arc::new(GossipQueue::default());
        table.dials.insert(addr, waiting.clone());
        let dialling = dial::run(self.clone(), addr, waiting.clone(), pause);
        let dialling = self.draining.clone().run_until_cancelled_owned(dialling);
        self.spawn(async move {
            dialling.await;
        });
        Some(waiting)
    }

    /// Whom to dial at `addr`, or `None` when nobody needs it now.
    pub(crate) fn target(&self, addr: SocketAddr) -> Option<Target> {
        self.table().target(addr)
    }

    /// Ends the dialling of `addr`, unless somebody needs it.
    pub(crate) fn retire(&self, addr: SocketAddr) -> bool {
        let mut table = self.table();
        let idle = table.target(addr).is_none();
        if idle && let Some(waiting) = table.dials.remove(&addr) {
            self.counters
                .gossip_dropped
                .fetch_add(waiting.clear(), Relaxed);
        }
        idle
    }

    /// `addr` leads to a peer that may have a link already: gossip for it goes there.
    pub(crate) fn alias(&self, addr: SocketAddr, peer: &NodeId) {
        let mut table = self.table();
        if let Some(link) = table.peers.get(peer).and_then(Entry::link).cloned() {
            self.route(&mut table, addr, &link);
        }
    }

    fn route(&self, table: &mut Table, addr: SocketAddr, link: &Link) {
        table.routes.insert(addr, link.peer.name().clone());
        if let Some(waiting) = table.dials.get(&addr) {
            while let Some(message) = waiting.pop() {
                self.counters
                    .gossip_dropped
                    .fetch_add(link.gossip.push(message), Relaxed);
            }
        }
    }

    /// `addr` leads to ourselves.
    pub(crate) fn oneself(&self, addr: SocketAddr) {
        self.table().own.insert(addr);
    }

    fn entry<'a>(&self, table: &'a mut Table, name: &NodeId) -> &'a mut Entry {
        table.peers.entry(name.clone()).or_insert_with(|| Entry {
            peer: Arc::new(Peer::new(
                name.clone(),
                &self.config,
                self.frame_bytes_max,
                self.counters.clone(),
            )),
            pair: Pair::new((self.name < *name).then_some(self.incarnation)),
            kept: None,
            incarnation: None,
        })
    }

    fn seat(self: &Arc<Self>, peer: &NodeId, number: LinkNumber) -> Seat {
        Seat {
            hub: self.clone(),
            peer: peer.clone(),
            number,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing done under the lock panics half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.release(&self.peer, self.number);
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

/// Addresses that may be dialled at a time. Beyond it gossip to further ones is dropped, and a
/// peer to be kept waits for the next time that membership mentions it.
const DIALS_MAX: usize = 1024;
