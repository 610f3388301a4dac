use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::gateway::Advertise;
use crate::identities::{Identities, IdentitiesConfig};
use serde::{Deserialize, Deserializer, Serialize};
use tidings::{ConfigError, Count, Identity, IdentityError, MailboxConfig, Overflow, Scope, Time};

use crate::mcp::McpConfig;
use crate::{FileMode, TlsConfig, mailbox};

/// How a sidecar runs: its node, and its doors. Every field has a default, so that
/// `Config::default()` is a node on its own with doors on loopback.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Where clients connect, in the NATS client protocol. Default `127.0.0.1:4222`; none closes
    /// the gateway.
    pub client: Option<SocketAddr>,
    /// Where HTTP is served. Default `127.0.0.1:8222`; none closes it.
    pub http: Option<SocketAddr>,
    /// How HTTP is served. In a file these settings stand beside `http`.
    #[serde(flatten)]
    pub http_server: HttpConfig,
    /// The directory with `ca.pem`, `node.pem` and `node-key.pem`, and `revoked.list` if there is
    /// one. It is read again when something in it was written. Default none: the node runs alone.
    pub tls_dir: Option<PathBuf>,
    /// The client gateway.
    pub gateway: GatewayConfig,
    /// Who may use the doors. In a file these settings stand beside those above.
    #[serde(flatten)]
    pub access: IdentitiesConfig,
    /// The node. In a file its settings stand beside those above.
    #[serde(flatten)]
    pub node: tidings::Config,
}

/// How HTTP is served.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HttpConfig {
    /// Connections at a time. Default 64, 1 to 65,536, and never more than an eighth of the files
    /// that the process may have open. When all are taken, a newcomer gets the place of the oldest
    /// that is idle. Half of them may be those of watchers and of agents that wait by MCP, which are never idle.
    pub http_connections_max: Count<1, 65_536>,
    /// Names under which the node may be asked while `http` is on loopback, besides `localhost` and
    /// IP addresses. Default none. Each further name has to be one that nobody else can lead to this
    /// machine, or else pages of others in a browser here can read the answers.
    pub http_hosts: Vec<String>,
    /// The node as an MCP server, at `/mcp`.
    pub mcp: McpConfig,
    /// The scope of identities whose role names none. No setting of its own: it is that of the gateway.
    #[serde(skip)]
    pub scope: Scope,
    /// Who may ask. No setting of its own: a [sidecar](crate::Sidecar) makes it of [`Config::access`].
    #[serde(skip)]
    pub identities: Identities,
}

/// The client gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// The scope in which clients publish and subscribe. Default `default`.
    pub scope: Scope,
    /// How often a client is asked for a sign of life. Default 2 min, 10 ms to
    /// a day.
    pub ping_interval: Time<10, 86_400_000>,
    /// After how many unanswered questions a client's connection is closed. Default 2, 1 to
    /// 100.
    pub pings_out_max: Count<1, 100>,
    /// How long a client may take from connecting to its CONNECT. Default 5 s, 10 ms to
    /// 10 min.
    pub connect_timeout: Time<10, 600_000>,
    /// How long a client may pause within an operation, as in a payload of which it has sent a part
    /// that the node holds. Default 30 s, 10 ms to 1 h.
    pub operation_timeout: Time<10, 3_600_000>,
    /// Who may connect. No setting of its own: a [sidecar](crate::Sidecar) makes it of [`Config::access`].
    #[serde(skip)]
    pub identities: Identities,
    /// The longest line of the protocol, in bytes. Default 4,096, 512 to 1 MiB.
    pub line_bytes_max: Count<512, { 1 << 20 }>,
    /// Which addresses other nodes are told, so that their clients find this one when theirs is gone: up
    /// to 8 of `host:port`, or `none`. Default `auto`: where the gateway listens, if others can reach it there.
    pub advertise: Advertise,
    /// When the node drains, how long clients that were told so have to go by themselves. Default 3 s, at
    /// most 1 h.
    pub lame_duck_grace: Time<0, 3_600_000>,
    /// Over which time those are closed that are left then, one after the other. Default 30 s, at
    /// most 1 h. A shorter one brings more of them to the other nodes at a time.
    pub lame_duck_duration: Time<0, 3_600_000>,
    /// TLS for those who connect over the network. Default none.
    pub tls: TlsConfig,
    /// Where clients on this machine connect by a Unix socket: the path of its file. Default none.
    pub unix: Option<PathBuf>,
    /// Who may use that file. Default `0600`: processes of the same user.
    pub unix_mode: FileMode,
    /// Where clients connect by WebSocket, under any path. Default none: they do at `http`, under `/nats`.
    pub websocket: Option<SocketAddr>,
    /// The pages that may connect by WebSocket, by what browsers say as `Origin`, such as
    /// `https://app.example`. Default none. What is no page in a browser always may.
    pub origins: Vec<String>,
    /// What may wait for a client that reads slowly. By default it is disconnected when more does.
    #[serde(deserialize_with = "client_mailbox")]
    pub mailbox: MailboxConfig,
}

impl Config {
    /// The identity of the node, if it has one.
    ///
    /// # Errors
    /// When there is no whole one in the directory that the config names.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        self.tls_dir.as_deref().map(Identity::load).transpose()
    }

    /// Checks what the types cannot, for a node with this identity.
    ///
    /// # Errors
    /// The first value that does not hold.
    pub fn check(&self, identity: Option<&Identity>) -> Result<(), ConfigError> {
        self.node.check(identity)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client: Some((Ipv4Addr::LOCALHOST, 4222).into()),
            http: Some((Ipv4Addr::LOCALHOST, 8222).into()),
            http_server: HttpConfig::default(),
            tls_dir: None,
            gateway: GatewayConfig::default(),
            access: IdentitiesConfig::default(),
            node: tidings::Config::default(),
        }
    }
}

fn client_mailbox<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MailboxConfig, D::Error> {
    mailbox::over(deserializer, GatewayConfig::default().mailbox)
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            http_connections_max: Count::of::<64>(),
            http_hosts: Vec::new(),
            mcp: McpConfig::default(),
            scope: Scope::default(),
            identities: Identities::default(),
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            ping_interval: Time::of_ms::<120_000>(),
            pings_out_max: Count::of::<2>(),
            connect_timeout: Time::of_ms::<5_000>(),
            operation_timeout: Time::of_ms::<30_000>(),
            identities: Identities::default(),
            line_bytes_max: Count::of::<4096>(),
            advertise: Advertise::Auto,
            lame_duck_grace: Time::of_ms::<3_000>(),
            lame_duck_duration: Time::of_ms::<30_000>(),
            tls: TlsConfig::default(),
            unix: None,
            unix_mode: FileMode::OWNER,
            websocket: None,
            origins: Vec::new(),
            mailbox: MailboxConfig {
                overflow: Overflow::Disconnect,
                ..MailboxConfig::default()
            },
        }
    }
}
