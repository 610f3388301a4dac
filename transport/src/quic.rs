//! How QUIC is set up: both roles of an endpoint, and the limits of every link.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use tidings_bounds::Count;

use crate::Config;
use crate::config::LANES_MAX;
use crate::net::WallClock;
use crate::tls::Tls;

/// Both roles of an endpoint, ready for quinn.
#[derive(Debug, Clone)]
pub(crate) struct Roles {
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
    limits: Arc<TransportConfig>,
}

impl Roles {
    pub(crate) fn new(config: &Config, tls: Tls, clock: Arc<WallClock>) -> Self {
        let limits = Arc::new(limits(config));
        let mut server = ServerConfig::with_crypto(Arc::new(tls.server));
        server.transport_config(limits.clone());
        // A peer that moves dials anew. Migration would let whoever can replay its packets move it.
        server.migration(false);
        server.time_source(clock);
        server.max_incoming(INCOMING_MAX);
        server.incoming_buffer_size(INCOMING_BYTES_MAX);
        server.incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
        Self {
            server,
            client: client(tls.client, &limits),
            limits,
        }
    }

    /// The same with other cryptography. The tokens of Retry that peers hold stay good.
    pub(crate) fn renewed(&self, tls: Tls) -> Self {
        let mut server = self.server.clone();
        server.crypto = Arc::new(tls.server);
        Self {
            server,
            client: client(tls.client, &self.limits),
            limits: self.limits.clone(),
        }
    }
}

fn client(crypto: QuicClientConfig, limits: &Arc<TransportConfig>) -> ClientConfig {
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(limits.clone());
    client
}

/// The limits of every link, both ways.
fn limits(config: &Config) -> TransportConfig {
    let mut limits = TransportConfig::default();
    // The one bidirectional stream is the control stream; each lane is one unidirectional stream.
    limits.max_concurrent_bidi_streams(VarInt::from_u32(1));
    limits.max_concurrent_uni_streams(VarInt::from_u32(LANES_MAX.into()));
    limits.stream_receive_window(window(config.stream_window_bytes));
    limits.receive_window(window(config.link_window_bytes));
    limits.send_window(config.send_window_bytes.into());
    let idle = IdleTimeout::try_from(config.idle_timeout.get())
        .expect("an idle timeout within its bounds is far below what quic can say");
    limits.max_idle_timeout(Some(idle));
    limits.keep_alive_interval(Some(config.keep_alive.get()));
    // Nodes are usually near each other. It only matters until the first round trip is measured,
    // and sets how soon a lost first packet is sent again.
    limits.initial_rtt(INITIAL_ROUND_TRIP);
    // Few large packets instead of many small ones, where the path takes them.
    limits.mtu_discovery_config(Some(MtuDiscoveryConfig::default()));
    limits.datagram_receive_buffer_size(None);
    limits.congestion_controller_factory(Arc::new(CubicConfig::default()));
    limits
}

fn window<const MIN: usize, const MAX: usize>(bytes: Count<MIN, MAX>) -> VarInt {
    VarInt::try_from(u64::from(bytes)).expect("a window within its bounds is at most 1 GiB")
}

const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(20);
/// Connection attempts that may wait to be looked at. Beyond it quinn ignores further ones.
const INCOMING_MAX: usize = 1024;
/// What may come for one of them meanwhile, after its first packet: that packet sent again.
const INCOMING_BYTES_MAX: u64 = 8 << 10;
/// The same for all of them.
const INCOMING_BYTES_TOTAL_MAX: u64 = 1 << 20;
