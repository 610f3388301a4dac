use std::fmt;

use rustls::SignatureScheme;
use rustls::crypto::ring;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The public half of an authority's Ed25519 key, by which others know what it has signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityKey([u8; Self::BYTES]);

impl AuthorityKey {
    /// How long it is.
    pub const BYTES: usize = 32;

    /// These bytes as a key. That they are one shows only when a signature holds.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The key of a certificate in DER; none if it cannot be read or has a key of another kind.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let key = certificate.public_key();
        let is_ed25519 = key.algorithm.algorithm == OID_SIG_ED25519;
        let bytes = key.subject_public_key.data.as_ref();
        is_ed25519.then(|| bytes.try_into().ok().map(Self))?
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Whether it has signed this message so.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let is_ed25519 = |(scheme, _): &&(_, _)| *scheme == SignatureScheme::ED25519;
        let known = algorithms.mapping.iter().find(is_ed25519);
        known.is_some_and(|(_, algorithms)| {
            algorithms
                .iter()
                .any(|one| one.verify_signature(&self.0, message, signature).is_ok())
        })
    }
}

impl fmt::Display for AuthorityKey {
    /// Its first bytes, which tell it apart from others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
