use std::net::SocketAddr;

use bytes::Bytes;
use tidings_identity::{NodeId, NodeRun};

use super::connection::{Connection, Message, Side, outcome};
use super::node::{Dialling, Node, addr_of, place_of};
use super::step::Step;
use crate::CloseCode;
use crate::mesh::dial::Dial;
use crate::mesh::{DialOutcome, DialStep, Effect, Mesh, Route, Target};
use crate::pair::Claim;

/// Some nodes and the network between them, with what must always hold checked at each step.
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    /// The run of each node before.
    earlier: Vec<NodeRun>,
    /// Who is reached at an address: each node at two of them.
    pub(super) places: Vec<Option<usize>>,
    pub(super) connections: Vec<Connection>,
}

/// What can go on.
#[derive(Debug, Clone, Copy)]
enum Due {
    Message { connection: usize, side: usize },
    Dial { node: usize, addr: SocketAddr },
}

impl World {
    pub(super) fn new(nodes: usize) -> Self {
        let places = (0..nodes).chain(0..nodes).map(Some);
        let places = places.chain([None, None]).collect();
        let nodes: Vec<_> = (0..nodes).map(|n| Node::new(n, 1.into(), n)).collect();
        Self {
            earlier: nodes.iter().map(|node| node.run.clone()).collect(),
            nodes,
            places,
            connections: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        let n = self.nodes.len();
        match step {
            Step::Keep { node, peer, lag } if node % n != peer % n => {
                self.keep(node % n, peer % n, lag);
            }
            Step::Keep { .. } => {}
            Step::Forget { node, peer } => self.give_up(node % n, peer % n, Mesh::forget),
            Step::Departed { node, peer } => self.give_up(node % n, peer % n, Mesh::departed),
            Step::Gossip { node, addr } => self.gossip(node % n, addr % self.places.len()),
            Step::Break { connection, side } if !self.connections.is_empty() => {
                let connection = connection % self.connections.len();
                self.connections[connection].close(side % 2, None, DialOutcome::Failed);
            }
            Step::Break { .. } => {}
            Step::Restart(pick) => self.restart(pick % n, pick / n),
            Step::Go(pick) => {
                let due = self.due(false);
                if !due.is_empty() {
                    self.go(due[pick % due.len()]);
                }
            }
        }
    }

    /// Tells everybody the newest run of whom it keeps, and goes on until nothing is due.
    pub(super) fn come_to_rest(&mut self, mut pick: impl FnMut() -> usize) {
        for node in 0..self.nodes.len() {
            for peer in self.nodes[node].kept.clone().into_keys() {
                self.keep(node, peer, false);
            }
        }
        for turn in 0..20_000 {
            let mut due = self.due(false);
            if due.is_empty() {
                self.assert_nobody_waits_for_lingering();
                due = self.due(true);
            }
            match due.len() {
                0 => return,
                // Nothing is put off for ever.
                _ if turn % 2 == 0 => self.go(due[0]),
                n => self.go(due[pick() % n]),
            }
        }
        panic!("the mesh does not come to rest");
    }

    fn keep(&mut self, node: usize, peer: usize, lag: bool) {
        let runs = [&self.nodes[peer].run, &self.earlier[peer]];
        let run = runs[usize::from(lag)].clone();
        let this = &mut self.nodes[node];
        this.mesh.keep(&run);
        this.believed.insert((peer, run.addr));
        let kept = this.kept.entry(peer).or_insert(run.clone());
        if kept.incarnation <= run.incarnation {
            *kept = run;
        }
        self.perform(node);
        self.assert_link_is_to_kept_run(node, peer);
    }

    fn give_up(&mut self, node: usize, peer: usize, how: fn(&mut Mesh<usize>, &NodeId)) {
        let peer_id = self.nodes[peer].run.node.clone();
        self.nodes[node].kept.remove(&peer);
        how(&mut self.nodes[node].mesh, &peer_id);
        self.perform(node);
        assert!(!self.nodes[node].lanes[&peer_id].open);
    }

    fn gossip(&mut self, node: usize, place: usize) {
        let message = Bytes::from(vec![place as u8]);
        match self.nodes[node].mesh.gossip(addr_of(place), message) {
            Route::Link {
                connection,
                message,
            } => self.carry(node, connection, &message),
            Route::Waiting => self.nodes[node].waiting += 1,
            Route::Dropped => assert_eq!(self.places[place], Some(node), "somebody is there"),
        }
        self.perform(node);
    }

    fn restart(&mut self, node: usize, pick: usize) {
        for connection in &mut self.connections {
            connection.vanish(node);
        }
        let own = |place: &&mut Option<usize>| **place == Some(node);
        self.places
            .iter_mut()
            .filter(own)
            .for_each(|place| *place = None);
        let taken = [pick, pick / 7].map(|pick| {
            let free = |place: &usize| self.places[*place].is_none();
            let free: Vec<_> = (0..self.places.len()).filter(free).collect();
            let place = free[pick % free.len()];
            self.places[place] = Some(node);
            place
        });
        let later = self.nodes[node].run.incarnation.next();
        let earlier = std::mem::replace(&mut self.nodes[node], Node::new(node, later, taken[0]));
        self.earlier[node] = earlier.run;
    }

    fn due(&self, lingering: bool) -> Vec<Due> {
        let mut due = Vec::new();
        for (connection, c) in self.connections.iter().enumerate() {
            let has_mail = |side: &usize| !c.sides[*side].inbox.is_empty();
            let mail = (0..2).filter(has_mail);
            due.extend(mail.map(|side| Due::Message { connection, side }));
        }
        for (node, n) in self.nodes.iter().enumerate() {
            let ready = |state: &Dialling| match state {
                Dialling::Asking => true,
                Dialling::Lingering => lingering,
                Dialling::Attempting(_) => false,
            };
            let ready = n.dials.iter().filter(|(_, state)| ready(state));
            due.extend(ready.map(|(addr, _)| Due::Dial { node, addr: *addr }));
        }
        due
    }

    fn go(&mut self, due: Due) {
        match due {
            Due::Message { connection, side } => self.deliver(connection, side),
            Due::Dial { node, addr } => self.dial(node, addr),
        }
    }

    fn dial(&mut self, node: usize, addr: SocketAddr) {
        if self.nodes[node].dials[&addr] == Dialling::Lingering {
            self.nodes[node].mesh.lingered(addr);
        }
        let state = match self.nodes[node].mesh.next_dial(addr) {
            DialStep::Pause { .. } => Some(Dialling::Asking),
            DialStep::Linger => Some(Dialling::Lingering),
            DialStep::End => None,
            DialStep::Attempt { target, .. } => Some(self.attempt(node, addr, target)),
        };
        match state {
            Some(state) => self.nodes[node].dials.insert(addr, state),
            None => self.nodes[node].dials.remove(&addr),
        };
        self.perform(node);
    }

    fn attempt(&mut self, node: usize, addr: SocketAddr, target: Target) -> Dialling {
        let dialler = &self.nodes[node];
        let found = match (&target, self.places[place_of(addr)]) {
            (Target::Anyone, found) => {
                let is_probing = dialler.mesh.dials[&addr].is_probing();
                assert!(dialler.waiting > 0 || is_probing, "dialled for nobody");
                found
            }
            (Target::Peer(peer), found) => {
                let peer = usize::from(peer.as_str().as_bytes()[0] - b'a');
                let kept = dialler.kept.get(&peer);
                assert!(
                    kept.is_some_and(|kept| kept.addr == addr),
                    "dialled for nobody"
                );
                assert!(self.links(node, peer).is_empty(), "there is a link already");
                found.filter(|found| *found == peer)
            }
        };
        let outcome = match found {
            Some(found) if found == node => DialOutcome::FoundSelf,
            None => DialOutcome::Failed,
            Some(found) => {
                self.nodes[node].believed.insert((found, addr));
                let mut sides = [node, found].map(Side::new);
                sides[0].inbox.push_back(Message::Connected);
                let is_abrupt = self.connections.len().is_multiple_of(2);
                let connection = Connection {
                    addr,
                    is_abrupt,
                    sides,
                };
                self.connections.push(connection);
                return Dialling::Attempting(self.connections.len() - 1);
            }
        };
        self.nodes[node].mesh.dial_ended(addr, outcome);
        Dialling::Asking
    }

    fn deliver(&mut self, connection: usize, own: usize) {
        let addr = self.connections[connection].addr;
        let [node, peer] = [own, 1 - own].map(|s| self.connections[connection].sides[s].node);
        let [run, peer] = [node, peer].map(|node| self.nodes[node].run.clone());
        let mesh = &mut self.nodes[node].mesh;
        let side = &mut self.connections[connection].sides[own];
        let Some(message) = side.inbox.pop_front() else {
            return;
        };
        let hello = |number| Message::Hello(run, number);
        let reply = match message {
            Message::Gone => {
                side.up = false;
                if std::mem::take(&mut side.known) {
                    mesh.ended(&peer.node, connection);
                }
                let outcome = side.outcome.clone();
                return self.attempted(node, addr, connection, outcome);
            }
            Message::Ready | Message::ReadySent => {
                let advertised = side.peer.as_ref().unwrap().addr;
                let dialled = (own == 0).then_some(addr);
                if mesh.up(&peer.node, connection, advertised, dialled) {
                    assert!(!side.evicted);
                    side.up = true;
                    return self.linked(node, connection, own, addr);
                }
                Err(CloseCode::Replaced)
            }
            _ if !side.open => return,
            Message::Connected => {
                side.known = true;
                let number = mesh.offer(&peer.node, connection);
                number.map(hello).ok_or(CloseCode::Abandoned)
            }
            Message::Hello(run, number) => {
                let claim = Claim {
                    incarnation: run.incarnation,
                    number,
                };
                side.peer = Some(run);
                side.known = true;
                if own == 0 {
                    mesh.answered(&peer.node, claim, connection).map(|number| {
                        side.number = number;
                        side.inbox.push_front(Message::ReadySent);
                        Message::Ready
                    })
                } else {
                    mesh.answer(&peer.node, claim, connection).map(|number| {
                        side.number = number;
                        hello(number)
                    })
                }
            }
            Message::Closed(code) => {
                let outcome = outcome(code, &peer.node);
                return self.connections[connection].close(own, code, outcome);
            }
        };
        match reply {
            Ok(message) => self.connections[connection].send(1 - own, message),
            Err(code) => {
                self.connections[connection].close(own, Some(code), outcome(Some(code), &peer.node))
            }
        }
        self.perform(node);
    }

    fn linked(&mut self, node: usize, connection: usize, own: usize, addr: SocketAddr) {
        self.perform(node);
        let other = self.connections[connection].sides[1 - own].node;
        self.assert_link_is_to_kept_run(node, other);
        let (side, this) = (
            &self.connections[connection].sides[own],
            &mut self.nodes[node],
        );
        let peer = side.peer.as_ref().unwrap();
        let lanes = this.lanes.get_mut(&peer.node).unwrap();
        assert!(lanes.open);
        let run = *lanes.run.get_or_insert(peer.incarnation);
        assert_eq!(run, peer.incarnation, "frames of one run went to another");
        assert!(
            lanes.number < side.number,
            "a later link has a higher number"
        );
        lanes.number = side.number;
        if own == 0 {
            assert_eq!(this.mesh.dials.get(&addr).map_or(0, Dial::waiting), 0);
            self.attempted(node, addr, connection, DialOutcome::Up);
        }
    }

    /// The attempt that made the connection is over, if it was one of this node's, and was not
    /// before.
    fn attempted(&mut self, node: usize, addr: SocketAddr, connection: usize, how: DialOutcome) {
        let dialling = self.nodes[node].dials.get_mut(&addr);
        if let Some(state) = dialling.filter(|s| **s == Dialling::Attempting(connection)) {
            *state = Dialling::Asking;
            self.nodes[node].mesh.dial_ended(addr, how);
        }
        self.perform(node);
    }

    /// Performs what a node has decided.
    fn perform(&mut self, node: usize) {
        for effect in self.nodes[node].mesh.effects() {
            let this = &mut self.nodes[node];
            match effect {
                Effect::Close { connection, code } => {
                    let [own, _] = self.ends(node, connection);
                    let side = &mut self.connections[connection].sides[own];
                    assert!(side.known);
                    side.evicted = true;
                    side.up = false;
                    self.connections[connection].close(own, Some(code), DialOutcome::Failed);
                }
                Effect::StartDial(addr) => {
                    let before = this.dials.insert(addr, Dialling::Asking);
                    assert_eq!(before, None, "an address is dialled once at a time");
                }
                Effect::WakeDial(addr) => {
                    let state = this.dials.get_mut(&addr).unwrap();
                    if *state == Dialling::Lingering {
                        *state = Dialling::Asking;
                    }
                }
                Effect::TooManyDials(_) => panic!("there are not so many addresses"),
                Effect::Gossip {
                    connection,
                    message,
                } => {
                    this.waiting -= 1;
                    self.carry(node, connection, &message);
                }
                Effect::GossipLost(messages) => this.waiting -= messages,
                Effect::ReviveLanes(peer) => this.lanes.entry(peer).or_default().open = true,
                Effect::ShutLanes { peer, .. } => this.lanes.entry(peer).or_default().open = false,
                Effect::RestartLanes(peer) => this.lanes.entry(peer).or_default().run = None,
            }
        }
    }
}
