use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quinn::{ConnectionError, TransportErrorCode};
use rustls::AlertDescription;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::CloseCode;

/// Why one side would not have the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    cause: Cause,
    /// Whether the other side refused us.
    by_peer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// TLS said no, with this alert.
    Alert(u8),
    /// One of the two nodes said no.
    Code(CloseCode),
}

/// Tells people about refusals, once per address and reason in a while, so that a stranger who
/// keeps dialling does not flood the log.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    logged: Mutex<BTreeMap<(IpAddr, Refusal), Instant>>,
}

impl Refusal {
    /// We refuse the peer.
    pub(crate) fn ours(code: CloseCode) -> Self {
        Self {
            cause: Cause::Code(code),
            by_peer: false,
        }
    }

    /// The refusal that ended a connection, if it was one.
    pub(crate) fn from_error(error: &ConnectionError) -> Option<Self> {
        let (cause, by_peer) = match error {
            ConnectionError::TransportError(error) => (Cause::alert(error.code)?, false),
            ConnectionError::ConnectionClosed(close) => (Cause::alert(close.error_code)?, true),
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner())?;
                (Cause::Code(code), true)
            }
            _ => return None,
        };
        Some(Self { cause, by_peer })
    }

    /// Whether a connection ended because we found another node than the one that we dialled.
    pub(crate) fn is_of_another_name(error: &ConnectionError) -> bool {
        let alert = Cause::Alert(AlertDescription::BadCertificate.into());
        Self::from_error(error).is_some_and(|refusal| refusal.cause == alert && !refusal.by_peer)
    }

    /// Whether it points at something that somebody has to put right. The others are the course
    /// of things.
    pub(crate) fn concerns_people(&self) -> bool {
        use CloseCode::*;
        match self.cause {
            Cause::Alert(_) => true,
            Cause::Code(code) => {
                matches!(
                    code,
                    Version | Violation | Unauthenticated | NameTaken | Stale | Revoked | Expired
                )
            }
        }
    }
}

impl Cause {
    /// TLS alerts travel as error codes from 0x100 on.
    fn alert(code: TransportErrorCode) -> Option<Self> {
        let alert = u64::from(code).checked_sub(0x100)?;
        Some(Self::Alert(u8::try_from(alert).ok()?))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.by_peer { "our" } else { "its" };
        let alert = match self.cause {
            Cause::Code(code) => return code.fmt(f),
            Cause::Alert(alert) => AlertDescription::from(alert),
        };
        use AlertDescription::*;
        match alert {
            CertificateRequired => write!(f, "no certificate was presented"),
            UnknownCA | DecryptError => {
                write!(f, "{whose} certificate is not from the cluster's authority")
            }
            CertificateExpired => write!(f, "{whose} certificate is expired or not yet valid"),
            CertificateRevoked => write!(f, "{whose} certificate is revoked"),
            AccessDenied => write!(f, "{whose} certificate belongs to another cluster"),
            BadCertificate => write!(
                f,
                "{whose} certificate is not for the node that was dialled"
            ),
            UnsupportedCertificate => write!(f, "{whose} certificate is not for this purpose"),
            NoApplicationProtocol => write!(f, "it speaks another protocol (ALPN)"),
            other => write!(f, "tls alert {other:?}"),
        }
    }
}

impl RefusalLog {
    /// Writes one line, or none if the same was said a short while ago.
    pub(crate) fn log(&self, remote: SocketAddr, refusal: Refusal, detail: &dyn fmt::Display) {
        let now = Instant::now();
        // A stranger's port differs with each attempt.
        let key = (remote.ip(), refusal);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= LOGGED_MAX {
            logged.retain(|_, at| now.duration_since(*at) < SILENCE);
            if logged.len() >= LOGGED_MAX {
                // More strangers than we care to remember: rather say something twice.
                logged.clear();
            }
        }
        let recent = |at: &Instant| now.duration_since(*at) < SILENCE;
        if logged.get(&key).is_some_and(recent) {
            debug!(%remote, reason = %refusal, %detail, "handshake refused again");
            return;
        }
        logged.insert(key, now);
        drop(logged);
        if refusal.by_peer {
            warn!(%remote, reason = %refusal, %detail, "a peer refused our handshake");
        } else {
            warn!(%remote, reason = %refusal, %detail, "refused a peer's handshake");
        }
    }
}

/// How long a refusal is not mentioned again.
const SILENCE: Duration = Duration::from_secs(60);
const LOGGED_MAX: usize = 256;
