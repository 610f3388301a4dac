use serde::Deserialize;
use tidings::{Scope, ScopeError};

/// What a client says of itself in CONNECT. Fields it leaves out, and clients that send no CONNECT,
/// get what the NATS server gives them. Fields that are not here are ignored, and so are credentials
/// that name no scope: there is no authentication.
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
    /// Who the client is.
    pub(super) user: Option<String>,
    /// By what the client shows who it is. What stands before the host in an address, if there is no
    /// password, comes here with most clients.
    pub(super) auth_token: Option<String>,
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
            user: None,
            auth_token: None,
            lang: None,
            version: None,
        }
    }
}

impl ConnectOptions {
    /// The scope that the client asks for, if it does, or the text that is none.
    pub(super) fn scope(&self) -> Option<Result<Scope, (&str, ScopeError)>> {
        let mut given = [&self.user, &self.auth_token].into_iter().flatten();
        let name = given.find_map(|text| text.strip_prefix(SCOPE))?;
        Some(Scope::parse(name).map_err(|error| (name, error)))
    }
}

/// What stands before the name of a scope. Every client can say who its user is, and no user will be
/// called so.
const SCOPE: &str = "scope=";
