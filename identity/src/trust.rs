use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, SignatureScheme};

use crate::{ClusterName, Signature, Subject, SubjectError, Validity};

/// Whose certificates count in a cluster: those of its authorities. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    cluster: ClusterName,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// A certificate of the cluster that was checked, and whose signatures can be.
#[derive(Clone)]
pub struct Certified {
    subject: Subject,
    validity: Validity,
    public_key: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificates of the authorities cannot be used to check others.
#[derive(Debug, thiserror::Error)]
#[error("the certificates of the authorities cannot be used")]
pub struct AuthoritiesError(#[source] VerifierBuilderError);

/// Why a certificate does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is none.
    #[error("there is no certificate")]
    Empty,
    /// It is not of the cluster's authority, or not valid now, or not for a node.
    #[error("the certificate is not valid here and now")]
    Invalid(#[source] rustls::Error),
    /// It does not say which node it is for.
    #[error("it is not a node certificate")]
    Subject(#[from] SubjectError),
    /// It is for another cluster.
    #[error("it is for the cluster {0}")]
    Cluster(ClusterName),
}

impl Trust {
    pub(crate) fn new(
        cluster: ClusterName,
        roots: Arc<RootCertStore>,
    ) -> Result<Self, AuthoritiesError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(AuthoritiesError)?;
        Ok(Self { cluster, verifier })
    }

    /// Checks a node's certificate, which the intermediates that lead to the authority may follow.
    ///
    /// # Errors
    /// When it does not count at this time since the Unix epoch.
    pub fn check(
        &self,
        chain: &[CertificateDer<'_>],
        unix_time: Duration,
    ) -> Result<Certified, TrustError> {
        let (certificate, intermediates) = chain.split_first().ok_or(TrustError::Empty)?;
        let now = UnixTime::since_unix_epoch(unix_time);
        self.verifier
            .verify_client_cert(certificate, intermediates, now)
            .map_err(TrustError::Invalid)?;
        let (subject, validity, public_key) = Subject::with_key(certificate)?;
        if subject.cluster != self.cluster {
            return Err(TrustError::Cluster(subject.cluster));
        }
        Ok(Certified {
            subject,
            validity,
            public_key,
            algorithms: ring::default_provider().signature_verification_algorithms,
        })
    }
}

impl Certified {
    /// Which node it is for.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// From when until when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether the key of this certificate signed these bytes.
    pub fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        let scheme = SignatureScheme::from(signature.scheme);
        let mapping = self.algorithms.mapping.iter();
        mapping
            .filter(|(of, _)| *of == scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .any(|algorithm| {
                let verified =
                    algorithm.verify_signature(&self.public_key, message, &signature.bytes);
                verified.is_ok()
            })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified")
            .field("subject", &self.subject)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, Signer};

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn authority(cluster: &str) -> Authority {
        let validity = Validity::starting(NOW, HOUR).unwrap();
        Authority::create(&cluster.parse().unwrap(), validity).unwrap()
    }

    fn identity(authority: &Authority, node: &str) -> Identity {
        let validity = Validity::between(NOW, NOW + HOUR).unwrap();
        let node = authority.issue(&node.parse().unwrap(), validity).unwrap();
        let ca = authority.certificate_pem();
        Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).unwrap()
    }

    fn chain(signer: &Signer) -> Vec<CertificateDer<'static>> {
        signer.chain().to_vec()
    }

    #[test]
    fn what_a_node_signed_is_known_by_its_certificate() {
        let authority = authority("c");
        let (one, other) = (identity(&authority, "n1"), identity(&authority, "n2"));
        let trust = other.trust().unwrap();
        let certified = trust.check(&chain(&one.signer()), NOW).unwrap();
        assert_eq!(certified.subject().node.as_str(), "n1");
        let validity = Validity::between(NOW, NOW + HOUR).unwrap();
        assert_eq!(certified.validity(), validity);
        let signature = one.signer().sign(b"so it is").unwrap();
        assert!(certified.has_signed(b"so it is", &signature));
        assert!(!certified.has_signed(b"so it was", &signature));
        let forged = other.signer().sign(b"so it is").unwrap();
        assert!(!certified.has_signed(b"so it is", &forged));
        let unknown = Signature {
            scheme: 0,
            ..signature
        };
        assert!(!certified.has_signed(b"so it is", &unknown));
    }

    #[test]
    fn a_certificate_counts_in_its_cluster_and_its_time_only() {
        let of_c = authority("c");
        let node = identity(&of_c, "n1");
        let trust = node.trust().unwrap();
        let signer = node.signer();
        assert!(trust.check(&chain(&signer), NOW).is_ok());
        for time in [NOW - 2 * HOUR, NOW + 2 * HOUR] {
            let refused = trust.check(&chain(&signer), time);
            assert!(matches!(refused, Err(TrustError::Invalid(_))));
        }
        assert!(matches!(trust.check(&[], NOW), Err(TrustError::Empty)));
        let stranger = identity(&authority("c"), "n1").signer();
        let refused = trust.check(&chain(&stranger), NOW);
        assert!(matches!(refused, Err(TrustError::Invalid(_))));
    }
}
