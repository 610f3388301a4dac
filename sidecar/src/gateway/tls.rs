use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::info;

use super::certificate_names::CertificateNames;
use super::client_error::ClientError;
use super::end::End;
use super::peer::Peer;
use super::reply::TlsOffer;
use super::stream::Stream;
use crate::TlsConfig;

/// TLS as it is served to clients: which certificate the node shows, and whose it wants to see.
///
/// Versions 1.2 and 1.3 are spoken. Nothing is resumed: each connection proves anew who is there.
#[derive(Debug)]
pub(super) struct Tls {
    config: TlsConfig,
    /// What handshakes begin with from now on.
    server: ArcSwap<ServerConfig>,
}

/// Why there is no TLS for clients. Connections that are there go on, and a gateway that has TLS
/// already goes on with what it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A setting is of no use without another one.
    #[error("gateway.tls.{0}")]
    Config(&'static str),
    /// A file cannot be read, or is not PEM of the kind that is needed.
    #[error("gateway.tls.{setting}: cannot read {}", path.display())]
    Read {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("gateway.tls.{setting}: {} holds no certificate", path.display())]
    Empty {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The authorities cannot be used.
    #[error("gateway.tls.ca: the certificates cannot be used as authorities")]
    Authority(#[source] rustls::Error),
    /// The authorities cannot be used together.
    #[error("gateway.tls.ca: the certificates cannot be used as authorities")]
    Authorities(#[source] VerifierBuilderError),
    /// The certificate and the key cannot be used, or do not belong together.
    #[error("gateway.tls: the certificate and its key cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The process ends.
    #[error("the process is ending")]
    Ending,
}

/// How a client went on that was offered TLS.
pub(super) enum Secured {
    Tls(Box<TlsStream<TcpStream>>),
    /// In plain, as it may.
    Plain(TcpStream),
}

/// Why a client did not go on.
#[derive(Debug)]
pub(super) enum NotSecured {
    /// It said something else, or nothing in time, in plain; it can be told so.
    Plain(TcpStream),
    /// The socket failed.
    Socket(io::Error),
    /// The handshake failed, or took too long.
    Handshake(io::Error),
}

impl Tls {
    /// TLS as the config names it; none if it names none.
    pub(super) fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let server = server(config)?;
        Ok(server.map(|server| Self {
            config: config.clone(),
            server: ArcSwap::from_pointee(server),
        }))
    }

    /// Reads all files again, for handshakes from now on.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        if let Some(server) = server(&self.config)? {
            self.server.store(Arc::new(server));
        }
        Ok(())
    }

    /// What a client is told of it.
    pub(super) fn offer(&self) -> TlsOffer {
        TlsOffer {
            is_required: !self.config.allow_non_tls,
            is_verifying: self.config.ca.is_some() && self.config.verify,
        }
    }

    /// Whether TLS comes before anything is said.
    pub(super) fn is_first(&self) -> bool {
        self.config.handshake_first
    }

    /// Says the greeting, then lets the client begin TLS.
    pub(super) async fn secure(
        &self,
        mut stream: TcpStream,
        greeting: &mut BytesMut,
    ) -> Result<Secured, NotSecured> {
        let deadline = Instant::now() + self.config.timeout.get();
        let first_byte = async {
            while !greeting.is_empty() {
                stream.write_buf(greeting).await?;
            }
            let mut byte = [0];
            match stream.peek(&mut byte).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(byte[0]),
            }
        };
        match timeout_at(deadline, first_byte).await {
            Ok(Ok(HANDSHAKE)) => {}
            Ok(Err(error)) => return Err(NotSecured::Socket(error)),
            // Who may go on in plain may also take its time as others do.
            _ if self.config.allow_non_tls => return Ok(Secured::Plain(stream)),
            _ => return Err(NotSecured::Plain(stream)),
        }
        // Rarely there and large, so it has a place of its own.
        let handshake = Box::pin(TlsAcceptor::from(self.server.load_full()).accept(stream));
        match timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => Ok(Secured::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(NotSecured::Handshake(error)),
            Err(_) => Err(NotSecured::Handshake(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl NotSecured {
    /// Tells the log, and the client if that can be done.
    pub(super) async fn tell(self, peer: &Peer) {
        match self {
            Self::Plain(stream) => {
                let end = End::Refused(ClientError::TlsRequired);
                end.log(peer);
                end.close(&mut Stream::tcp(stream), BytesMut::new()).await;
            }
            Self::Socket(error) => End::from(error).log(peer),
            Self::Handshake(error) => {
                info!(%peer, %error, "a client did not get through the TLS handshake");
            }
        }
    }
}

/// What the client's certificate says, if it showed one.
pub(super) fn names(stream: &TlsStream<TcpStream>) -> Option<Box<CertificateNames>> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates()?.first()?;
    CertificateNames::read(certificate).map(Box::new)
}

fn server(config: &TlsConfig) -> Result<Option<ServerConfig>, TlsError> {
    let (cert, key) = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if config.ca.is_none() => return Ok(None),
        (None, _) => return Err(TlsError::Config("cert: is not set, but `key` or `ca` is")),
        (_, None) => return Err(TlsError::Config("key: is not set, but `cert` is")),
    };
    if config.handshake_first && config.allow_non_tls {
        let problem =
            "handshake_first: excludes allow_non_tls, since who is told nothing says nothing";
        return Err(TlsError::Config(problem));
    }
    let chain = certificates("cert", cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
        setting: "key",
        path: key.clone(),
        source,
    })?;
    let provider = Arc::new(ring::default_provider());
    let verifier = match &config.ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("ca", ca)? {
                roots.add(authority).map_err(TlsError::Authority)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
            let verifier = if config.verify {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            verifier.build().map_err(TlsError::Authorities)?
        }
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Some(server))
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|source| TlsError::Read {
        setting,
        path: path.to_owned(),
        source,
    })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty {
            setting,
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// What TLS begins with, and no operation of the protocol does.
const HANDSHAKE: u8 = 22;
