use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::warn;

/// Accepts the connections of one door, as many at a time as it has slots.
///
/// It keeps a descriptor for nothing but to be closed when the process has none left: so a newcomer
/// can be told that there is no room, instead of waiting for an answer that never comes.
#[derive(Debug)]
pub(crate) struct Acceptor<L: Listener = TcpListener> {
    listener: L,
    slots: Arc<Semaphore>,
    spare: Option<OwnedFd>,
    /// Whether the spare descriptor was given up, and is not back yet.
    is_short: bool,
}

/// What connections come to.
pub(crate) trait Listener: AsFd {
    type Stream;
    /// From where one came.
    type Addr;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Addr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Addr = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        self.accept()
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Arrival<S = TcpStream, A = SocketAddr> {
    pub(crate) stream: S,
    pub(crate) peer: A,
    /// To be kept as long as the connection is served; none when all are taken.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

/// So many connections at a time, of all who accept with them.
pub(crate) fn slots(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
}

impl<L: Listener> Acceptor<L> {
    pub(crate) fn new(listener: L, slots: Arc<Semaphore>) -> Self {
        Self {
            spare: spare(&listener),
            listener,
            slots,
            is_short: false,
        }
    }

    /// Waits for the next connection. One without a slot has to be closed before the next call.
    pub(crate) async fn next(&mut self) -> Arrival<L::Stream, L::Addr> {
        if self.is_short {
            self.spare = spare(&self.listener);
            self.is_short = self.spare.is_none();
        }
        loop {
            let error = match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // What the spare descriptor made room for is not there to stay.
                    let slots = (!self.is_short).then(|| Arc::clone(&self.slots));
                    let slot = slots.map(|slots| slots.try_acquire_owned().ok());
                    return Arrival {
                        stream,
                        peer,
                        slot: slot.flatten(),
                    };
                }
                Err(error) if is_of_one_connection(error.kind()) => continue,
                Err(error) => error,
            };
            let is_out_of_files = Errno::from_io_error(&error)
                .is_some_and(|errno| errno == Errno::MFILE || errno == Errno::NFILE);
            if is_out_of_files && self.spare.take().is_some() {
                self.is_short = true;
                warn!(%error, "no file is left for a connection: whoever comes is told so");
            } else {
                warn!(%error, "cannot accept connections, trying again");
                sleep(RETRY).await;
            }
        }
    }

    /// Waits until a slot is free.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }
}

/// A descriptor of no other use, if there is one left.
fn spare(listener: &impl AsFd) -> Option<OwnedFd> {
    listener.as_fd().try_clone_to_owned().ok()
}

fn is_of_one_connection(kind: ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        kind,
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// How long to wait when the system has no room for another connection.
const RETRY: Duration = Duration::from_millis(100);
