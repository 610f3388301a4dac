use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tidings::{ConfigError, Identity, Node, StartError};
use tokio::net::{TcpListener, TcpSocket};

use crate::gateway::{self, Clients, Gateway, TlsError, UnixDoor};
use crate::identities::{Identities, IdentitiesError};
use crate::tls_dir::{self, ReloadError, TlsDir};
use crate::{Config, GatewayConfig, HttpConfig, http};

/// A node with its doors, the client gateway and HTTP: what the `tidings` program runs.
///
/// Embedders who need no doors start a [`Node`].
#[derive(Debug, Clone)]
pub struct Sidecar {
    node: Node,
    client_addr: Option<SocketAddr>,
    web_socket_addr: Option<SocketAddr>,
    http_addr: Option<SocketAddr>,
    identities: Identities,
    tls_dir: Option<TlsDir>,
    clients: Clients,
    gateway: Option<Gateway>,
}

/// Listeners that nobody serves yet.
struct Doors {
    client: Option<TcpListener>,
    web_socket: Option<TcpListener>,
    unix: Option<UnixDoor>,
    http: Option<TcpListener>,
}

impl Sidecar {
    /// Starts a node with this identity on the machine's own network, and opens the doors that the
    /// config names. All of it ends when the [node](Self::node) leaves.
    ///
    /// The directory that the identity is from, if the config names one, is read again within a few
    /// seconds after something in it was written.
    ///
    /// The doors are bound before the node joins, so that an address in use is found out before
    /// others have heard of the node.
    ///
    /// # Errors
    /// See [`SidecarError`]; nothing is left running then.
    pub async fn start(config: Config, identity: Option<Identity>) -> Result<Self, SidecarError> {
        config.check(identity.as_ref())?;
        let identities = Identities::new(&config.access)?;
        let doors = Doors::bind(&config).await?;
        // Before others have heard of the node.
        gateway::check_tls(&config.gateway)?;
        let node = Node::start(config.node.clone(), identity).await?;
        let mut sidecar = doors.open(node, &config, identities)?;
        if let Some(path) = config.tls_dir {
            let tls_dir = TlsDir::new(path, sidecar.node.clone());
            sidecar.node.spawn(tls_dir.clone().follow());
            sidecar.tls_dir = Some(tls_dir);
        }
        Ok(sidecar)
    }

    /// Opens the doors that the config names for a node that runs already; what the config says of
    /// the node itself is left out.
    ///
    /// # Errors
    /// When a door cannot be bound; the node goes on.
    pub async fn open(node: Node, config: &Config) -> Result<Self, SidecarError> {
        let identities = Identities::new(&config.access)?;
        Doors::bind(config).await?.open(node, config, identities)
    }

    /// Who may use the doors, to put others in their place.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Reads certificate, key, authorities and revocations again, and goes on with them.
    ///
    /// # Errors
    /// See [`ReloadError`]; the node goes on as before then.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let tls_dir = self.tls_dir.as_ref().ok_or(ReloadError::None)?;
        tls_dir.reload().await
    }

    /// Reads all certificates again, those for [clients](Gateway::reload), too, and tells the log what
    /// came of it.
    pub async fn reload_and_tell(&self) {
        let with_tls = self.gateway.as_ref().filter(|gateway| gateway.has_tls());
        if self.tls_dir.is_some() || with_tls.is_none() {
            tls_dir::tell(&self.reload().await);
        }
        if let Some(gateway) = with_tls {
            gateway.reload_and_tell().await;
        }
    }

    /// The clients of its gateway, which can be sent to other nodes before this one leaves
    /// ([`Clients::drain`]).
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where clients connect; none if that door is closed.
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Where clients connect by WebSocket alone; none if there is no such door. They do where HTTP is
    /// served, too.
    pub fn web_socket_addr(&self) -> Option<SocketAddr> {
        self.web_socket_addr
    }

    /// Where HTTP is served; none if that door is closed.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }
}

impl Doors {
    async fn bind(config: &Config) -> Result<Self, SidecarError> {
        Ok(Self {
            client: bind("client", config.client)?,
            web_socket: bind("gateway.websocket", config.gateway.websocket)?,
            unix: bind_unix(&config.gateway).await?,
            http: bind("http", config.http)?,
        })
    }

    fn open(
        self,
        node: Node,
        config: &Config,
        identities: Identities,
    ) -> Result<Sidecar, SidecarError> {
        let addr = |listener: &Option<TcpListener>| {
            listener
                .as_ref()
                .map(TcpListener::local_addr)
                .transpose()
                .map_err(SidecarError::Address)
        };
        let (client_addr, http_addr) = (addr(&self.client)?, addr(&self.http)?);
        let web_socket_addr = addr(&self.web_socket)?;
        let is_open = self.client.is_some() || self.web_socket.is_some() || self.unix.is_some();
        let gateway_config = GatewayConfig {
            identities: identities.clone(),
            ..config.gateway.clone()
        };
        let gateway = is_open.then(|| Gateway::new(&node, gateway_config.clone(), client_addr));
        let gateway = gateway.transpose()?;
        if let Some(gateway) = &gateway {
            if let Some(listener) = self.client {
                gateway.serve(listener);
            }
            if let Some(listener) = self.web_socket {
                gateway.serve_web_socket(listener);
            }
            if let Some(unix) = self.unix {
                gateway.serve_unix(unix);
            }
        }
        let clients = match &gateway {
            Some(gateway) => gateway.clients().clone(),
            None => Clients::new(&node, gateway_config, None),
        };
        if let Some(listener) = self.http {
            let http = HttpConfig {
                identities: identities.clone(),
                scope: config.gateway.scope.clone(),
                ..config.http_server.clone()
            };
            match &gateway {
                Some(gateway) => http::serve_with_gateway(&node, listener, http, gateway),
                None => http::serve(&node, listener, http, &clients),
            }
        }
        Ok(Sidecar {
            node,
            client_addr,
            web_socket_addr,
            http_addr,
            identities,
            tls_dir: None,
            clients,
            gateway,
        })
    }
}

fn bind(door: &'static str, addr: Option<SocketAddr>) -> Result<Option<TcpListener>, SidecarError> {
    let Some(addr) = addr else { return Ok(None) };
    match listen(addr) {
        Ok(listener) => Ok(Some(listener)),
        Err(source) => Err(SidecarError::Bind { door, addr, source }),
    }
}

/// As [`TcpListener::bind`] does it, but with more room for those who wait to be accepted.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // What a node before this one left in TIME_WAIT keeps no address.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(ACCEPT_BACKLOG)
}

/// How many connections wait to be accepted, if the system lets so many (`net.core.somaxconn`). Whom
/// there is no room for, the system lets try again after a second.
const ACCEPT_BACKLOG: u32 = 1_024;

async fn bind_unix(config: &GatewayConfig) -> Result<Option<UnixDoor>, SidecarError> {
    let Some(path) = &config.unix else {
        return Ok(None);
    };
    match UnixDoor::bind(path, config.unix_mode).await {
        Ok(unix) => Ok(Some(unix)),
        Err(source) => Err(SidecarError::BindUnix {
            path: path.clone(),
            source,
        }),
    }
}

/// Why a sidecar did not start. Nothing of it is left running then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// The address of a door cannot be had.
    #[error("cannot listen on {addr} (the address `{door}`)")]
    Bind {
        /// Which door, as in the config: `client`, `http` or `gateway.websocket`.
        door: &'static str,
        /// Its address.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The path of the Unix socket cannot be had.
    #[error("cannot listen on {} (the path `gateway.unix`)", path.display())]
    BindUnix {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no TLS for clients as the config says.
    #[error("cannot serve TLS to clients")]
    Tls(#[from] TlsError),
    /// The system does not say which address was bound.
    #[error("cannot tell the address of a listener")]
    Address(#[source] io::Error),
    /// The config does not hold.
    #[error("invalid configuration")]
    Config(#[from] ConfigError),
    /// Who may connect.
    #[error("invalid configuration")]
    Identities(#[from] IdentitiesError),
    /// The node.
    #[error("the node did not start")]
    Node(#[from] StartError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_found_before_the_node_starts() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = taken.local_addr().unwrap();
        let config = Config {
            client: None,
            http: Some(addr),
            ..Config::default()
        };
        let error = Sidecar::start(config, None).await.unwrap_err();
        assert!(matches!(error, SidecarError::Bind { door: "http", addr: a, .. } if a == addr));
    }

    #[tokio::test]
    async fn a_door_can_stay_closed() {
        let any = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            client: Some(any),
            http: None,
            ..Config::default()
        };
        let sidecar = Sidecar::start(config, None).await.unwrap();
        assert!(sidecar.client_addr().is_some_and(|addr| addr.port() > 0));
        assert_eq!(sidecar.http_addr(), None);
        sidecar.node().leave().await;
    }
}
