use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidings_identity::{Signer, Trust};

/// With what a node vouches for its own words, and checks those of others.
#[derive(Clone)]
pub struct Credentials {
    /// Signs what the node says.
    pub signer: Signer,
    /// Whose certificates count.
    pub trust: Trust,
    /// Tells the wall-clock time since the Unix epoch, at which certificates are to be valid.
    pub unix_time: UnixTime,
}

/// Tells the wall-clock time since the Unix epoch.
pub type UnixTime = Arc<dyn Fn() -> Duration + Send + Sync>;

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("signer", &self.signer)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
