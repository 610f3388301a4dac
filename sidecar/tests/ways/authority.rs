use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tidings_sidecar::TlsConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority of somebody's own, and the files of what it has signed.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let authority = Self {
            directory: tempfile::tempdir().unwrap(),
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        };
        std::fs::write(authority.ca(), authority.issuer.pem()).unwrap();
        authority
    }

    /// The file with its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Files with a certificate for this name and its key.
    pub(crate) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let email = SanType::Rfc822Name(format!("{name}@example.com").try_into().unwrap());
        params.subject_alt_names.push(email);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Agents, Inc.");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end| self.directory.path().join(format!("{name}{end}"));
        std::fs::write(file(".pem"), certificate.pem()).unwrap();
        std::fs::write(file("-key.pem"), key.serialize_pem()).unwrap();
        (file(".pem"), file("-key.pem"))
    }

    /// TLS with a certificate of this authority.
    pub(crate) fn tls(&self) -> TlsConfig {
        let (cert, key) = self.issue("server");
        TlsConfig {
            cert: Some(cert),
            key: Some(key),
            ..TlsConfig::default()
        }
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.ca()).unwrap()
    }

    /// What a client of it trusts, and what it shows if it is of this name.
    pub(crate) fn client(&self, name: Option<&str>) -> ClientConfig {
        self.client_of(self, name)
    }

    /// The same for who trusts another one.
    pub(crate) fn client_of(&self, server: &Self, name: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(server.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some(name) = name else {
            return config.with_no_client_auth();
        };
        let (cert, key) = self.issue(name);
        let cert = CertificateDer::from_pem_file(cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        config.with_client_auth_cert(vec![cert], key).unwrap()
    }
}

/// The handshake of a client.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: ClientConfig,
    stream: S,
) -> std::io::Result<TlsStream<S>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
