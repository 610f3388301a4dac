use std::net::{IpAddr, SocketAddr};

use super::letter::{long, short, text};

/// A run of a node, as gossip names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The node.
    pub node: String,
    /// Which run of it.
    pub incarnation: u64,
    /// The address that it advertises.
    pub addr: SocketAddr,
}

impl Run {
    /// As it is written in gossip.
    pub fn bytes(&self) -> Vec<u8> {
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) => [&[4], &ip.octets()[..]].concat(),
            IpAddr::V6(ip) => [&[6], &ip.octets()[..]].concat(),
        };
        let (name, port) = (text(&self.node), short(self.addr.port()));
        [name, long(self.incarnation), ip, port].concat()
    }
}
