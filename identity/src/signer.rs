use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;
use rustls::{SignatureScheme, crypto::ring};

/// Signs with the key of a node's certificate, so that whoever trusts its authority can check that
/// the node said something, whoever passes it on. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    key: Arc<dyn SigningKey>,
    chain: Arc<[CertificateDer<'static>]>,
}

/// A signature of a node's key, with what is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How it was made: a signature scheme of TLS 1.3.
    pub scheme: u16,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

/// The key could not sign.
#[derive(Debug, thiserror::Error)]
#[error("the node's private key cannot sign")]
pub struct SignError(#[source] Option<rustls::Error>);

impl Signer {
    pub(crate) fn new(key: Arc<dyn SigningKey>, chain: &[CertificateDer<'static>]) -> Self {
        Self {
            key,
            chain: chain.into(),
        }
    }

    /// The node's certificate, then the intermediates, if any.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The signature of these bytes.
    ///
    /// # Errors
    /// When the key is of a kind that no signature scheme is known for, or fails.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let schemes: Vec<SignatureScheme> = algorithms.mapping.iter().map(|(of, _)| *of).collect();
        let signer = self.key.choose_scheme(&schemes).ok_or(SignError(None))?;
        let bytes = signer
            .sign(message)
            .map_err(|error| SignError(Some(error)))?;
        Ok(Signature {
            scheme: signer.scheme().into(),
            bytes,
        })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}
