//! How links are encrypted and who may form one.
//!
//! TLS 1.3 only, with certificates on both sides. There are no session tickets and no resumption,
//! so no early data either: each link proves anew who its ends are. The name of a peer comes from
//! its certificate, which must belong to this cluster even when the authority serves several.

use std::sync::Arc;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tidings_bounds::Count;
use tidings_identity::{ClusterName, Identity, NodeId, Subject};

use crate::Config;
use crate::config::LANES_MAX;

/// Why the identity cannot be used for links.
#[derive(Debug, thiserror::Error)]
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

/// Both roles of an endpoint, ready for quinn.
pub(crate) fn configs(
    config: &Config,
    identity: &Identity,
    time: Arc<dyn TimeProvider>,
) -> Result<(quinn::ServerConfig, quinn::ClientConfig), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions = &[&rustls::version::TLS13];
    let verifier = Arc::new(ClusterVerifier {
        cluster: identity.cluster().clone(),
        clients: WebPkiClientVerifier::builder_with_provider(identity.roots(), provider.clone())
            .build()
            .map_err(TlsError::Roots)?,
        servers: WebPkiServerVerifier::builder_with_provider(identity.roots(), provider.clone())
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

    let transport = Arc::new(transport(config));
    let server = QuicServerConfig::try_from(server).map_err(TlsError::Suite)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(transport.clone());
    // A peer that moves dials anew. Migration would let whoever can replay its packets move it.
    server.migration(false);
    server.max_incoming(INCOMING_MAX);
    let client = QuicClientConfig::try_from(client).map_err(TlsError::Suite)?;
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    Ok((server, client))
}

/// The name in the certificate that the peer has proved to own in the handshake.
pub(crate) fn peer_name(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(Subject::from_der(chain.first()?).ok()?.node)
}

/// The limits of every link, both ways.
fn transport(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // The one bidirectional stream is the control stream; each lane is one unidirectional stream.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
    transport.max_concurrent_uni_streams(VarInt::from_u32(LANES_MAX.into()));
    transport.stream_receive_window(window(config.stream_window_bytes));
    transport.receive_window(window(config.link_window_bytes));
    transport.send_window(config.send_window_bytes.into());
    let idle = IdleTimeout::try_from(config.idle_timeout.get())
        .expect("an idle timeout within its bounds is far below what quic can say");
    transport.max_idle_timeout(Some(idle));
    transport.keep_alive_interval(Some(config.keep_alive.get()));
    // Nodes are usually near each other. It only matters until the first round trip is measured,
    // and sets how soon a lost first packet is sent again.
    transport.initial_rtt(INITIAL_RTT);
    // Few large packets instead of many small ones, where the path takes them.
    transport.mtu_discovery_config(Some(MtuDiscoveryConfig::default()));
    transport.datagram_receive_buffer_size(None);
    transport.congestion_controller_factory(Arc::new(CubicConfig::default()));
    transport
}

fn window<const MIN: usize, const MAX: usize>(bytes: Count<MIN, MAX>) -> VarInt {
    VarInt::try_from(u64::from(bytes)).expect("a window within its bounds is at most 1 GiB")
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.clients
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.supported_verify_schemes()
    }
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.servers
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.servers
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.servers.supported_verify_schemes()
    }
}

pub(crate) const ALPN: &[u8] = b"tidings/1";
const INITIAL_RTT: std::time::Duration = std::time::Duration::from_millis(20);
/// Connection attempts that may wait to be accepted. Beyond it quinn refuses further ones.
const INCOMING_MAX: usize = 1024;
