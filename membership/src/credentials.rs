use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_identity::{Certified, Revocations, Signer, Trust};

/// With what a node vouches for its own words, and checks those of others.
#[derive(Clone)]
pub struct Credentials {
    /// Signs what the node says.
    pub signer: Signer,
    /// Whose certificates count.
    pub trust: Trust,
    /// Whose do not any more.
    pub revocations: Revocations,
    /// Tells the wall-clock time since the Unix epoch, at which certificates are to be valid.
    pub unix_time: UnixTime,
}

/// Tells the wall-clock time since the Unix epoch.
pub type UnixTime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The credentials as they are now: they are renewed while the node runs. A node on its own has none,
/// is heard by nobody and hears nobody.
#[derive(Debug, Clone)]
pub(crate) struct Keyring(Arc<Mutex<Option<Credentials>>>);

impl Credentials {
    /// Whether this certificate still counts.
    pub(crate) fn is_good(&self, certified: &Certified) -> bool {
        let (node, validity) = (&certified.subject().node, certified.validity());
        !validity.is_over((self.unix_time)())
            && !self.revocations.is_revoked(node, validity.not_before())
    }
}

impl Keyring {
    pub(crate) fn new(credentials: Option<Credentials>) -> Self {
        Self(Arc::new(Mutex::new(credentials)))
    }

    pub(crate) fn credentials(&self) -> Option<Credentials> {
        self.lock().clone()
    }

    pub(crate) fn renew(&self, credentials: Credentials) {
        *self.lock() = Some(credentials);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Credentials>> {
        // They are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("signer", &self.signer)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
