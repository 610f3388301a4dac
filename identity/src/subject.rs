use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{ClusterName, NameError, NodeId, Validity};

/// Which node of which cluster a certificate belongs to, read from its subject alternative names.
///
/// It says what the certificate claims; that a trusted authority signed it is checked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
}

/// Why a certificate does not say which node or cluster it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// The bytes are not a certificate.
    #[error("not an x509 certificate")]
    Encoding,
    /// No URI of the form that is needed, or more than one.
    #[error("the certificate must have exactly one uri of the form {form}")]
    Uri {
        /// The form.
        form: &'static str,
    },
    /// A name inside the URI is not valid.
    #[error("the uri of the certificate holds an invalid name")]
    Name(#[source] NameError),
    /// A DNS name that a node certificate must carry is missing.
    #[error("the certificate lacks the dns name {0}")]
    Dns(String),
}

impl Subject {
    /// Reads it from a certificate in DER.
    ///
    /// # Errors
    /// When the bytes are no certificate, or one that does not name exactly one node.
    pub fn from_der(der: &[u8]) -> Result<Self, SubjectError> {
        Self::with_validity(der).map(|(subject, _)| subject)
    }

    /// Reads it, and from when until when the certificate claims to be valid.
    ///
    /// # Errors
    /// As [`from_der`](Self::from_der).
    pub fn with_validity(der: &[u8]) -> Result<(Self, Validity), SubjectError> {
        Self::with_key(der).map(|(subject, validity, _)| (subject, validity))
    }

    /// Reads it, the validity, and the public key of the certificate.
    pub(crate) fn with_key(der: &[u8]) -> Result<(Self, Validity, Vec<u8>), SubjectError> {
        let names = Names::from_der(der)?;
        let form = "spiffe://<cluster>/node/<node>";
        let (cluster, node) = names
            .only_uri()
            .and_then(|uri| uri.split_once("/node/"))
            .ok_or(SubjectError::Uri { form })?;
        let subject = Self {
            node: node.parse().map_err(SubjectError::Name)?,
            cluster: cluster.parse().map_err(SubjectError::Name)?,
        };
        for dns in [
            subject.cluster.any_node(),
            subject.cluster.node(&subject.node),
        ] {
            if !names.dns.contains(&dns) {
                return Err(SubjectError::Dns(dns));
            }
        }
        Ok((subject, names.validity, names.public_key))
    }
}

/// The cluster of an authority's certificate, or `None` when its key is not `public_key`.
pub(crate) fn authority_cluster(
    der: &[u8],
    public_key: &[u8],
) -> Result<Option<ClusterName>, SubjectError> {
    let names = Names::from_der(der)?;
    let form = "spiffe://<cluster>";
    let cluster = names.only_uri().ok_or(SubjectError::Uri { form })?;
    let cluster = cluster.parse().map_err(SubjectError::Name)?;
    Ok((names.public_key == public_key).then_some(cluster))
}

pub(crate) fn node_uri(cluster: &ClusterName, node: &NodeId) -> String {
    format!("{SCHEME}{cluster}/node/{node}")
}

pub(crate) fn cluster_uri(cluster: &ClusterName) -> String {
    format!("{SCHEME}{cluster}")
}

/// The parts of a certificate that matter here.
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
    public_key: Vec<u8>,
    validity: Validity,
}

impl Names {
    fn from_der(der: &[u8]) -> Result<Self, SubjectError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| SubjectError::Encoding)?;
        let extension = certificate
            .subject_alternative_name()
            .map_err(|_| SubjectError::Encoding)?;
        let mut names = Self {
            dns: Vec::new(),
            uris: Vec::new(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            validity: Validity {
                not_before: certificate.validity().not_before,
                not_after: certificate.validity().not_after,
            },
        };
        for name in extension.iter().flat_map(|e| &e.value.general_names) {
            match name {
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        Ok(names)
    }

    /// What follows the scheme in the only URI, if it is the only one.
    fn only_uri(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [uri] => uri.strip_prefix(SCHEME),
            _ => None,
        }
    }
}

const SCHEME: &str = "spiffe://";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SanType};

    use super::*;

    fn certificate(dns: &[&str], uris: &[&str]) -> Vec<u8> {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        let dns = dns
            .iter()
            .map(|name| SanType::DnsName((*name).try_into().unwrap()));
        let uris = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = dns.chain(uris).collect();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_node_certificate_tells_node_and_cluster() {
        let der = certificate(&["node.c", "n1.node.c"], &["spiffe://c/node/n1"]);
        let subject = Subject::from_der(&der).unwrap();
        assert_eq!(subject.node.as_str(), "n1");
        assert_eq!(subject.cluster.as_str(), "c");
    }

    #[test]
    fn a_certificate_that_is_vague_about_its_node_is_refused() {
        let refused =
            |dns: &[&str], uris: &[&str]| Subject::from_der(&certificate(dns, uris)).unwrap_err();
        let dns = ["node.c", "n1.node.c"];
        assert!(matches!(refused(&dns, &[]), SubjectError::Uri { .. }));
        let two = ["spiffe://c/node/n1", "spiffe://c/node/n2"];
        assert!(matches!(refused(&dns, &two), SubjectError::Uri { .. }));
        let upper = ["spiffe://c/node/N1"];
        assert!(matches!(refused(&dns, &upper), SubjectError::Name(_)));
        let other = ["spiffe://c/node/n2"];
        assert_eq!(refused(&dns, &other), SubjectError::Dns("n2.node.c".into()));
        assert_eq!(Subject::from_der(b"no"), Err(SubjectError::Encoding));
    }
}
