//! What one node decides about the mesh: which connections become links, whom to dial and for how
//! long, and where gossip goes.
//!
//! A peer that is *kept* has a link or is dialled for one. Gossip for an address goes over the
//! link of the peer that the address leads to, or waits for a dial. Of the connections of a pair
//! the [`Pair`] chooses the link.
//!
//! All is decided without I/O, clock, lock or chance. Inputs say what has happened; some are
//! answered at once, and all leave [`Effect`]s, which whoever drives the mesh performs in their
//! order before the next input. `C` stands for a connection. An effect names only connections
//! that were introduced with [`offer`](Mesh::offer), [`answer`](Mesh::answer) or
//! [`answered`](Mesh::answered) and have not [`ended`](Mesh::ended).

mod dial;
mod effect;
mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId, NodeRun};

use crate::pair::{Claim, Pair, Taken};
use crate::{CloseCode, LinkNumber};
use dial::Dial;
use entry::{Entry, Kept};

pub(crate) use dial::{DialOutcome, DialStep, Target};
pub(crate) use effect::{Effect, Route};

/// The peers and links of one node.
#[derive(Debug)]
pub(crate) struct Mesh<C> {
    node: NodeId,
    incarnation: Incarnation,
    /// Addresses that lead to this node itself.
    own_addrs: BTreeSet<SocketAddr>,
    /// Never removed, so that numbers go on where they were when a peer comes back.
    peers: BTreeMap<NodeId, Entry<C>>,
    /// Which peer's link leads to an address.
    routes: BTreeMap<SocketAddr, Lead>,
    dials: BTreeMap<SocketAddr, Dial>,
    /// No new links are wanted.
    draining: bool,
    effects: Vec<Effect<C>>,
}

/// To whom an address leads.
#[derive(Debug)]
struct Lead {
    peer: NodeId,
    /// Whether the peer has answered there. Otherwise it merely says so.
    is_proven: bool,
}

impl<C: Copy + Eq> Mesh<C> {
    /// The mesh of `run`, which is reached at `local` also.
    pub(crate) fn new(run: &NodeRun, local: SocketAddr) -> Self {
        Self {
            node: run.node.clone(),
            incarnation: run.incarnation,
            own_addrs: [run.addr, local].into(),
            peers: BTreeMap::new(),
            routes: BTreeMap::new(),
            dials: BTreeMap::new(),
            draining: false,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last time that this was asked.
    pub(crate) fn effects(&mut self) -> Vec<Effect<C>> {
        std::mem::take(&mut self.effects)
    }

    /// The peers that are kept or have a link, each with the connection that is its link.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&NodeId, Option<C>)> {
        let shown = self
            .peers
            .iter()
            .map(|(peer, entry)| (peer, entry, entry.link()));
        shown
            .filter(|(_, entry, link)| entry.kept.is_some() || link.is_some())
            .map(|(peer, _, link)| (peer, link))
    }

    /// The connection that is the link to a peer.
    pub(crate) fn link(&self, peer: &NodeId) -> Option<C> {
        self.peers.get(peer)?.link()
    }

    /// The peer is to have a link.
    pub(crate) fn keep(&mut self, run: &NodeRun) {
        let (peer, incarnation, addr) = (&run.node, run.incarnation, run.addr);
        if *peer == self.node {
            return;
        }
        let entry = entry(&mut self.peers, &self.node, self.incarnation, peer);
        if entry
            .kept
            .is_some_and(|kept| kept.incarnation > incarnation)
        {
            return;
        }
        entry.pair.go_back_to(incarnation);
        let same = |kept: &Kept| (kept.incarnation, kept.addr) == (incarnation, addr);
        let is_elsewhere = entry
            .kept
            .is_some_and(|kept| same(&kept) && kept.is_elsewhere);
        let before = entry.kept.replace(Kept {
            incarnation,
            addr,
            is_elsewhere,
        });
        self.effects.push(Effect::ReviveLanes(peer.clone()));
        let held = entry.pair.slot().and_then(|slot| slot.incarnation);
        if held.is_some_and(|held| held < incarnation) {
            self.effects.extend(entry.evict(CloseCode::Stale));
        }
        // Whoever keeps the peer may be behind a link that is already to a later run.
        if entry.incarnation.is_none_or(|known| known < incarnation) {
            self.effects.extend(entry.expect_run(peer, incarnation));
        }
        let link = entry.link();
        if let Some(before) = before.filter(|before| before.addr != addr) {
            self.wake_dial(before.addr);
        }
        if let Some(link) = link {
            self.claim(addr, peer, link);
        }
        self.dial_if_missing(peer, false);
    }

    /// The peer is to have no link, nor frames.
    pub(crate) fn forget(&mut self, peer: &NodeId) {
        self.release(peer, None);
        if let Some(entry) = self.peers.get_mut(peer) {
            self.effects.extend(entry.evict(CloseCode::Forgotten));
        }
    }

    /// The peer is to have no frames, and closes its link when it has sent all.
    pub(crate) fn departed(&mut self, peer: &NodeId) {
        let entry = self.peers.get(peer);
        let run = entry.and_then(|entry| entry.incarnation);
        self.release(peer, Some(run.unwrap_or_default()));
    }

    /// This run of the peer broke the protocol, and is to have no connection.
    pub(crate) fn violated(&mut self, peer: &NodeId, incarnation: Incarnation) {
        if let Some(entry) = self.peers.get_mut(peer)
            && let Some(slot) = entry.pair.slot()
            // A later run may be well. Who answers a dial of ours is not known yet.
            && slot.incarnation.is_none_or(|held| held <= incarnation)
        {
            self.effects.extend(entry.evict(CloseCode::Violation));
        }
    }

    fn release(&mut self, peer: &NodeId, left: Option<Incarnation>) {
        let entry = self.peers.get_mut(peer);
        if let Some(kept) = entry.and_then(|entry| entry.kept.take()) {
            self.wake_dial(kept.addr);
        }
        let peer = peer.clone();
        self.effects.push(Effect::ShutLanes { peer, left });
    }

    /// No new links are wanted. Nothing is dialled any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        for dial in std::mem::take(&mut self.dials).into_values() {
            self.lose_gossip(dial.waiting());
        }
    }

    /// Where `message` goes, so that it gets to `to`.
    pub(crate) fn gossip(&mut self, to: SocketAddr, message: Bytes) -> Route<C> {
        if let Some(connection) = self.link_to(to) {
            return Route::Link {
                connection,
                message,
            };
        }
        if self.own_addrs.contains(&to) {
            return Route::Dropped;
        }
        let Some(dial) = self.dial(to, false) else {
            return Route::Dropped;
        };
        let lost = dial.wait(message);
        self.effects.push(Effect::WakeDial(to));
        self.lose_gossip(lost);
        Route::Waiting
    }

    /// The latest run of a peer that is known.
    pub(crate) fn latest_run(&self, peer: &NodeId) -> Option<Incarnation> {
        let entry = self.peers.get(peer)?;
        let kept = entry.kept.map(|kept| kept.incarnation);
        kept.into_iter().chain([entry.pair.latest_run()]).max()
    }

    /// The run that this is the mesh of.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// We are about to say Hello on a connection that we dialled: the number it is to carry, or
    /// `None` when the pair needs no further link.
    pub(crate) fn offer(&mut self, peer: &NodeId, connection: C) -> Option<LinkNumber> {
        if self.draining {
            return None;
        }
        let entry = entry(&mut self.peers, &self.node, self.incarnation, peer);
        entry.pair.offer(connection)
    }

    /// The peer has said Hello on a connection that it dialled. On success our Hello, with the
    /// number, is the answer.
    pub(crate) fn answer(
        &mut self,
        peer: &NodeId,
        claim: Claim,
        connection: C,
    ) -> Result<LinkNumber, CloseCode> {
        self.choose(peer, claim, |pair| pair.answer(claim, connection))
    }

    /// The peer has said Hello on a connection that we dialled. On success Ready is the answer.
    pub(crate) fn answered(
        &mut self,
        peer: &NodeId,
        claim: Claim,
        connection: C,
    ) -> Result<LinkNumber, CloseCode> {
        self.choose(peer, claim, |pair| pair.answered(claim, connection))
    }

    /// Both sides agree on the link to a peer that advertises `advertised` and was `dialled` at
    /// another address perhaps. False when it has been replaced in the meantime.
    pub(crate) fn up(
        &mut self,
        peer: &NodeId,
        connection: C,
        advertised: SocketAddr,
        dialled: Option<SocketAddr>,
    ) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else {
            return false;
        };
        let Some(incarnation) = entry.pair.ready(connection) else {
            return false;
        };
        self.effects.push(Effect::ReviveLanes(peer.clone()));
        self.effects.extend(entry.expect_run(peer, incarnation));
        // The peer may be kept at another address than the one it tells us.
        let kept = entry.kept.map(|kept| kept.addr);
        self.routes.retain(|_, to| to.peer != *peer);
        if let Some(addr) = dialled {
            self.prove(addr, peer, connection);
        }
        for addr in kept.into_iter().chain([advertised]) {
            self.claim(addr, peer, connection);
        }
        true
    }

    /// A connection to a peer is gone, whether it was the link or not.
    pub(crate) fn ended(&mut self, peer: &NodeId, connection: C) {
        let Some(entry) = self.peers.get_mut(peer) else {
            return;
        };
        entry.pair.release(connection);
        if entry.link().is_none() {
            self.routes.retain(|_, to| to.peer != *peer);
        }
        self.dial_if_missing(peer, true);
    }

    /// What to do next for an address with [`Effect::StartDial`], until it is [`DialStep::End`].
    pub(crate) fn next_dial(&mut self, addr: SocketAddr) -> DialStep {
        let target = self.target(addr);
        let Some(dial) = self.dials.get_mut(&addr) else {
            return DialStep::End;
        };
        let step = dial.next(target);
        if step == DialStep::End
            && let Some(dial) = self.dials.remove(&addr)
        {
            self.lose_gossip(dial.waiting());
        }
        step
    }

    /// An attempt to dial `addr` is over.
    pub(crate) fn dial_ended(&mut self, addr: SocketAddr, outcome: DialOutcome) {
        let failed = match outcome {
            DialOutcome::Up => false,
            DialOutcome::FoundSelf => {
                self.own_addrs.insert(addr);
                false
            }
            DialOutcome::Superseded(peer) => {
                if let Some(link) = self.peers.get(&peer).and_then(Entry::link) {
                    self.prove(addr, &peer, link);
                }
                self.target(addr).is_some()
            }
            DialOutcome::Elsewhere(peer) => {
                let entry = self.peers.get_mut(&peer);
                let kept = entry.and_then(|entry| entry.kept.as_mut());
                if let Some(kept) = kept.filter(|kept| kept.addr == addr) {
                    kept.is_elsewhere = true;
                }
                true
            }
            DialOutcome::Failed => true,
        };
        if let Some(dial) = self.dials.get_mut(&addr) {
            let lost = dial.ended(failed);
            self.lose_gossip(lost);
        }
    }

    /// Nobody has needed `addr` for a while.
    pub(crate) fn lingered(&mut self, addr: SocketAddr) {
        if let Some(dial) = self.dials.get_mut(&addr) {
            dial.lingered();
        }
    }

    fn choose(
        &mut self,
        peer: &NodeId,
        claim: Claim,
        choose: impl FnOnce(&mut Pair<C>) -> Result<Taken<C>, CloseCode>,
    ) -> Result<LinkNumber, CloseCode> {
        if self.draining {
            return Err(CloseCode::Shutdown);
        }
        let entry = entry(&mut self.peers, &self.node, self.incarnation, peer);
        if entry
            .kept
            .is_some_and(|kept| kept.incarnation > claim.incarnation)
        {
            return Err(CloseCode::Stale);
        }
        let taken = choose(&mut entry.pair)?;
        if let Some(connection) = taken.replaced {
            let code = CloseCode::Replaced;
            self.effects.push(Effect::Close { connection, code });
        }
        Ok(taken.number)
    }

    /// The link over which gossip for `addr` goes.
    fn link_to(&self, addr: SocketAddr) -> Option<C> {
        self.peers.get(&self.routes.get(&addr)?.peer)?.link()
    }

    /// Whether another than this peer has answered at `addr`.
    pub(crate) fn is_of_another(&self, addr: SocketAddr, peer: &NodeId) -> bool {
        let to = self.routes.get(&addr);
        to.is_some_and(|to| to.is_proven && to.peer != *peer)
    }

    /// A peer says that it is reached at `addr`. If another with a link says so too, it is neither's
    /// until one of them has answered there.
    fn claim(&mut self, addr: SocketAddr, peer: &NodeId, connection: C) {
        match self.routes.get(&addr) {
            Some(to) if to.peer == *peer || to.is_proven => {}
            Some(_) => {
                self.routes.remove(&addr);
                if let Some(dial) = self.dial(addr, false) {
                    dial.probe();
                    self.effects.push(Effect::WakeDial(addr));
                }
            }
            None => self.add_route(addr, peer, connection, false),
        }
    }

    /// A peer has answered at `addr`.
    fn prove(&mut self, addr: SocketAddr, peer: &NodeId, connection: C) {
        self.add_route(addr, peer, connection, true);
    }

    /// From now on gossip for `addr` goes over this link; so does what waits for a dial.
    fn add_route(&mut self, addr: SocketAddr, peer: &NodeId, connection: C, is_proven: bool) {
        let peer = peer.clone();
        self.routes.insert(addr, Lead { peer, is_proven });
        if let Some(dial) = self.dials.get_mut(&addr) {
            let sent = dial.take_waiting().map(|message| Effect::Gossip {
                connection,
                message,
            });
            self.effects.extend(sent);
        }
    }

    /// Dials a peer that is kept and has no link, nor one under way.
    fn dial_if_missing(&mut self, peer: &NodeId, pause: bool) {
        let Some(entry) = self.peers.get(peer) else {
            return;
        };
        if let (Some(kept), None) = (entry.kept, entry.pair.slot())
            && !kept.is_elsewhere
            && self.dial(kept.addr, pause).is_some()
        {
            self.effects.push(Effect::WakeDial(kept.addr));
        }
    }

    /// The dialling of `addr`, which begins, with a pause perhaps, if there is none.
    fn dial(&mut self, addr: SocketAddr, pause: bool) -> Option<&mut Dial> {
        if self.draining {
            return None;
        }
        if !self.dials.contains_key(&addr) {
            if self.dials.len() >= DIALS_MAX {
                self.effects.push(Effect::TooManyDials(addr));
                return None;
            }
            self.effects.push(Effect::StartDial(addr));
            self.dials.insert(addr, Dial::new(pause));
        }
        self.dials.get_mut(&addr)
    }

    /// No peer is kept at `addr` any more: gossip that waits there is for anyone again.
    fn wake_dial(&mut self, addr: SocketAddr) {
        if self.dials.contains_key(&addr) {
            self.effects.push(Effect::WakeDial(addr));
        }
    }

    /// Whom to dial at `addr`, or `None` when nobody needs it now.
    fn target(&self, addr: SocketAddr) -> Option<Target> {
        let at_addr = |(_, entry): &(&NodeId, &Entry<C>)| {
            let kept = entry.kept.filter(|kept| kept.addr == addr);
            kept.is_some_and(|kept| !kept.is_elsewhere)
        };
        let mut kept = self.peers.iter().filter(at_addr);
        if let Some((peer, _)) = kept.clone().find(|(_, entry)| entry.pair.slot().is_none()) {
            return Some(Target::Peer(peer.clone()));
        }
        // With a connection in the slot, gossip goes over it as soon as it is up.
        if kept.any(|(_, entry)| entry.link().is_none()) {
            return None;
        }
        let is_for_anyone = self.dials.get(&addr)?.is_for_anyone();
        (is_for_anyone && !self.own_addrs.contains(&addr)).then_some(Target::Anyone)
    }

    fn lose_gossip(&mut self, messages: u64) {
        if messages > 0 {
            self.effects.push(Effect::GossipLost(messages));
        }
    }
}

/// The node with the smaller name numbers the links of a pair.
fn entry<'a, C: Copy + Eq>(
    peers: &'a mut BTreeMap<NodeId, Entry<C>>,
    node: &NodeId,
    incarnation: Incarnation,
    peer: &NodeId,
) -> &'a mut Entry<C> {
    peers.entry(peer.clone()).or_insert_with(|| Entry {
        pair: Pair::new((node < peer).then_some(incarnation)),
        kept: None,
        incarnation: None,
    })
}

/// Addresses that may be dialled at a time. Beyond it gossip to further ones is dropped, and a
/// peer to be kept waits for the next time that it is mentioned.
pub(crate) const DIALS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
