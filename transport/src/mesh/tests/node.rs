use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tidings_identity::{Incarnation, NodeId, NodeRun};

use crate::LinkNumber;
use crate::mesh::Mesh;

/// A node: its mesh, and what its shell would hold.
pub(super) struct Node {
    pub(super) run: NodeRun,
    pub(super) mesh: Mesh<usize>,
    pub(super) kept: BTreeMap<usize, NodeRun>,
    /// Whom it has kept or found where, ever.
    pub(super) believed: BTreeSet<(usize, SocketAddr)>,
    pub(super) dials: BTreeMap<SocketAddr, Dialling>,
    pub(super) lanes: BTreeMap<NodeId, Lanes>,
    /// Messages that wait for a dial.
    pub(super) waiting: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dialling {
    Asking,
    Attempting(usize),
    Lingering,
}

/// What the lanes to a peer were told.
#[derive(Default)]
pub(super) struct Lanes {
    pub(super) open: bool,
    /// The run that has been sent frames since the last restart.
    pub(super) run: Option<Incarnation>,
    /// Of the last link.
    pub(super) number: LinkNumber,
}

impl Node {
    pub(super) fn new(node: usize, incarnation: Incarnation, place: usize) -> Self {
        let name = char::from(b'a' + node as u8).to_string();
        let run = NodeRun::new(name.parse().unwrap(), incarnation, addr_of(place));
        Self {
            mesh: Mesh::new(&run, run.addr),
            run,
            kept: BTreeMap::new(),
            believed: BTreeSet::new(),
            dials: BTreeMap::new(),
            lanes: BTreeMap::new(),
            waiting: 0,
        }
    }
}

/// Places are told by their ports.
pub(super) fn addr_of(place: usize) -> SocketAddr {
    ([10, 0, 0, 1], place as u16 + 1).into()
}

pub(super) fn place_of(addr: SocketAddr) -> usize {
    usize::from(addr.port()) - 1
}
