use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, ensure};
use tidings::{Authority, RevocationList};

/// What is in the directory of an authority.
#[derive(Debug)]
pub(crate) struct AuthorityDir {
    pub(crate) authority: Authority,
    /// The newest list that it has signed, if it has signed any.
    pub(crate) revoked: Option<RevocationList>,
}

/// The file with what is revoked, in the directory of an authority and in that of a node.
pub(crate) const REVOKED: &str = "revoked.list";

impl AuthorityDir {
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path).with_context(|| {
                format!(
                    "cannot read {}; `tidings tls ca create` makes an authority",
                    path.display()
                )
            })
        };
        let authority = Authority::from_pem(&read("ca.pem")?, &read("ca-key.pem")?)
            .with_context(|| format!("the authority in {} is of no use", directory.display()))?;
        let path = directory.join(REVOKED);
        let revoked = match std::fs::read(&path) {
            Ok(bytes) => {
                let list = RevocationList::parse(&bytes)
                    .with_context(|| format!("{} is of no use", path.display()))?;
                let is_ours = authority.public_key() == Some(*list.authority())
                    && authority.cluster() == list.cluster();
                ensure!(
                    is_ours,
                    "{} is of another authority; put the newest list of this one in its place, as any \
                     of its nodes has it in its data directory",
                    path.display()
                );
                Some(list)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self { authority, revoked })
    }
}
