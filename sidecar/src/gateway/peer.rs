use std::fmt;
use std::net::SocketAddr;

use tokio::net::unix::UCred;

use super::certificate_names::CertificateNames;

/// Who is at the other end of a connection, as far as the connection itself shows it. What a client says
/// of itself is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) origin: Origin,
    /// The names in the certificate that it proved to own, signed by an authority that was configured
    /// for clients.
    pub(super) certificate: Option<Box<CertificateNames>>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Over the network.
    Network(SocketAddr),
    /// From a process on this machine, as the system says who it was when it connected.
    Process {
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
        /// Its number, where the system tells it. Another process may have it by now.
        pid: Option<i32>,
    },
}

impl Peer {
    pub(super) fn network(addr: SocketAddr) -> Self {
        Self {
            origin: Origin::Network(addr),
            certificate: None,
        }
    }

    pub(super) fn process(credentials: &UCred) -> Self {
        let origin = Origin::Process {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
        };
        Self {
            origin,
            certificate: None,
        }
    }

    /// Its address, for who shows it: all zeros for one that has none.
    pub(super) fn addr(&self) -> SocketAddr {
        match self.origin {
            Origin::Network(addr) => addr,
            Origin::Process { .. } => SocketAddr::from(([0; 4], 0)),
        }
    }

    /// Its IP address, if it has one.
    pub(super) fn ip(&self) -> Option<String> {
        match self.origin {
            Origin::Network(addr) => Some(addr.ip().to_canonical().to_string()),
            Origin::Process { .. } => None,
        }
    }
}

/// For the log.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Network(addr) => write!(f, "{addr}")?,
            Origin::Process { uid, gid, pid } => {
                write!(f, "uid={uid} gid={gid}")?;
                if let Some(pid) = pid {
                    write!(f, " pid={pid}")?;
                }
            }
        }
        match &self.certificate {
            Some(names) => write!(f, " {names}"),
            None => Ok(()),
        }
    }
}
