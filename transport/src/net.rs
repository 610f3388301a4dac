use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::udp::UdpSocketState;
use quinn::{AsyncUdpSocket, EndpointConfig, Runtime, TimeSource, TokioRuntime};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Everything that differs between a real network and a simulated one: sockets, timers, tasks, the
/// wall clock and the random source of the endpoint.
///
/// It is the only seam: with another `Net` the rest of the transport runs unchanged.
pub trait Net: Debug + Send + Sync + 'static {
    /// Opens the one UDP socket of a node. Port 0 means any free port.
    ///
    /// # Errors
    /// Whatever the system says when the address cannot be bound. Nothing is left open.
    fn open(&self, listen: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// Timers, tasks and "now" for quinn.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// Runs a task of the node. A simulated machine that stands still does not go on with it.
    fn spawn(&self, task: Task) {
        self.runtime().spawn(task);
    }

    /// Wall-clock time since the Unix epoch. The validity of certificates is checked against it, in
    /// handshakes and while links are up,
    /// and the age of the proofs of address that Retry asks for.
    fn unix_time(&self) -> Duration;

    /// The endpoint's random seed, connection ids and reset key. The default draws them from the
    /// system.
    fn endpoint_config(&self) -> EndpointConfig {
        EndpointConfig::default()
    }
}

/// A task that a [`Net`] runs.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The real network: a UDP socket of the operating system, tokio's timers, the system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNet;

impl Net for SystemNet {
    fn open(&self, listen: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = UdpSocket::bind(listen)?;
        let state = UdpSocketState::new((&socket).into())?;
        // One socket carries the traffic of all links, and the system's default of some 200 kB
        // overflows in a burst. The system may grant less; that costs retransmissions, not
        // correctness, so a refusal is not an error.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        self.runtime().wrap_udp_socket(socket)
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the wall clock is read"
    )]
    fn unix_time(&self) -> Duration {
        // A clock before 1970 is set so wrong that no certificate would be valid anyway.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }
}

/// A network's wall clock, as rustls and quinn ask for it.
#[derive(Debug)]
pub(crate) struct WallClock(pub(crate) Arc<dyn Net>);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix_time()))
    }
}

impl TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0.unix_time()
    }
}

const SOCKET_BUFFER_BYTES: usize = 4 << 20;
