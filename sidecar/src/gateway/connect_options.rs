use serde::Deserialize;
use serde_json::Value;
use tidings::{Scope, ScopeError};

use super::client_error::ClientError;
use crate::identities::Claim;

/// What a client says of itself in CONNECT. Fields it leaves out, and clients that send no CONNECT,
/// get what the NATS server gives them. Fields that are not here are ignored.
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
    /// What else it shows for who it is, until that is known.
    #[serde(skip)]
    shown: Option<Box<Shown>>,
    /// What the client is written in.
    pub(super) lang: Option<String>,
    /// The version of the client's library.
    pub(super) version: Option<String>,
}

/// By what a client shows who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Shown {
    /// A token. What stands before the host in an address, if there is no password, comes here with most clients.
    auth_token: Option<String>,
    /// The password of the user.
    pass: Option<String>,
    /// The public key of the client.
    nkey: Option<String>,
    /// What it has signed with it: the nonce that it was told.
    sig: Option<String>,
    /// What accounts of the NATS server give their users; not served.
    jwt: Option<Value>,
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
            shown: None,
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
        let said = Value::Object(said.collect());
        let shown = Shown::deserialize(&said).map_err(|_| ClientError::Malformed)?;
        let mut options: Self = serde_json::from_value(said).map_err(|_| ClientError::Malformed)?;
        options.shown = (shown != Shown::default()).then(|| Box::new(shown));
        if options.no_responders && !options.headers {
            Err(ClientError::NoRespondersWithoutHeaders)
        } else {
            Ok(options)
        }
    }

    /// All that the client shows for who it is, having been told this nonce, what is asked for first coming first.
    pub(super) fn claims<'a>(&'a self, nonce: Option<&'a str>) -> impl Iterator<Item = Claim<'a>> {
        fn given(text: Option<&String>) -> Option<&str> {
            text.map(String::as_str).filter(|text| !text.is_empty())
        }
        let shown = self.shown.as_deref();
        let signature = given(shown.and_then(|own| own.sig.as_ref()));
        let password = given(shown.and_then(|own| own.pass.as_ref()));
        let nkey = given(shown.and_then(|own| own.nkey.as_ref())).map(|key| Claim::Nkey {
            key,
            signature: signature.unwrap_or_default(),
            nonce: nonce.unwrap_or_default(),
        });
        let user = given(self.user.as_ref()).map(|user| Claim::Password {
            user,
            password: password.unwrap_or_default(),
        });
        let token = given(shown.and_then(|own| own.auth_token.as_ref())).map(Claim::Token);
        let has_jwt = shown.is_some_and(|own| own.jwt.as_ref().is_some_and(|jwt| jwt != ""));
        let jwt = has_jwt.then_some(Claim::Unknown);
        [nkey, user, token, jwt].into_iter().flatten()
    }

    /// Keeps no secret of the client.
    pub(super) fn forget_secrets(&mut self) {
        self.shown = None;
    }

    /// The scope that the client asks for, if it does, or the text that is none.
    pub(super) fn scope(&self) -> Option<Result<Scope, (&str, ScopeError)>> {
        let token = self
            .shown
            .as_deref()
            .and_then(|own| own.auth_token.as_ref());
        let mut given = self.user.iter().chain(token);
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
        assert_eq!(read(r#"{"echo":null,"whatever":7}"#), read("{}"));
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
