use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidings::{Identity, IdentityError, Node, RenewError};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info};

/// The directory with the certificates of a node, read again while the node runs.
#[derive(Debug, Clone)]
pub(crate) struct TlsDir {
    path: PathBuf,
    node: Node,
}

/// Why certificates were not read again. The node goes on with those that it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The node was started without a directory to read them from.
    #[error("this node has no directory with certificates")]
    None,
    /// The files cannot be read, or do not belong together.
    #[error(transparent)]
    Read(#[from] IdentityError),
    /// The node cannot use what is in them.
    #[error(transparent)]
    Renew(#[from] RenewError),
    /// The process ends.
    #[error("the process is ending")]
    Ending,
}

/// What shows that a file was written: when, how long it is, and which file it is.
type Mark = Option<(i64, i64, u64, u64)>;

impl TlsDir {
    pub(crate) fn new(path: PathBuf, node: Node) -> Self {
        Self { path, node }
    }

    /// Reads all files again, and goes on with what is in them.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let path = self.path.clone();
        // The directory may be on a disk that takes its time.
        let load = spawn_blocking(move || Identity::load(&path));
        let identity = load.await.map_err(|_| ReloadError::Ending)??;
        Ok(self.node.renew(&identity)?)
    }

    /// Reads the files again whenever they were written. Those of a certificate are several, so
    /// they are left alone until they have rested for one look.
    pub(crate) async fn follow(self) {
        let mut read = self.marks().await;
        let mut before = read;
        loop {
            sleep(PERIOD).await;
            let now = self.marks().await;
            if now == before && now != read {
                read = now;
                tell(&self.reload().await);
            }
            before = now;
        }
    }

    async fn marks(&self) -> [Mark; FILES.len()] {
        let path = self.path.clone();
        let marks = spawn_blocking(move || FILES.map(|file| mark(&path.join(file))));
        marks.await.unwrap_or_default()
    }
}

/// Tells the log what came of it.
pub(crate) fn tell(reloaded: &Result<(), ReloadError>) {
    match reloaded {
        Ok(()) => info!("certificates and revocations were read again"),
        Err(error) => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            error!(
                "the certificates were not read again, and those from before stay: {error}{}",
                cause.unwrap_or_default()
            );
        }
    }
}

fn mark(path: &Path) -> Mark {
    let file = std::fs::metadata(path).ok()?;
    Some((file.mtime(), file.mtime_nsec(), file.len(), file.ino()))
}

const FILES: [&str; 4] = ["ca.pem", "node.pem", "node-key.pem", "revoked.list"];
/// How often to look whether the files were written.
const PERIOD: Duration = Duration::from_secs(2);
