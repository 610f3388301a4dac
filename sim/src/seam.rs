use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tidings_transport::Net;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::Gate;
use crate::network::Network;

/// The wall clock at which every run begins: 2030-01-01.
const EPOCH: Duration = Duration::from_secs(1_893_456_000);

/// One run of a host, as its node sees the world: the simulator's side of the one seam.
#[derive(Debug, Clone)]
pub struct HostNet {
    network: Arc<Network>,
    host: usize,
    /// The wall clock and simulated time, when the run of the cluster began.
    began: (Duration, Instant),
    life: Life,
}

/// What the tasks of one run of a host run in: those of its node, of quinn and of its agents.
#[derive(Debug, Clone, Default)]
pub struct Life {
    /// Stops them while the host is frozen.
    pub gate: Gate,
    /// Ends them.
    pub token: CancellationToken,
    /// Knows them.
    pub tasks: TaskTracker,
}

impl Life {
    /// Runs a task that stops and ends with the host.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self
            .token
            .clone()
            .run_until_cancelled_owned(self.gate.guard(task));
        self.tasks.spawn(task);
    }
}

impl HostNet {
    /// The world of this host, whose wall clock is off by so many seconds, from `began` on.
    pub fn new(
        network: Arc<Network>,
        host: usize,
        began: Instant,
        clock_off: i64,
        life: Life,
    ) -> Self {
        let off = Duration::from_secs(clock_off.unsigned_abs());
        let epoch = if clock_off < 0 {
            EPOCH - off
        } else {
            EPOCH + off
        };
        Self {
            network,
            host,
            began: (epoch, began),
            life,
        }
    }
}

impl Net for HostNet {
    fn open(&self, _: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let port = self.network.plug(self.host);
        Ok(Arc::new(Socket {
            network: self.network.clone(),
            host: self.host,
            port,
        }))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(HostRuntime(self.life.clone()))
    }

    fn unix_time(&self) -> Duration {
        let (epoch, began) = self.began;
        epoch + began.elapsed()
    }
}

/// Runs quinn's tasks on simulated time, in the life of one host.
#[derive(Debug)]
struct HostRuntime(Life);

impl Runtime for HostRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(task);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a simulated host has no real sockets",
        ))
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// The UDP socket of one run of a host.
#[derive(Debug)]
struct Socket {
    network: Arc<Network>,
    host: usize,
    port: u64,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let datagram_bytes = transmit
            .segment_size
            .unwrap_or(transmit.contents.len())
            .max(1);
        for datagram in transmit.contents.chunks(datagram_bytes) {
            self.network
                .send((self.host, self.port), transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let next = self.network.receive((self.host, self.port), cx.waker());
            let Some((addr, bytes)) = next else { break };
            // As in the kernel, what does not fit is cut off.
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            *meta = RecvMeta {
                addr,
                len,
                stride: len,
                ..RecvMeta::default()
            };
            received += 1;
        }
        if received == 0 {
            Poll::Pending
        } else {
            Poll::Ready(Ok(received))
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(Network::addr(self.host))
    }

    fn may_fragment(&self) -> bool {
        // As on Linux, where the socket forbids it.
        false
    }
}

/// The wire takes everything at once; what is too much for a path is lost there.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
