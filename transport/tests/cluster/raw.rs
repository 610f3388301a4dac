use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pki_types::pem::PemObject;
use tidings_identity::NodeCertificate;
use tidings_transport::CloseCode;

use super::{Cluster, Node};

/// A client that speaks QUIC but not our rules.
pub(crate) struct Raw {
    endpoint: quinn::Endpoint,
}

impl Raw {
    pub(crate) fn new(
        cluster: &Cluster,
        certificate: Option<&NodeCertificate>,
        alpn: &str,
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let ca = cluster.authority.certificate_pem();
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut client = match certificate {
            None => builder.with_no_client_auth(),
            Some(node) => {
                let chain = CertificateDer::from_pem_slice(node.certificate_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(node.key_pem.as_bytes());
                builder
                    .with_client_auth_cert(vec![chain.unwrap()], key.unwrap())
                    .unwrap()
            }
        };
        client.alpn_protocols = vec![alpn.into()];
        let client = QuicClientConfig::try_from(client).unwrap();
        let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));
        Self { endpoint }
    }

    /// Begins to connect to whatever is there.
    pub(crate) fn begin(&self, to: SocketAddr) -> quinn::Connecting {
        self.endpoint.connect(to, "node.c").unwrap()
    }

    pub(crate) async fn connect(
        &self,
        to: &Node,
    ) -> Result<quinn::Connection, quinn::ConnectionError> {
        self.begin(to.transport.advertise()).await
    }

    /// Sends bytes on the control stream and returns the code that the node closes with.
    pub(crate) async fn say(&self, to: &Node, bytes: &[u8]) -> Option<CloseCode> {
        self.say_and(to, bytes, |_| ()).await
    }

    /// The same, and ends the stream behind them.
    pub(crate) async fn say_at_last(&self, to: &Node, bytes: &[u8]) -> Option<CloseCode> {
        let end = |send: &mut quinn::SendStream| send.finish().unwrap();
        self.say_and(to, bytes, end).await
    }

    async fn say_and(
        &self,
        to: &Node,
        bytes: &[u8],
        then: impl FnOnce(&mut quinn::SendStream),
    ) -> Option<CloseCode> {
        let connection = self.connect(to).await.unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        then(&mut send);
        match connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                CloseCode::from_number(close.error_code.into_inner())
            }
            other => panic!("not closed by the node: {other}"),
        }
    }
}
