use bytes::Bytes;

use super::connection::{Connection, Side};
use super::node::addr_of;
use super::world::World;
use crate::mesh::Mesh;

/// What must hold.
impl World {
    pub(super) fn assert_at_rest(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.waiting, 0, "nothing waits for ever");
            assert!(node.dials.is_empty() && node.mesh.dials.is_empty());
            for peer in 0..n {
                let other = &self.nodes[peer];
                let [link, other_link] = [self.links(n, peer), self.links(peer, n)];
                assert_eq!(link, other_link, "both agree");
                let kept = node.kept.contains_key(&peer) || other.kept.contains_key(&n);
                assert!(link.len() == 1 || link.is_empty() && !kept, "{link:?}");
                let of_mesh = |mesh: &Mesh<usize>, peer| {
                    let mut all = mesh.peers();
                    all.find(|(name, _)| *name == peer)
                        .and_then(|(_, link)| link)
                };
                let link = link.first().copied();
                assert_eq!(of_mesh(&node.mesh, &other.run.node), link);
                assert_eq!(of_mesh(&other.mesh, &node.run.node), link);
                if let Some(link) = link {
                    let [dialler, acceptor] = &self.connections[link].sides;
                    assert_eq!(dialler.number, acceptor.number);
                }
            }
            for peer in node.kept.values() {
                assert!(node.lanes[&peer.node].open);
            }
        }
        let open = |c: &&Connection| c.sides.iter().any(|side| side.open);
        for connection in self.connections.iter().filter(open) {
            assert!(connection.sides.iter().all(|side| side.open && side.up));
        }
    }

    pub(super) fn assert_nobody_waits_for_lingering(&self) {
        for node in &self.nodes {
            for addr in node.dials.keys() {
                assert_eq!(node.mesh.target(*addr), None);
            }
        }
    }

    pub(super) fn assert_link_is_to_kept_run(&self, node: usize, peer: usize) {
        let links = self.links(node, peer);
        assert!(links.len() <= 1, "one replaces the other");
        let Some(kept) = self.nodes[node].kept.get(&peer) else {
            return;
        };
        for link in links {
            let [own, _] = self.ends(node, link);
            let peer = self.connections[link].sides[own].peer.as_ref().unwrap();
            assert!(
                peer.incarnation >= kept.incarnation,
                "a link to an earlier run"
            );
        }
    }

    /// A message went over a link, which must be up and to the node it was meant for.
    pub(super) fn carry(&self, node: usize, connection: usize, message: &Bytes) {
        let [own, other] = self.ends(node, connection);
        let [own, other] = [own, other].map(|s| &self.connections[connection].sides[s]);
        assert!(own.known && own.up && !own.evicted);
        // A peer that has restarted will not get it. One that was kept or found at a place is
        // believed to be there.
        let place: usize = message[0].into();
        let is_there = self.places[place] == Some(other.node);
        let believed = &self.nodes[node].believed;
        let is_believed_there = believed.contains(&(other.node, addr_of(place)));
        assert!(
            is_there || is_believed_there || !other.open,
            "gossip went to a wrong peer"
        );
    }

    /// The connections that are a link to `peer` for `node`.
    pub(super) fn links(&self, node: usize, peer: usize) -> Vec<usize> {
        let all = self.connections.iter().enumerate();
        let is_link = |sides: &[Side; 2], own: usize| {
            let [own, other] = [&sides[own], &sides[1 - own]];
            own.up && own.open && own.node == node && other.node == peer
        };
        let links = all.filter(|(_, c)| is_link(&c.sides, 0) || is_link(&c.sides, 1));
        links.map(|(id, _)| id).collect()
    }

    /// Which side of a connection is this node's, and which is not.
    pub(super) fn ends(&self, node: usize, connection: usize) -> [usize; 2] {
        let is_own = |side: &usize| self.connections[connection].sides[*side].node == node;
        let own = (0..2).find(is_own).unwrap();
        [own, 1 - own]
    }
}
