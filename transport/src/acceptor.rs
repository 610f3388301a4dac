use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::CloseCode;
use crate::handshake::Handshake;
use crate::tasks::Tasks;

/// Lets peers dial us.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) endpoint: Endpoint,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) timeout: Duration,
    pub(crate) tasks: Tasks,
}

impl Acceptor {
    /// Accepts connections until the endpoint is closed.
    pub(crate) async fn run(self) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(permit) = handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let task = accept(self.handshake.clone(), self.timeout, incoming);
            self.tasks.spawn(async move {
                task.await;
                drop(permit);
            });
        }
    }
}

async fn accept(handshake: Arc<Handshake>, timeout: Duration, incoming: Incoming) {
    let deadline = Instant::now() + timeout;
    let remote = incoming.remote_address();
    let connection = match timeout_at(deadline, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => return handshake.lost(remote, &reason),
        Err(_) => return debug!(%remote, "an incoming handshake took too long"),
    };
    match timeout_at(deadline, handshake.accepted(&connection)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            handshake.failed(&connection, &error);
        }
        Err(_) => {
            debug!(%remote, "an incoming handshake took too long");
            CloseCode::HandshakeTimeout.close(&connection);
        }
    }
}

/// Handshakes of peers that may be under way. Beyond it further ones are refused, and their
/// dialler tries again.
const HANDSHAKES_MAX: usize = 256;
