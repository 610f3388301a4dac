use std::collections::BTreeMap;
use std::time::Duration;

use crate::subject::{self, SubjectError};
use crate::{AuthorityKey, ClusterName, NodeId, RevocationList, Validity};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SigningKey,
};
use rustls::pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The certificate authority of one cluster. Whoever holds its key decides who is a node.
///
/// Keys are Ed25519. It keeps no record of what it has issued, nor of what it has revoked: whoever
/// holds its key keeps the newest [`RevocationList`] beside it.
#[derive(Debug)]
pub struct Authority {
    cluster: ClusterName,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a node needs to prove who it is, as PEM.
#[derive(Clone)]
pub struct NodeCertificate {
    /// The certificate, issued by the cluster's authority.
    pub certificate_pem: String,
    /// Its private key (PKCS #8). Never leaves the node.
    pub key_pem: String,
}

/// Why a certificate could not be made or an authority not be read. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Creating or signing failed.
    #[error("cannot create the certificate")]
    Create(#[source] rcgen::Error),
    /// The private key of the authority cannot be read.
    #[error("cannot read the authority's private key")]
    Key(#[source] rcgen::Error),
    /// The authority's certificate is not PEM.
    #[error("cannot read the authority's certificate")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The authority's certificate is not one of ours.
    #[error("the certificate is not the authority of a cluster")]
    Subject(#[source] SubjectError),
    /// Key and certificate belong to different authorities.
    #[error("the private key does not belong to the authority's certificate")]
    KeyMismatch,
}

/// Why a node was not revoked. The list is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The list to go on from is of another authority, or for another cluster.
    #[error("the revocation list is not of this authority")]
    Foreign,
    /// The list names as many nodes as it can.
    #[error(
        "{max} nodes are revoked, which is all that a list can hold: make a new authority and move \
         the cluster to it",
        max = RevocationList::ENTRIES_MAX
    )]
    Full,
    /// The authority's key is not of the kind that lists are signed with.
    #[error("the authority's key is not Ed25519, so it cannot revoke")]
    Key,
    /// Signing failed.
    #[error("cannot sign the revocation list")]
    Sign(#[source] rcgen::Error),
}

impl Authority {
    /// Creates the authority of `cluster` with a new key.
    ///
    /// # Errors
    /// [`AuthorityError::Create`], which no input is known to cause.
    pub fn create(cluster: &ClusterName, validity: Validity) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(AuthorityError::Create)?;
        let mut params = params(&format!("{cluster} tidings authority"), validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&subject::cluster_uri(cluster))?];
        let certificate = params.self_signed(&key).map_err(AuthorityError::Create)?;
        Ok(Self {
            cluster: cluster.clone(),
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up an authority made earlier by [`Authority::create`].
    ///
    /// # Errors
    /// When either text cannot be read, is not of a cluster's authority, or the two do not belong
    /// together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(AuthorityError::Pem)?;
        let key = KeyPair::from_pem(key_pem).map_err(AuthorityError::Key)?;
        let cluster = subject::authority_cluster(&certificate, key.public_key_raw())
            .map_err(AuthorityError::Subject)?
            .ok_or(AuthorityError::KeyMismatch)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Create)?;
        Ok(Self {
            cluster,
            certificate_pem: certificate_pem.to_owned(),
            issuer,
        })
    }

    /// The cluster whose nodes it certifies.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The authority's certificate, which every node of the cluster needs.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key. Keep it away from the nodes.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Certifies `node` with a new key.
    ///
    /// It can be called any number of times for one name; all those certificates are good.
    ///
    /// # Errors
    /// [`AuthorityError::Create`], which no input is known to cause.
    pub fn issue(
        &self,
        node: &NodeId,
        validity: Validity,
    ) -> Result<NodeCertificate, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(AuthorityError::Create)?;
        let mut params = params(&self.cluster.node(node), validity);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every node both dials and accepts.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.subject_alt_names = vec![
            dns(&self.cluster.any_node())?,
            dns(&self.cluster.node(node))?,
            uri(&subject::node_uri(&self.cluster, node))?,
        ];
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(AuthorityError::Create)?;
        Ok(NodeCertificate {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Revokes `node` as of `unix_time`, since the Unix epoch: its certificates that begin then or
    /// before are void for whoever has the list that is returned, which goes on from `before`.
    ///
    /// `before` must be the newest list of this authority, or else what that one revoked is good
    /// again for new nodes, and nodes that know it refuse the new one.
    ///
    /// # Errors
    /// See [`RevokeError`].
    pub fn revoke(
        &self,
        before: Option<&RevocationList>,
        node: &NodeId,
        unix_time: Duration,
    ) -> Result<RevocationList, RevokeError> {
        let key = self.public_key().ok_or(RevokeError::Key)?;
        let is_ours =
            |list: &RevocationList| *list.authority() == key && *list.cluster() == self.cluster;
        if before.is_some_and(|list| !is_ours(list)) {
            return Err(RevokeError::Foreign);
        }
        let entries = before.into_iter().flat_map(RevocationList::entries);
        let entries = entries.map(|(node, at)| (node.clone(), at.as_secs()));
        let mut revoked: BTreeMap<_, _> = entries.collect();
        let at = revoked.entry(node.clone()).or_default();
        // A clock that has stepped back makes nothing good again.
        *at = unix_time.as_secs().max(*at);
        if revoked.len() > RevocationList::ENTRIES_MAX {
            return Err(RevokeError::Full);
        }
        let sequence = before.map_or(0, RevocationList::sequence).saturating_add(1);
        RevocationList::signed(key, &self.cluster, sequence, revoked, |list| {
            self.sign(list)
        })
        .map_err(RevokeError::Sign)
    }

    /// Its public key, if it is Ed25519, as that of every authority made here.
    pub fn public_key(&self) -> Option<AuthorityKey> {
        let key = self.issuer.key();
        let bytes = (key.algorithm() == &PKCS_ED25519).then(|| key.der_bytes().try_into().ok());
        bytes.flatten().map(AuthorityKey::from_bytes)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.issuer.key().sign(message)
    }
}

impl std::fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCertificate")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    // A common name holds at most 64 characters; it is for people only, nothing here reads it.
    name.push(
        DnType::CommonName,
        &common_name[..common_name.len().min(64)],
    );
    params.distinguished_name = name;
    params.not_before = validity.not_before.to_datetime();
    params.not_after = validity.not_after.to_datetime();
    params
}

fn dns(name: &str) -> Result<SanType, AuthorityError> {
    let name = name.try_into().map_err(AuthorityError::Create)?;
    Ok(SanType::DnsName(name))
}

fn uri(uri: &str) -> Result<SanType, AuthorityError> {
    let uri = uri.try_into().map_err(AuthorityError::Create)?;
    Ok(SanType::URI(uri))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Identity;

    fn year() -> Validity {
        let year = Duration::from_secs(365 * 86_400);
        Validity::starting(Duration::from_secs(1_800_000_000), year).unwrap()
    }

    #[test]
    fn an_issued_certificate_names_its_node_and_cluster() {
        let cluster: ClusterName = "prod.example".parse().unwrap();
        let authority = Authority::create(&cluster, year()).unwrap();
        let node = authority.issue(&"n1".parse().unwrap(), year()).unwrap();
        let identity = Identity::from_pem(
            authority.certificate_pem(),
            &node.certificate_pem,
            &node.key_pem,
        )
        .unwrap();
        assert_eq!(identity.name().as_str(), "n1");
        assert_eq!(identity.cluster(), &cluster);
    }

    #[test]
    fn an_authority_read_back_issues_as_before() {
        let authority = Authority::create(&"c".parse().unwrap(), year()).unwrap();
        let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
        assert_eq!(again.cluster(), authority.cluster());
        let node = again.issue(&"n2".parse().unwrap(), year()).unwrap();
        let identity = Identity::from_pem(
            authority.certificate_pem(),
            &node.certificate_pem,
            &node.key_pem,
        );
        assert_eq!(identity.unwrap().name().as_str(), "n2");
    }

    #[test]
    fn the_key_of_another_authority_is_refused() {
        let one = Authority::create(&"c".parse().unwrap(), year()).unwrap();
        let other = Authority::create(&"c".parse().unwrap(), year()).unwrap();
        let refused = Authority::from_pem(one.certificate_pem(), &other.key_pem());
        assert!(matches!(refused, Err(AuthorityError::KeyMismatch)));
    }

    #[test]
    fn revocations_add_up_and_never_go_back() {
        let authority = Authority::create(&"c".parse().unwrap(), year()).unwrap();
        let (n1, n2): (NodeId, NodeId) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let at = Duration::from_secs;
        let first = authority.revoke(None, &n1, at(10)).unwrap();
        let second = authority.revoke(Some(&first), &n2, at(20)).unwrap();
        let third = authority.revoke(Some(&second), &n1, at(5)).unwrap();
        assert_eq!(third.revoked_at(&n1), Some(at(10)));
        assert_eq!(third.revoked_at(&n2), Some(at(20)));
        assert_eq!([&first, &second, &third].map(|l| l.sequence()), [1, 2, 3]);
        let other = Authority::create(&"c".parse().unwrap(), year()).unwrap();
        let foreign = other.revoke(Some(&third), &n1, at(30));
        assert!(matches!(foreign, Err(RevokeError::Foreign)));
    }

    #[test]
    fn a_full_list_says_what_to_do() {
        let authority = Authority::create(&"c".parse().unwrap(), year()).unwrap();
        let name = |n: usize| format!("n{n}").parse::<NodeId>().unwrap();
        let entries = (0..RevocationList::ENTRIES_MAX).map(|n| (name(n), 1));
        let key = authority.public_key().unwrap();
        let full = RevocationList::signed(key, authority.cluster(), 1, entries.collect(), |list| {
            authority.sign(list)
        });
        let full = full.unwrap();
        let again = authority.revoke(Some(&full), &name(7), Duration::from_secs(9));
        assert_eq!(again.unwrap().sequence(), 2);
        let refused = authority.revoke(Some(&full), &name(500), Duration::from_secs(9));
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("make a new authority"), "{told}");
    }

    #[test]
    fn the_longest_names_fit_a_certificate() {
        let cluster: ClusterName = format!("{}.{}", "x".repeat(50), "y".repeat(49))
            .parse()
            .unwrap();
        let name: NodeId = "z".repeat(63).parse().unwrap();
        let authority = Authority::create(&cluster, year()).unwrap();
        let node = authority.issue(&name, year()).unwrap();
        let identity = Identity::from_pem(
            authority.certificate_pem(),
            &node.certificate_pem,
            &node.key_pem,
        );
        assert_eq!(identity.unwrap().name(), &name);
    }
}
