use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a client connects: `host:port`, the host a name or an address, which if it is of IPv6 stands in
/// brackets. That anybody is there is not promised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientAddr(Box<str>);

/// Where the clients of a node connect, as it says itself, and whether they should look for another node
/// because it is going to leave. By default the node says of no address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientDoor {
    addrs: Vec<ClientAddr>,
    is_draining: bool,
}

/// Why a text or a list says of no address for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientDoorError {
    /// Not `host:port`.
    #[error("{0:?} is not host:port, such as 10.0.0.1:4222")]
    Addr(String),
    /// More addresses than a node says.
    #[error("{0} addresses are more than the {CLIENT_ADDRS_MAX} that a node tells of itself")]
    TooMany(usize),
}

/// How many addresses for clients a node tells of itself.
pub const CLIENT_ADDRS_MAX: usize = 8;

impl ClientAddr {
    /// Parses an address. Whether the host exists is not looked at.
    ///
    /// # Errors
    /// When the text is not `host:port`.
    pub fn parse(text: &str) -> Result<Self, ClientDoorError> {
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        match text.rsplit_once(':') {
            Some((host, port)) if is_host(host) && is_port(port) => Ok(Self(text.into())),
            _ => Err(ClientDoorError::Addr(text.chars().take(64).collect())),
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name or address, without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        let port = self.0.rsplit_once(':').map(|(_, port)| port.parse());
        port.and_then(Result::ok).unwrap_or(0)
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return inner.is_some_and(|addr| addr.is_ok());
    }
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_plain)
}

impl ClientDoor {
    /// Clients connect here. While the node drains they should not.
    ///
    /// # Errors
    /// When there are more than [`CLIENT_ADDRS_MAX`].
    pub fn new(addrs: Vec<ClientAddr>, is_draining: bool) -> Result<Self, ClientDoorError> {
        if addrs.len() > CLIENT_ADDRS_MAX {
            return Err(ClientDoorError::TooMany(addrs.len()));
        }
        Ok(Self { addrs, is_draining })
    }

    /// The addresses, of which any does.
    pub fn addrs(&self) -> &[ClientAddr] {
        &self.addrs
    }

    /// Whether the node is going to leave, and takes no new clients.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// The same addresses of a node that takes no new clients any more.
    #[must_use]
    pub fn draining(&self) -> Self {
        let addrs = self.addrs.clone();
        Self {
            addrs,
            is_draining: true,
        }
    }

    /// What the node writes of it: its addresses, after a word if it drains, a space between.
    pub(crate) fn write(&self) -> String {
        let mark = self.is_draining.then_some(DRAINING);
        let words = mark
            .into_iter()
            .chain(self.addrs.iter().map(ClientAddr::as_str));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Reads what a node has written.
    pub(crate) fn read(text: &str) -> Result<Self, ClientDoorError> {
        let mut words = text.split(' ').filter(|_| !text.is_empty()).peekable();
        let is_draining = words.next_if_eq(&DRAINING).is_some();
        let addrs = words.take(CLIENT_ADDRS_MAX + 1).map(ClientAddr::parse);
        Self::new(addrs.collect::<Result<_, _>>()?, is_draining)
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(addr.to_string().into())
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClientAddr {
    type Err = ClientDoorError;

    fn from_str(text: &str) -> Result<Self, ClientDoorError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ClientAddr {
    type Error = ClientDoorError;

    fn try_from(text: String) -> Result<Self, ClientDoorError> {
        Self::parse(&text)
    }
}

impl From<ClientAddr> for String {
    fn from(addr: ClientAddr) -> Self {
        addr.0.into()
    }
}

/// Stands before the addresses of a node that drains. It has no port, so it is none of them.
const DRAINING: &str = "ldm";

/// The longest host: that of a DNS name.
const HOST_BYTES_MAX: usize = 253;

/// The longest text, in bytes.
pub(crate) const CLIENT_DOOR_BYTES_MAX: usize =
    DRAINING.len() + CLIENT_ADDRS_MAX * (1 + HOST_BYTES_MAX + ":65535".len());

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> ClientAddr {
        ClientAddr::parse(text).unwrap()
    }

    #[test]
    fn what_is_written_reads_back_the_same_and_is_no_longer_than_is_promised() {
        let longest = addr(&format!("{}:65535", "h".repeat(HOST_BYTES_MAX)));
        let all = vec![longest; CLIENT_ADDRS_MAX];
        for addrs in [vec![], vec![addr("10.0.0.1:4222"), addr("[::1]:1")], all] {
            let door = ClientDoor::new(addrs, false).unwrap();
            for door in [door.clone(), door.draining()] {
                let text = door.write();
                assert_eq!(ClientDoor::read(&text).as_ref(), Ok(&door));
                assert!(text.len() <= CLIENT_DOOR_BYTES_MAX);
            }
        }
    }

    #[test]
    fn what_is_no_list_of_addresses_is_refused() {
        let many = ["h:1"; CLIENT_ADDRS_MAX + 1].join(" ");
        for text in [
            " ", "h:1 ", "h:1  h:2", "ldm ldm", "h:1 ldm", "h", "h:0", "h:70000", ":1", "[::g]:1",
            "::1:1", "h/x:1", "é:1", "a\n:1", &many,
        ] {
            assert!(ClientDoor::read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, host, port) in [
            ("[fe80::1]:4222", "fe80::1", 4222),
            ("node-1.example:1", "node-1.example", 1),
        ] {
            assert_eq!((addr(text).host(), addr(text).port()), (host, port));
        }
    }
}
