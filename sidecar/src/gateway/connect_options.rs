use serde::Deserialize;
use serde_json::Value;
use tidings::{Scope, ScopeError};

use super::client_error::ClientError;

/// What a client says of itself in CONNECT. Fields it leaves out, and clients that send no CONNECT,
/// get what the NATS server gives them. Fields that are not here are ignored, and so are credentials
/// that name no scope: there is no authentication.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ConnectOptions {
    /// Whether each operation is confirmed with `+OK`.
    pub(super) verbose: bool,
    /// Whether the client is told when it publishes on what can be no subject.
    pub(super) pedantic: bool,
    /// Whether the client gets what it publishes itself, if it subscribes to it.
    pub(super) echo: bool,
    /// Whether the client understands HMSG.
    pub(super) headers: bool,
    /// Whether the client wants to be told when nobody listens, which takes headers.
    pub(super) no_responders: bool,
    /// Whether the client wants nothing but TLS.
    pub(super) tls_required: bool,
    /// Whether, from 1 on, the client understands that INFO comes again.
    pub(super) protocol: i64,
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
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            tls_required: false,
            protocol: 0,
            name: None,
            user: None,
            auth_token: None,
            lang: None,
            version: None,
        }
    }
}

impl ConnectOptions {
    /// Reads what a client says in CONNECT as the NATS server reads it: names in any case, of one that is
    /// there twice the last counts, and null says nothing.
    pub(super) fn read(json: &str) -> Result<Self, ClientError> {
        let Ok(Value::Object(said)) = serde_json::from_str(json) else {
            return Err(ClientError::Malformed);
        };
        let said = said.into_iter().filter(|(_, value)| !value.is_null());
        let said = said.map(|(name, value)| (name.to_ascii_lowercase(), value));
        let options: Self = serde_json::from_value(Value::Object(said.collect()))
            .map_err(|_| ClientError::Malformed)?;
        if options.tls_required {
            Err(ClientError::TlsNotServed)
        } else if options.no_responders && !options.headers {
            Err(ClientError::NoRespondersWithoutHeaders)
        } else {
            Ok(options)
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_read_as_the_nats_server_reads_it() {
        let read = |json| ConnectOptions::read(json);
        assert_eq!(read("{}"), Ok(ConnectOptions::default()));
        assert_eq!(read(r#"{"echo":null,"jwt":7}"#), read("{}"));
        let quiet = read(r#"{"verbose":false}"#);
        assert_eq!(read(r#"{"verbose":true,"verbose":false}"#), quiet);
        assert_eq!(read(r#"{"Verbose":false}"#), quiet);
        for malformed in ["", "[]", "null", r#"{"verbose":"no"}"#, r#"{"name":1}"#] {
            assert_eq!(read(malformed), Err(ClientError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn who_wants_to_be_told_that_nobody_listens_takes_headers() {
        let refused = Err(ClientError::NoRespondersWithoutHeaders);
        let read = |json| ConnectOptions::read(json);
        assert_eq!(read(r#"{"no_responders":true}"#), refused);
        assert!(read(r#"{"no_responders":true,"headers":true}"#).is_ok());
    }
}
