use std::net::SocketAddr;

use tidings::{Config, Node, Pattern, Scope};
use tidings_sidecar::gateway::{Gateway, UnixDoor};
use tidings_sidecar::{FileMode, GatewayConfig, HttpConfig, http};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::client::{Client, SOON};

/// A gateway of a node on its own.
pub(crate) struct Gate {
    pub(crate) node: Node,
    pub(crate) gateway: Gateway,
    /// Where it is reached over TCP.
    pub(crate) addr: SocketAddr,
}

impl Gate {
    pub(crate) async fn open(config: GatewayConfig) -> Self {
        Self::open_on(Config::default(), config).await
    }

    pub(crate) async fn open_on(node: Config, config: GatewayConfig) -> Self {
        let node = Node::start(node, None).await.unwrap();
        let (listener, addr) = listen().await;
        let gateway = Gateway::new(&node, config, Some(addr)).unwrap();
        gateway.serve(listener);
        Self {
            node,
            gateway,
            addr,
        }
    }

    /// A client that has connected in plain.
    pub(crate) async fn plain(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.addr).await.unwrap())
    }

    /// Where clients connect by WebSocket alone.
    pub(crate) async fn web_socket(&self) -> SocketAddr {
        let (listener, addr) = listen().await;
        self.gateway.serve_web_socket(listener);
        addr
    }

    /// Where HTTP is served, and WebSocket with it.
    pub(crate) async fn http(&self) -> SocketAddr {
        let (listener, addr) = listen().await;
        http::serve_with_gateway(&self.node, listener, HttpConfig::default(), &self.gateway);
        addr
    }

    pub(crate) async fn unix(&self, path: &std::path::Path) {
        let door = UnixDoor::bind(path, FileMode::OWNER).await.unwrap();
        self.gateway.serve_unix(door);
    }

    /// Waits until the topic has so many members.
    pub(crate) async fn members_become(&self, topic: &str, count: usize) {
        let wait = async {
            while self.members(topic) != count {
                sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let in_time = timeout(SOON, wait).await;
        let members = self.members(topic);
        assert!(
            in_time.is_ok(),
            "{topic} has {members} members, not {count}"
        );
    }

    pub(crate) fn members(&self, topic: &str) -> usize {
        let (scope, pattern) = (Scope::default(), Pattern::parse(topic).unwrap());
        self.node.local_members(&scope, &pattern).len()
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
