//! A member of a cluster that means harm: it has a good certificate, and says what it likes.
//!
//! All of it is written after docs/protocol.md and shares nothing with the nodes: TLS and QUIC apart,
//! their code and its own have to agree.

mod bucket;
mod heard;
mod hearsay;
pub mod letter;
mod link;
mod mask;
mod run;
mod value;
mod voice;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use tokio::time::timeout;

pub use bucket::{bucket_key, bucket_text};
pub use heard::Heard;
pub use hearsay::Hearsay;
pub use link::{Closed, RogueLink};
pub use mask::Mask;
pub use run::Run;
pub use value::Value;
pub use voice::Voice;

use crate::{Cluster, create_certificate};

/// A member that means harm.
#[derive(Debug)]
pub struct Rogue {
    /// The run of it that there is now.
    pub run: Run,
    cluster: String,
    endpoint: Endpoint,
    key: Arc<dyn SigningKey>,
    chain: Vec<CertificateDer<'static>>,
    links: AtomicU64,
}

impl Rogue {
    /// A member of this name, with a certificate of the cluster's authority. It is on the host, and
    /// dials but is not dialled.
    pub fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ca = cluster.directory().join("ca");
        create_certificate(&ca, directory.path(), name, &[])?;
        let file = |name: &str| directory.path().join(name);
        let chain =
            CertificateDer::pem_file_iter(file("node.pem"))?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(file("node-key.pem"))?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem"))?)?;
        let provider = Arc::new(ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        tls.alpn_protocols = vec![b"tidings/1".to_vec()];
        tls.resumption = Resumption::disabled();
        let mut limits = TransportConfig::default();
        limits.max_concurrent_bidi_streams(VarInt::from_u32(1));
        limits.max_concurrent_uni_streams(VarInt::from_u32(16));
        limits.max_idle_timeout(Some(IdleTimeout::try_from(Duration::from_secs(5))?));
        limits.keep_alive_interval(Some(Duration::from_secs(1)));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(limits));
        let mut endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        endpoint.set_default_client_config(config);
        // The host's own address among the nodes'.
        let node: SocketAddr = cluster.node(1)?.cluster.parse()?;
        let SocketAddr::V4(mut addr) = node else {
            anyhow::bail!("{node} is not of IPv4");
        };
        let [a, b, c, _] = addr.ip().octets();
        addr.set_ip(Ipv4Addr::new(a, b, c, 254));
        addr.set_port(endpoint.local_addr()?.port());
        let run = Run {
            node: name.to_owned(),
            incarnation: 1,
            addr: addr.into(),
        };
        Ok(Self {
            run,
            cluster: cluster.name().to_owned(),
            endpoint,
            key: ring::sign::any_supported_type(&key)?,
            chain,
            links: AtomicU64::new(0),
        })
    }

    /// Dials a node and says hello.
    ///
    /// # Errors
    /// With [`Closed`] as a cause when the node closes the connection before it is a link.
    pub async fn link(&self, addr: SocketAddr) -> Result<RogueLink> {
        let number = self.links.fetch_add(1, Relaxed) + 1;
        let attempt = self
            .endpoint
            .connect(addr, &format!("node.{}", self.cluster))?;
        let connection = timeout(PATIENCE, attempt).await.context("no answer")??;
        let opened = RogueLink::open(connection.clone(), &self.run, number).await;
        opened.map_err(|error| match connection.close_reason() {
            Some(reason) => match Closed::of(&reason) {
                Ok(closed) => closed.into(),
                Err(other) => other,
            },
            None => error,
        })
    }

    /// What it says of itself at first, as the node that it now is.
    pub fn voice(&self, buckets: u32) -> Result<Voice> {
        let (run, key) = (self.run.clone(), Arc::clone(&self.key));
        Voice::begin(&self.cluster, run, key, &self.chain, buckets)
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
