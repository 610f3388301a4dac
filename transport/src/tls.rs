//! How links are encrypted and who may form one.
//!
//! TLS 1.3 only, with certificates on both sides. There are no session tickets and no resumption,
//! so no early data either: each link proves anew who its ends are. The name of a peer comes from
//! its certificate, which must belong to this cluster even when the authority serves several, and
//! must not be revoked.

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
use tidings_identity::{ClusterName, Identity, NodeId, Revocations, Subject, Validity};

use crate::CloseCode;

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

/// Both roles of an endpoint, and who says in both whether a certificate will do.
pub(crate) struct Tls {
    pub(crate) server: QuicServerConfig,
    pub(crate) client: QuicClientConfig,
    pub(crate) verifier: Arc<ClusterVerifier>,
}

/// What TLS needs of an identity. Nobody is let in whose certificate is among `revocations`.
pub(crate) fn configs(
    identity: &Identity,
    revocations: &Revocations,
    time: Arc<dyn TimeProvider>,
) -> Result<Tls, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions = &[&rustls::version::TLS13];
    let roots = || identity.roots();
    let verifier = Arc::new(ClusterVerifier {
        cluster: identity.cluster().clone(),
        revocations: revocations.clone(),
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
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_auth_cert(identity.chain(), identity.key())
        .map_err(TlsError::Certificate)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();

    Ok(Tls {
        server: server.try_into().map_err(TlsError::Suite)?,
        client: client.try_into().map_err(TlsError::Suite)?,
        verifier,
    })
}

/// What the certificate says that the peer has proved to own in the handshake: its name, and from
/// when until when it is valid.
pub(crate) fn peer(connection: &quinn::Connection) -> Option<(NodeId, Validity)> {
    let (subject, validity) = Subject::with_validity(chain(connection)?.first()?).ok()?;
    Some((subject.node, validity))
}

/// The certificates that the peer has shown.
fn chain(connection: &quinn::Connection) -> Option<Vec<CertificateDer<'static>>> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(*chain)
}

/// The stock verification, and after it: is this a node of our cluster, and not revoked?
#[derive(Debug)]
pub(crate) struct ClusterVerifier {
    cluster: ClusterName,
    revocations: Revocations,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl ClusterVerifier {
    /// Why the other end of a connection would not be let in again; none if it would. That it may
    /// be early for its certificate does not count: the clock was right once.
    pub(crate) fn objection(
        &self,
        connection: &quinn::Connection,
        now: UnixTime,
    ) -> Option<CloseCode> {
        let chain = chain(connection);
        let Some((end_entity, intermediates)) = chain.as_deref().and_then(<[_]>::split_first)
        else {
            return Some(CloseCode::Unauthenticated);
        };
        // The certificate of every node is good for both roles.
        use CertificateError::*;
        match self.verify_client_cert(end_entity, intermediates, now) {
            Ok(_) => None,
            Err(rustls::Error::InvalidCertificate(error)) => match error {
                NotValidYet | NotValidYetContext { .. } => None,
                Revoked => Some(CloseCode::Revoked),
                Expired | ExpiredContext { .. } => Some(CloseCode::Expired),
                _ => Some(CloseCode::Unauthenticated),
            },
            Err(_) => Some(CloseCode::Unauthenticated),
        }
    }

    /// Whether it is of a node of this cluster and not revoked. The peer is told `access_denied`,
    /// which nothing else in a handshake causes, or `certificate_revoked`.
    fn check_node(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let (subject, validity) = match Subject::with_validity(certificate) {
            Ok(read) if read.0.cluster == self.cluster => read,
            _ => return Err(CertificateError::ApplicationVerificationFailure.into()),
        };
        let not_before = validity.not_before();
        if self.revocations.is_revoked(&subject.node, not_before) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(())
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
        self.check_node(end_entity)?;
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
        // The node first, so that one of another cluster is refused as that, and not for the name
        // it was dialled under.
        let verified = self.servers.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Ok(verified) => self.check_node(end_entity).map(|()| verified),
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }),
            )) => {
                self.check_node(end_entity)?;
                Err(error.into())
            }
            Err(error) => Err(error),
        }
    }

    signatures_as!(servers);
}

const ALPN: &[u8] = b"tidings/1";
