//! How links are encrypted and who may form one.
//!
//! TLS 1.3 only, with certificates on both sides. There are no session tickets and no resumption,
//! so no early data either: each link proves anew who its ends are. The name of a peer comes from
//! its certificate, which must belong to this cluster even when the authority serves several.

use std::sync::Arc;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tidings_identity::{ClusterName, Identity, NodeId, Subject};

/// Why the identity cannot be used for links.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificates of the authorities cannot be used.
    #[error("the authority's certificate cannot be used")]
    Roots(#[source] VerifierBuilderError),
    /// The node's certificate and key cannot be used.
    #[error("the node's certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The cryptography lacks what QUIC needs.
    #[error("the cryptography lacks the cipher suite of quic")]
    Suite(#[source] NoInitialCipherSuite),
}

/// Both roles of an endpoint.
pub(crate) fn configs(
    identity: &Identity,
    time: Arc<dyn TimeProvider>,
) -> Result<(QuicServerConfig, QuicClientConfig), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions = &[&rustls::version::TLS13];
    let roots = || identity.roots();
    let verifier = Arc::new(ClusterVerifier {
        cluster: identity.cluster().clone(),
        clients: WebPkiClientVerifier::builder_with_provider(roots(), provider.clone())
            .build()
            .map_err(TlsError::Roots)?,
        servers: WebPkiServerVerifier::builder_with_provider(roots(), provider.clone())
            .build()
            .map_err(TlsError::Roots)?,
    });

    let mut server = rustls::ServerConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(versions)
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(identity.chain(), identity.key())
        .map_err(TlsError::Certificate)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;

    let mut client = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(versions)
        .map_err(TlsError::Certificate)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(identity.chain(), identity.key())
        .map_err(TlsError::Certificate)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();

    Ok((
        server.try_into().map_err(TlsError::Suite)?,
        client.try_into().map_err(TlsError::Suite)?,
    ))
}

/// The name in the certificate that the peer has proved to own in the handshake.
pub(crate) fn peer_name(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(Subject::from_der(chain.first()?).ok()?.node)
}

/// The stock verification, and after it: is this a node of our cluster?
#[derive(Debug)]
struct ClusterVerifier {
    cluster: ClusterName,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl ClusterVerifier {
    /// The peer is told `access_denied`, which nothing else in a handshake causes.
    fn check_cluster(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match Subject::from_der(certificate) {
            Ok(subject) if subject.cluster == self.cluster => Ok(()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

/// The part of both verifiers that is left to a stock one.
macro_rules! signatures_as {
    ($stock:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.$stock
                .verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.$stock
                .verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.$stock.supported_verify_schemes()
        }
    };
}

impl ClientCertVerifier for ClusterVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .clients
            .verify_client_cert(end_entity, intermediates, now)?;
        self.check_cluster(end_entity)?;
        Ok(verified)
    }

    signatures_as!(clients);
}

impl ServerCertVerifier for ClusterVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The cluster first, so that a node of another one is refused as that, and not for the
        // name it was dialled under.
        let verified = self.servers.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Ok(verified) => self.check_cluster(end_entity).map(|()| verified),
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }),
            )) => {
                self.check_cluster(end_entity)?;
                Err(error.into())
            }
            Err(error) => Err(error),
        }
    }

    signatures_as!(servers);
}

const ALPN: &[u8] = b"tidings/1";
