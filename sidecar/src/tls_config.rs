use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidings::Time;

/// TLS for clients. It is served when `cert` and `key` are set: to those who connect to `client` and to
/// `gateway.websocket`. The files are read when the gateway is opened, and again when it
/// [reloads](crate::gateway::Gateway::reload).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate that the node shows to clients, in PEM, with its intermediates after it. Default
    /// none: there is no TLS.
    pub cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    pub key: Option<PathBuf>,
    /// Authorities, in PEM, one of which has to have signed the certificates of clients. Default none:
    /// clients are not asked for one.
    pub ca: Option<PathBuf>,
    /// Whether a client without a certificate is refused, where clients are asked for one. Default true;
    /// one that does not hold is refused in any case.
    pub verify: bool,
    /// Whether clients may go on without TLS. Default false.
    pub allow_non_tls: bool,
    /// Whether TLS comes before `INFO`, as clients have to be told in their own settings. Default false:
    /// `INFO` is sent in plain, and TLS comes after it, which every client does by itself.
    pub handshake_first: bool,
    /// How long a client may take from connecting to the end of the handshake. Default 2 s, 10 ms to
    /// 10 min.
    pub timeout: Time<10, 600_000>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            ca: None,
            verify: true,
            allow_non_tls: false,
            handshake_first: false,
            timeout: Time::of_ms::<2_000>(),
        }
    }
}
