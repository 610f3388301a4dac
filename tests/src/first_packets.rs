use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::RootCertStore;
use rustls::crypto::ring;
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// First packets of QUIC connections: well formed, each of another connection, and such as anybody
/// can make who has no certificate. Half of them ask for a handshake, and half say goodbye at once.
#[derive(Debug)]
pub struct FirstPackets(Vec<Vec<u8>>);

/// First packets on their way, from many ports, with nothing after them and no answer read. It
/// ends when it is dropped.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    begun: Instant,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FirstPackets {
    /// Has a QUIC client make so many.
    pub async fn make(count: usize) -> Result<Self> {
        let config = client_config()?;
        let client = Endpoint::client("127.0.0.1:0".parse()?)?;
        let server = UdpSocket::bind("127.0.0.1:0").await?;
        let mut packets = HashMap::new();
        while packets.len() < count {
            let name = "node.cluster.example";
            let attempt = client.connect_with(config.clone(), server.local_addr()?, name)?;
            let (id, hello) = loop {
                let (id, packet) = next(&server).await?;
                // Else it is the goodbye of an earlier attempt.
                if !packets.contains_key(&id) {
                    break (id, packet);
                }
            };
            drop(attempt);
            if packets.len().is_multiple_of(2) {
                packets.insert(id, hello);
                continue;
            }
            let goodbye = loop {
                let (other, packet) = next(&server).await?;
                if other == id {
                    break packet;
                }
            };
            packets.insert(id, goodbye);
        }
        Ok(Self(packets.into_values().collect()))
    }

    /// Sends them again and again, so many a second to each address.
    pub fn flood(self, to: Vec<SocketAddr>, per_second: u64) -> Result<Flood> {
        let sockets = (0..SOCKETS).map(|_| StdUdpSocket::bind("0.0.0.0:0"));
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let (sent, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, end, begun) = (sent.clone(), over.clone(), Instant::now());
        let thread = thread::spawn(move || {
            let mut pairs = self.0.iter().cycle().zip(sockets.iter().cycle());
            while !end.load(Relaxed) {
                let due = begun.elapsed().as_micros() as u64 * per_second / 1_000_000;
                let overdue = due.saturating_sub(count.load(Relaxed));
                for (packet, socket) in pairs.by_ref().take(overdue as usize) {
                    for address in &to {
                        // One that finds no room is lost, as others are on the way.
                        let _ = socket.send_to(packet, address);
                    }
                    count.fetch_add(1, Relaxed);
                }
                thread::sleep(PAUSE);
            }
        });
        Ok(Flood {
            sent,
            begun,
            over,
            thread: Some(thread),
        })
    }
}

impl Flood {
    /// How many have been sent to each address.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// How many have been sent to each address a second, so far.
    pub fn per_second(&self) -> f64 {
        self.sent() as f64 / self.begun.elapsed().as_secs_f64()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and there would be nobody to tell.
            let _ = thread.join();
        }
    }
}

fn client_config() -> Result<ClientConfig> {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    // Else a node would end the handshake before it has had much work with it.
    tls.alpn_protocols = vec![b"tidings/1".to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(
        tls,
    )?)))
}

/// The next packet of a client and the id of the connection that it is for.
async fn next(server: &UdpSocket) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut packet = vec![0; 2048];
    let length = server.recv(&mut packet).await?;
    packet.truncate(length);
    // A long header: one byte, four of the version, one with the length of the id.
    let (_, rest) = packet.split_at_checked(5).context("a long header")?;
    let (&length, rest) = rest.split_first().context("the length of an id")?;
    let id = rest.get(..length.into()).context("an id")?.to_vec();
    Ok((id, packet))
}

/// A prime, so that each packet comes from another port each time.
const SOCKETS: usize = 61;
const PAUSE: Duration = Duration::from_millis(1);
