use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings::{ClientAddr, ClientDoor, Node, NodeId};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use super::announcement::Announcement;
use super::record::{Counts, Facts, Record};
use crate::GatewayConfig;

/// The clients of a gateway: who is connected, what was counted of them, and what they are told of the
/// nodes to which they can go. Cheap to clone.
///
/// It takes as many clients as there are places, keeps what little is to be known of the last 1,000 that
/// went, and no more. No message waits for it: it is locked when a client comes or goes, when somebody asks,
/// and when the cluster changes.
#[derive(Debug, Clone)]
pub struct Clients {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) node: Node,
    pub(super) config: Arc<GatewayConfig>,
    /// Where the gateway listens; none if there is none.
    listens: Option<SocketAddr>,
    pub(super) door: ClientDoor,
    roll: Mutex<Roll>,
    /// How many are connected.
    pub(super) connected: watch::Sender<usize>,
    /// Cancelled when nobody is to be let in any more.
    pub(super) closing: CancellationToken,
    /// Told when somebody wants the node to leave.
    pub(super) drain_asked: CancellationToken,
    pub(super) drained: OnceCell<()>,
}

#[derive(Debug)]
struct Roll {
    open: BTreeMap<u64, Arc<Record>>,
    /// Those that went, the last one last.
    gone: VecDeque<Facts>,
    totals: Totals,
    announcement: Arc<Announcement>,
}

/// What is counted over all clients there were.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) connections: u64,
    pub(crate) slow_consumers: u64,
    pub(crate) counts: Counts,
    pub(crate) subscriptions: usize,
}

impl Clients {
    /// Those of a gateway that listens here, none of which has come yet; without an address nobody ever
    /// comes.
    pub fn new(node: &Node, config: GatewayConfig, listens: Option<SocketAddr>) -> Self {
        let door = listens.map(|listens| config.advertise.door(listens, node.addr()));
        let inner = Inner {
            config: Arc::new(config),
            listens,
            door: door.unwrap_or_default(),
            roll: Mutex::new(Roll {
                open: BTreeMap::new(),
                gone: VecDeque::new(),
                totals: Totals::default(),
                announcement: Arc::default(),
            }),
            connected: watch::Sender::new(0),
            closing: node.leaving().child_token(),
            drain_asked: CancellationToken::new(),
            drained: OnceCell::new(),
            node: node.clone(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// How many clients are connected.
    pub fn connected(&self) -> usize {
        *self.inner.connected.borrow()
    }

    /// Whether clients are being sent to other nodes, because this one is going to leave.
    pub fn is_draining(&self) -> bool {
        self.inner.lock().announcement.is_draining
    }

    pub(crate) fn node(&self) -> &Node {
        &self.inner.node
    }

    pub(crate) fn config(&self) -> &GatewayConfig {
        &self.inner.config
    }

    pub(crate) fn listens(&self) -> Option<SocketAddr> {
        self.inner.listens
    }

    /// Those that are connected, in the order in which they came.
    pub(crate) fn open(&self) -> Vec<Arc<Record>> {
        self.inner.lock().open.values().cloned().collect()
    }

    /// The last of those that are not connected any more, in the order in which they went.
    pub(crate) fn gone(&self) -> Vec<Facts> {
        self.inner.lock().gone.iter().cloned().collect()
    }

    /// What was counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let (mut totals, open) = {
            let roll = self.inner.lock();
            (roll.totals, roll.open.values().cloned().collect::<Vec<_>>())
        };
        for record in open {
            totals.counts += record.counts();
            totals.subscriptions += record.subscriptions();
        }
        totals
    }

    /// How many clients were cut off because they did not keep up with their messages.
    pub(crate) fn slow_consumers(&self) -> u64 {
        self.inner.lock().totals.slow_consumers
    }

    /// Takes a client in, until it [leaves](Self::leave). Returns what it is to be told first, too.
    pub(super) fn enter(&self, id: u64, peer: SocketAddr) -> (Arc<Record>, Arc<Announcement>) {
        let record = Arc::new(Record::new(id, peer, self.inner.node.unix_time()));
        let mut roll = self.inner.lock();
        roll.open.insert(id, Arc::clone(&record));
        roll.totals.connections += 1;
        self.inner.connected.send_replace(roll.open.len());
        (record, Arc::clone(&roll.announcement))
    }

    /// A client has gone.
    pub(super) fn leave(&self, record: &Record, reason: &'static str, is_slow: bool) {
        let facts = Facts {
            stopped: Some(self.inner.node.unix_time()),
            reason: Some(reason),
            pending_bytes: 0,
            ..record.facts()
        };
        let mut roll = self.inner.lock();
        roll.open.remove(&record.id);
        roll.totals.counts += facts.counts;
        roll.totals.slow_consumers += u64::from(is_slow);
        if roll.gone.len() == GONE_MAX {
            roll.gone.pop_front();
        }
        roll.gone.push_back(facts);
        self.inner.connected.send_replace(roll.open.len());
    }

    pub(super) fn announcement(&self) -> Arc<Announcement> {
        Arc::clone(&self.inner.lock().announcement)
    }

    /// Keeps clients informed of the nodes to which they can go, for ever.
    pub(super) async fn follow(self) {
        let node = &self.inner.node;
        let mut doors = node.watch_doors();
        loop {
            let doors = doors.next().await;
            let own = node.name();
            self.announce(|is_draining| connect_urls(own, &doors, is_draining));
        }
    }

    /// Tells clients from now on that this node is going to leave.
    pub(super) fn announce_drain(&self) {
        let own: Vec<ClientAddr> = self.inner.door.addrs().to_vec();
        let mut roll = self.inner.lock();
        let mut announcement = (*roll.announcement).clone();
        announcement.is_draining = true;
        announcement.connect_urls.retain(|addr| !own.contains(addr));
        roll.announce(announcement);
    }

    fn announce(&self, connect_urls: impl FnOnce(bool) -> Vec<ClientAddr>) {
        let mut roll = self.inner.lock();
        let is_draining = roll.announcement.is_draining;
        let connect_urls = connect_urls(is_draining);
        roll.announce(Announcement {
            connect_urls,
            is_draining,
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Roll> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roll {
    fn announce(&mut self, announcement: Announcement) {
        if *self.announcement == announcement {
            return;
        }
        self.announcement = Arc::new(announcement);
        for record in self.open.values() {
            record.tell_news();
        }
    }
}

/// Where clients of this node can go, this node first. Like the NATS server, one that knows of no other
/// says nothing.
fn connect_urls(
    own: &NodeId,
    doors: &[(NodeId, Arc<ClientDoor>)],
    is_draining: bool,
) -> Vec<ClientAddr> {
    let mut urls: Vec<ClientAddr> = Vec::new();
    let mut has_others = false;
    for (node, door) in doors {
        let is_own = node == own;
        if door.is_draining() || (is_own && is_draining) {
            continue;
        }
        has_others |= !is_own && !door.addrs().is_empty();
        for addr in door.addrs() {
            if !urls.contains(addr) && urls.len() < CONNECT_URLS_MAX {
                urls.push(addr.clone());
            }
        }
    }
    if has_others { urls } else { Vec::new() }
}

/// How many of those that went are remembered.
const GONE_MAX: usize = 1_000;

/// How many addresses clients are told: more are of no use to them, and all of them are in each INFO.
const CONNECT_URLS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn door(addrs: &[&str], is_draining: bool) -> Arc<ClientDoor> {
        let addrs = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        Arc::new(ClientDoor::new(addrs, is_draining).unwrap())
    }

    #[test]
    fn clients_are_sent_to_nodes_that_take_them_and_to_no_other() {
        let name = |name: &str| -> NodeId { name.parse().unwrap() };
        let urls = |doors: &[(&str, Arc<ClientDoor>)], is_draining| {
            let doors: Vec<_> = doors
                .iter()
                .map(|(node, door)| (name(node), Arc::clone(door)))
                .collect();
            let urls = connect_urls(&name("n1"), &doors, is_draining);
            urls.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let own = ("n1", door(&["a:1"], false));
        assert!(
            urls(std::slice::from_ref(&own), false).is_empty(),
            "it is the only one"
        );
        let closed = ("n2", door(&[], false));
        assert!(urls(&[own.clone(), closed.clone()], false).is_empty());
        let other = ("n3", door(&["c:1", "a:1"], false));
        let all = [own.clone(), closed, other];
        assert_eq!(urls(&all, false), ["a:1", "c:1"]);
        assert_eq!(urls(&all, true), ["c:1", "a:1"]);
        let draining = ("n4", door(&["d:1"], true));
        assert!(urls(&[own, draining], false).is_empty());
    }
}
