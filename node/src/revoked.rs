//! What is revoked, in the data directory: so a node that starts knows it before it has a link.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidings_identity::{
    ForeignListError, Identity, RevocationList, RevocationListError, Revocations,
};
use tokio::time::sleep;
use tracing::error;

/// The file in the data directory that holds the lists, one behind the other.
const FILE: &str = "revoked.list";

/// The identity, together with what an earlier run knew to be revoked.
pub(crate) fn recall(
    data_dir: Option<&Path>,
    identity: Identity,
) -> Result<Identity, RevokedError> {
    let Some(dir) = data_dir else {
        return Ok(identity);
    };
    let path = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(identity),
        Err(source) => return Err(RevokedError::Read { path, source }),
    };
    match RevocationList::parse_all(&bytes) {
        Ok(lists) => identity
            .with_revoked(lists)
            .map_err(|source| RevokedError::Foreign { path, source }),
        Err(source) => Err(RevokedError::Content { path, source }),
    }
}

/// Writes down what is revoked, whenever that changes.
pub(crate) async fn keep(data_dir: PathBuf, revocations: Revocations) {
    let mut watch = revocations.watch();
    let mut kept = Vec::new();
    loop {
        let lists = revocations.lists();
        let is_kept = lists == kept
            || {
                let written = write(&data_dir, &lists);
                if let Err(error) = &written {
                    let path = data_dir.join(FILE);
                    error!(
                        path = %path.display(),
                        %error,
                        "cannot write what is revoked, which this node so forgets when it ends; trying again"
                    );
                }
                written.is_ok()
            };
        if is_kept {
            kept = lists;
            watch.changed().await;
        } else {
            sleep(AGAIN).await;
        }
    }
}

fn write(dir: &Path, lists: &[RevocationList]) -> io::Result<()> {
    let bytes: Vec<_> = lists.iter().map(RevocationList::as_bytes).collect();
    // Written aside and renamed, so that a crash leaves the old lists or the new ones.
    let aside = dir.join("revoked.new");
    fs::write(&aside, bytes.concat())?;
    fs::rename(&aside, dir.join(FILE))
}

/// Why it is not known what was revoked. A node does not run then: it would let in who is shut out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokedError {
    /// The file is there and cannot be read.
    #[error("cannot read {path}, which holds what is revoked")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file has something else in it than revocation lists.
    #[error("{path} does not hold revocation lists; put that of the authority in its place")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RevocationListError,
    },
    /// The lists are for another cluster.
    #[error("{path} is not of this cluster; remove it if the node has moved to another one")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// For which they are.
        #[source]
        source: ForeignListError,
    },
}

/// After how long to try again to write.
const AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tidings_identity::{Authority, Validity};
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn authority(cluster: &str) -> (Authority, Identity) {
        let validity = Validity::starting(1_800_000_000 * SECOND, 3600 * SECOND).unwrap();
        let authority = Authority::create(&cluster.parse().unwrap(), validity).unwrap();
        let node = authority.issue(&"n1".parse().unwrap(), validity).unwrap();
        let ca = authority.certificate_pem();
        let identity = Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).unwrap();
        (authority, identity)
    }

    #[tokio::test]
    async fn what_was_revoked_is_known_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (authority, identity) = authority("c");
        let revocations = Revocations::new(&identity);
        let list = authority
            .revoke(None, &"n2".parse().unwrap(), 9 * SECOND)
            .unwrap();
        let learnt = async {
            revocations.learn(&list).unwrap();
            while !path.join(FILE).exists() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = keep(path.clone(), revocations.clone()) => {}
            written = timeout(20 * SECOND, learnt) => written.unwrap(),
        }
        let again = recall(Some(&path), identity).unwrap();
        assert_eq!(again.revoked(), [list]);
    }

    #[test]
    fn a_file_that_says_nothing_of_use_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let recall = |cluster| recall(Some(dir.path()), authority(cluster).1);
        assert_eq!(recall("c").unwrap().revoked(), []);
        fs::write(dir.path().join(FILE), "x").unwrap();
        let told = recall("c").unwrap_err().to_string();
        assert!(told.contains("revoked.list does not hold"), "{told}");
        let list = authority("c")
            .0
            .revoke(None, &"n2".parse().unwrap(), SECOND);
        write(dir.path(), &[list.unwrap()]).unwrap();
        let told = recall("other").unwrap_err().to_string();
        assert!(told.contains("is not of this cluster"), "{told}");
    }
}
