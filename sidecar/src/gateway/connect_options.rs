use serde::Deserialize;

/// What a client says of itself in CONNECT. Fields it leaves out, and clients that send no CONNECT,
/// get what the NATS server gives them. Fields that are not here are ignored, credentials among
/// them: there is no authentication.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ConnectOptions {
    /// Whether each operation is confirmed with `+OK`.
    pub(super) verbose: bool,
    /// Whether the client gets what it publishes itself, if it subscribes to it.
    pub(super) echo: bool,
    /// Whether the client understands HMSG.
    pub(super) headers: bool,
    /// Whether the client wants nothing but TLS.
    pub(super) tls_required: bool,
    /// What the client calls itself.
    pub(super) name: Option<String>,
    /// What the client is written in.
    pub(super) lang: Option<String>,
    /// The version of the client's library.
    pub(super) version: Option<String>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            verbose: true,
            echo: true,
            headers: false,
            tls_required: false,
            name: None,
            lang: None,
            version: None,
        }
    }
}
