use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::{self, PemObject};

use crate::subject::{Subject, SubjectError};
use crate::{
    AuthoritiesError, AuthorityKey, ClusterName, ForeignListError, NodeId, RevocationList,
    RevocationListError, Signer, Trust, Validity,
};

/// What a node presents to its peers, and whom it trusts.
///
/// Name and cluster are read from the certificate, so they cannot disagree with it. Whether the
/// certificate is valid now, and signed by the authority, is for the peers to check: a node with
/// an expired certificate starts and is refused by everybody.
pub struct Identity {
    subject: Subject,
    validity: Validity,
    roots: Arc<RootCertStore>,
    authorities: Vec<AuthorityKey>,
    revoked: Vec<RevocationList>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    signing: Arc<dyn SigningKey>,
}

/// Why an identity could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A text holds no PEM of the kind that is needed.
    #[error("{what} is not valid pem")]
    Pem {
        /// Which text, or file.
        what: String,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A text is PEM but holds no certificate.
    #[error("{what} holds no certificate")]
    Empty {
        /// Which text, or file.
        what: String,
    },
    /// The authority's certificate cannot serve as one.
    #[error("{what} cannot serve as a certificate authority")]
    Authority {
        /// Which text, or file.
        what: String,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// The node's certificate does not say which node of which cluster it is for.
    #[error("{what} is not a node certificate")]
    Subject {
        /// Which text, or file.
        what: String,
        /// What is missing.
        #[source]
        source: SubjectError,
    },
    /// The private key does not fit the certificate, or is of an unknown kind.
    #[error("{what} does not fit the node certificate")]
    Key {
        /// Which text, or file.
        what: String,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// What is to be a revocation list is none.
    #[error("{what} is not a revocation list")]
    Revoked {
        /// Which text, or file.
        what: String,
        /// What is wrong with it.
        #[source]
        source: RevocationListError,
    },
    /// A revocation list is for another cluster than the certificate.
    #[error("{what} is not for this cluster")]
    Foreign {
        /// Which text, or file.
        what: String,
        /// For which it is.
        #[source]
        source: ForeignListError,
    },
}

impl Identity {
    /// Reads an identity from PEM: the certificates of the authorities to trust (one, or two while
    /// the authority is being changed), the node's certificate with its intermediates if there are
    /// any, and its private key.
    ///
    /// # Errors
    /// When a text cannot be read or the three do not belong together.
    pub fn from_pem(ca: &str, certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let [ca_name, certificate_name, key_name] = [
            "the authority's certificate",
            "the node's certificate",
            "the node's private key",
        ];
        Self::read(
            (ca, ca_name),
            (certificate, certificate_name),
            (key, key_name),
        )
    }

    /// Reads an identity from `ca.pem`, `node.pem` and `node-key.pem` in `directory`, and what is
    /// revoked from `revoked.list` if it is there.
    ///
    /// # Errors
    /// As [`Identity::from_pem`], and when `revoked.list` holds anything but revocation lists of
    /// this cluster; every error names its file.
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        let text = |file: &str| {
            let path = directory.join(file);
            let name = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((text, name)),
                Err(source) => Err(IdentityError::File { path, source }),
            }
        };
        let (ca, ca_name) = text("ca.pem")?;
        let (certificate, certificate_name) = text("node.pem")?;
        let (key, key_name) = text("node-key.pem")?;
        let identity = Self::read(
            (&ca, &ca_name),
            (&certificate, &certificate_name),
            (&key, &key_name),
        )?;
        let path = directory.join("revoked.list");
        let lists = match std::fs::read(&path) {
            Ok(bytes) => RevocationList::parse_all(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(identity),
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        let what = path.display().to_string();
        match lists {
            Ok(lists) => identity
                .with_revoked(lists)
                .map_err(|source| IdentityError::Foreign { what, source }),
            Err(source) => Err(IdentityError::Revoked { what, source }),
        }
    }

    /// The same with what is known to be revoked besides. Lists of authorities that it does not
    /// trust mean nothing.
    ///
    /// # Errors
    /// When a list is for another cluster.
    pub fn with_revoked(mut self, lists: Vec<RevocationList>) -> Result<Self, ForeignListError> {
        lists
            .iter()
            .try_for_each(|list| list.check_cluster(self.cluster()))?;
        self.revoked.extend(lists);
        Ok(self)
    }

    /// The node's name.
    pub fn name(&self) -> &NodeId {
        &self.subject.node
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> &ClusterName {
        &self.subject.cluster
    }

    /// From when until when its certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The keys of the authorities that it trusts, of those that can revoke: whose keys are Ed25519.
    pub fn authorities(&self) -> &[AuthorityKey] {
        &self.authorities
    }

    /// What it brings along of what is revoked.
    pub fn revoked(&self) -> &[RevocationList] {
        &self.revoked
    }

    /// The certificates of the authorities that it trusts.
    pub fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// The node's certificate, then the intermediates that lead to the authority, if any.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key of the node's certificate.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// Signs in the name of the node.
    pub fn signer(&self) -> Signer {
        Signer::new(self.signing.clone(), &self.chain)
    }

    /// Whose certificates the node takes for those of nodes of its cluster.
    ///
    /// # Errors
    /// When the authorities' certificates cannot be used.
    pub fn trust(&self) -> Result<Trust, AuthoritiesError> {
        Trust::new(self.cluster().clone(), self.roots())
    }

    fn read(ca: Text<'_>, certificate: Text<'_>, key: Text<'_>) -> Result<Self, IdentityError> {
        let (mut roots, mut authorities) = (RootCertStore::empty(), Vec::new());
        for root in certificates(ca)? {
            authorities.extend(AuthorityKey::of_certificate(&root));
            roots.add(root).map_err(|source| IdentityError::Authority {
                what: ca.1.to_owned(),
                source,
            })?;
        }
        let chain = certificates(certificate)?;
        let (subject, validity) =
            Subject::with_validity(&chain[0]).map_err(|source| IdentityError::Subject {
                what: certificate.1.to_owned(),
                source,
            })?;
        let der = PrivateKeyDer::from_pem_slice(key.0.as_bytes()).map_err(|source| {
            IdentityError::Pem {
                what: key.1.to_owned(),
                source,
            }
        })?;
        let certified =
            CertifiedKey::from_der(chain.clone(), der.clone_key(), &ring::default_provider())
                .map_err(|source| IdentityError::Key {
                    what: key.1.to_owned(),
                    source,
                })?;
        Ok(Self {
            subject,
            validity,
            roots: Arc::new(roots),
            authorities,
            revoked: Vec::new(),
            chain,
            key: der,
            signing: certified.key,
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// A text and what to call it in an error.
type Text<'a> = (&'a str, &'a str);

/// At least one certificate.
fn certificates((text, what): Text<'_>) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| IdentityError::Pem {
            what: what.to_owned(),
            source,
        })?;
    if certificates.is_empty() {
        return Err(IdentityError::Empty {
            what: what.to_owned(),
        });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Authority, NodeCertificate, Validity};

    fn issued(node: &str) -> (Authority, NodeCertificate) {
        let now = Duration::from_secs(1_800_000_000);
        let validity = Validity::starting(now, Duration::from_secs(3600)).unwrap();
        let authority = Authority::create(&"c".parse().unwrap(), validity).unwrap();
        let certificate = authority.issue(&node.parse().unwrap(), validity).unwrap();
        (authority, certificate)
    }

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let message = || Identity::load(directory.path()).unwrap_err().to_string();
        let write = |file, text: &str| std::fs::write(directory.path().join(file), text).unwrap();
        let (authority, node) = issued("n1");

        assert!(message().contains("ca.pem"));
        write("ca.pem", authority.certificate_pem());
        assert!(message().contains("node.pem"));
        write("node.pem", "not a certificate");
        write("node-key.pem", "not a key");
        assert!(message().contains("node.pem"));
        write("node.pem", &node.certificate_pem);
        assert!(message().contains("node-key.pem"));
        write("node-key.pem", &node.key_pem);
        let identity = Identity::load(directory.path()).unwrap();
        assert_eq!(identity.name().as_str(), "n1");
        assert_eq!(identity.revoked(), []);

        let path = directory.path().join("revoked.list");
        std::fs::write(&path, "not a list").unwrap();
        assert!(message().contains("revoked.list is not a revocation list"));
        let at = Duration::from_secs(1_800_000_000);
        let list = authority.revoke(None, &"n2".parse().unwrap(), at).unwrap();
        std::fs::write(&path, list.as_bytes()).unwrap();
        let identity = Identity::load(directory.path()).unwrap();
        assert_eq!(identity.revoked(), [list]);
    }

    #[test]
    fn the_key_of_another_node_is_refused() {
        let (authority, node) = issued("n1");
        let (_, other) = issued("n1");
        let refused = Identity::from_pem(
            authority.certificate_pem(),
            &node.certificate_pem,
            &other.key_pem,
        );
        assert!(matches!(refused, Err(IdentityError::Key { .. })));
    }

    #[test]
    fn a_certificate_without_a_node_name_is_refused() {
        let (authority, node) = issued("n1");
        let ca = authority.certificate_pem();
        let refused = Identity::from_pem(ca, ca, &node.key_pem);
        assert!(matches!(refused, Err(IdentityError::Subject { .. })));
    }
}
