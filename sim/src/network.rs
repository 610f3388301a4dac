use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::conditions::Conditions;
use crate::path::{Fate, Path};
use crate::sightings::Sightings;

/// The port of all hosts.
const PORT: u16 = 7946;
/// What waits for a host that does not read, in bytes; more is lost, as in the kernel of a real one.
const RECEIVE_BYTES_MAX: usize = 4 << 20;

/// The wire among all hosts of a run: one queue of packets, ordered by the time at which they
/// arrive and then by that at which they were sent.
#[derive(Debug)]
pub struct Network {
    state: Mutex<State>,
    changed: Notify,
}

/// How much went over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Datagrams that hosts sent.
    pub packets: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    /// Those that never arrived, for whatever reason.
    pub lost: u64,
    /// A hash over sender, receiver, length, time and fate of each.
    pub hash: u64,
}

#[derive(Debug)]
struct State {
    run: u64,
    started: Instant,
    paths: BTreeMap<(usize, usize), Path>,
    /// What new paths are like, until told otherwise.
    usual: Conditions,
    ports: Vec<Option<Port>>,
    cuts: Cuts,
    flying: BinaryHeap<Reverse<Packet>>,
    sent: u64,
    traffic: Traffic,
    sightings: Sightings,
}

/// Which hosts cannot reach which.
#[derive(Debug, Default)]
struct Cuts {
    /// The side of each host, while the network is split. Hosts in no group are all on one side.
    sides: BTreeMap<usize, usize>,
    isolated: BTreeSet<usize>,
    one_way: BTreeSet<(usize, usize)>,
}

/// The receiving end of one run of a host.
#[derive(Debug)]
struct Port {
    number: u64,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    waiting_bytes: usize,
    reader: Option<Waker>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    at: Instant,
    number: u64,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

impl Network {
    /// A network of so many hosts, for the run with this seed. Someone must [`drive`](Self::drive)
    /// it.
    pub fn new(run: u64, hosts: usize) -> Arc<Self> {
        let started = Instant::now();
        let state = State {
            run,
            started,
            paths: BTreeMap::new(),
            usual: Conditions::default(),
            ports: (0..hosts).map(|_| None).collect(),
            cuts: Cuts::default(),
            flying: BinaryHeap::new(),
            sent: 0,
            traffic: Traffic::default(),
            sightings: Sightings::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    /// The address of a host.
    pub fn addr(host: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (host >> 8) as u8, host as u8], PORT))
    }

    /// The host at an address, if it is that of one.
    pub(crate) fn host(addr: SocketAddr) -> Option<usize> {
        let IpAddr::V4(ip) = addr.ip() else {
            return None;
        };
        let [.., high, low] = ip.octets();
        Some(usize::from(high) << 8 | usize::from(low))
    }

    /// Delivers packets when their time comes. Never returns.
    pub async fn drive(self: Arc<Self>) {
        loop {
            let next = self.lock().flying.peek().map(|Reverse(packet)| packet.at);
            let Some(at) = next else {
                self.changed.notified().await;
                continue;
            };
            if at > Instant::now() {
                tokio::select! {
                    biased;
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => continue,
                }
            }
            let readers = self.lock().arrive(Instant::now());
            readers.into_iter().for_each(Waker::wake);
        }
    }

    /// Plugs a host in and returns the number of its port. What was plugged in there before is not
    /// any more.
    pub(crate) fn plug(&self, host: usize) -> u64 {
        let mut state = self.lock();
        state.sent += 1;
        let number = state.sent;
        let (waiting, waiting_bytes, reader) = Default::default();
        state.ports[host] = Some(Port {
            number,
            waiting,
            waiting_bytes,
            reader,
        });
        number
    }

    /// Unplugs a host: from now on it neither sends nor receives.
    pub(crate) fn unplug(&self, host: usize) {
        self.lock().ports[host] = None;
    }

    /// Sends a datagram from this port, if it is plugged in.
    pub(crate) fn send(&self, (from, port): (usize, u64), to: SocketAddr, bytes: &[u8]) {
        let mut state = self.lock();
        let is_plugged = state.ports[from]
            .as_ref()
            .is_some_and(|own| own.number == port);
        if is_plugged && state.send(from, to, bytes) {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The next datagram that has arrived at this port. Without one the waker is called when there
    /// is; never, if the port has been unplugged.
    pub(crate) fn receive(
        &self,
        (host, port): (usize, u64),
        waker: &Waker,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let mut state = self.lock();
        let own = state.ports[host]
            .as_mut()
            .filter(|own| own.number == port)?;
        let next = own.waiting.pop_front();
        match &next {
            Some((_, bytes)) => own.waiting_bytes -= bytes.len(),
            None => own.reader = Some(waker.clone()),
        }
        next
    }

    /// Sets how all paths behave, or those from and to one host, or those from one to another.
    pub fn set(&self, from: Option<usize>, to: Option<usize>, conditions: &Conditions) {
        let mut state = self.lock();
        if (from, to) == (None, None) {
            state.usual = conditions.clone();
        }
        for a in 0..state.ports.len() {
            for b in 0..state.ports.len() {
                let is_meant = match (from, to) {
                    (Some(from), Some(to)) => (a, b) == (from, to),
                    (Some(one), None) | (None, Some(one)) => a == one || b == one,
                    (None, None) => true,
                };
                if is_meant && a != b {
                    state.path(a, b).conditions = conditions.clone();
                }
            }
        }
    }

    /// Splits the hosts into groups that do not reach each other. Hosts that are in none of them
    /// form one more. Takes the place of an earlier split.
    pub fn split(&self, groups: &[Vec<usize>]) {
        let sides = groups.iter().enumerate();
        let sides = sides.flat_map(|(side, hosts)| hosts.iter().map(move |host| (*host, side)));
        self.lock().cuts.sides = sides.collect();
    }

    /// Cuts a host off from all others.
    pub fn isolate(&self, host: usize) {
        self.lock().cuts.isolated.insert(host);
    }

    /// Undoes [`isolate`](Self::isolate).
    pub fn rejoin(&self, host: usize) {
        self.lock().cuts.isolated.remove(&host);
    }

    /// Lets nothing pass from one host to another, though the way back is open.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        self.lock().cuts.one_way.insert((from, to));
    }

    /// Undoes all splits and cuts.
    pub fn heal(&self) {
        self.lock().cuts = Cuts::default();
    }

    /// Whether any host cannot reach another.
    pub fn is_cut(&self) -> bool {
        let cuts = &self.lock().cuts;
        !(cuts.sides.is_empty() && cuts.isolated.is_empty() && cuts.one_way.is_empty())
    }

    /// How much went over the wire so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// Rare things that were seen on the wire, and how often.
    pub(crate) fn sightings(&self) -> Sightings {
        self.lock().sightings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether the packet is the next to arrive.
    fn send(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(to) = Network::host(to).filter(|host| *host < self.ports.len()) else {
            return false;
        };
        let now = Instant::now();
        let is_cut = self.cuts.between(from, to);
        let fate = match self.path(from, to).send(bytes.len(), now) {
            _ if is_cut => Fate::Lost,
            fate => fate,
        };
        self.count(now, (from, to), bytes.len(), fate);
        self.sightings.sent((from, to), bytes, now, fate, is_cut);
        let Fate::Arrives(at, twin) = fate else {
            return false;
        };
        let before = self.flying.peek().map(|Reverse(packet)| packet.at);
        for at in [Some(at), twin].into_iter().flatten() {
            self.sent += 1;
            let packet = Packet {
                at,
                number: self.sent,
                from,
                to,
                bytes: bytes.to_vec(),
            };
            self.flying.push(Reverse(packet));
        }
        before.is_none_or(|before| at < before)
    }

    /// Takes out what arrives by now; returns whom to wake.
    fn arrive(&mut self, now: Instant) -> Vec<Waker> {
        let mut readers = Vec::new();
        while let Some(Reverse(packet)) = self.flying.peek()
            && packet.at <= now
            && let Some(Reverse(packet)) = self.flying.pop()
        {
            let port = self.ports[packet.to].as_mut();
            let is_full =
                |port: &&mut Port| port.waiting_bytes + packet.bytes.len() > RECEIVE_BYTES_MAX;
            let Some(port) = port.filter(|port| !is_full(port)) else {
                self.traffic.lost += 1;
                continue;
            };
            port.waiting_bytes += packet.bytes.len();
            port.waiting
                .push_back((Network::addr(packet.from), packet.bytes));
            readers.extend(port.reader.take());
        }
        readers
    }

    fn path(&mut self, from: usize, to: usize) -> &mut Path {
        let (run, started, usual) = (self.run, self.started, &self.usual);
        self.paths.entry((from, to)).or_insert_with(|| {
            let mut path = Path::new(run, from, to, started);
            path.conditions = usual.clone();
            path
        })
    }

    fn count(&mut self, now: Instant, way: (usize, usize), bytes: usize, fate: Fate) {
        let traffic = &mut self.traffic;
        traffic.packets += 1;
        traffic.bytes += bytes as u64;
        traffic.lost += u64::from(fate == Fate::Lost);
        let arrives = match fate {
            Fate::Arrives(at, _) => at.duration_since(self.started).as_nanos() as u64,
            Fate::Lost => 0,
        };
        let sent = now.duration_since(self.started).as_nanos() as u64;
        for part in [sent, way.0 as u64, way.1 as u64, bytes as u64, arrives] {
            traffic.hash = (traffic.hash.rotate_left(23) ^ part).wrapping_mul(HASH_FACTOR);
        }
    }
}

impl Cuts {
    fn between(&self, from: usize, to: usize) -> bool {
        self.isolated.contains(&from)
            || self.isolated.contains(&to)
            || self.one_way.contains(&(from, to))
            || self.sides.get(&from) != self.sides.get(&to)
    }
}

/// An odd number with bits all over.
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_hosts_on_one_side_reach_each_other() {
        let network = Network::new(1, 4);
        let ports: Vec<_> = (0..4).map(|host| (host, network.plug(host))).collect();
        network.split(&[vec![0, 1], vec![2]]);
        network.cut_one_way(0, 1);
        for from in &ports {
            for to in 0..4 {
                network.send(*from, Network::addr(to), &[from.0 as u8]);
            }
        }
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        network.lock().arrive(Instant::now());
        let mut received = Vec::new();
        for (host, port) in ports {
            while let Some((_, bytes)) = network.receive((host, port), Waker::noop()) {
                received.push((usize::from(bytes[0]), host));
            }
        }
        received.retain(|(from, to)| from != to);
        assert_eq!(received, [(1, 0)], "3 is in no group, and alone there");
    }
}
