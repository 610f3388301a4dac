use std::sync::Arc;

use quinn::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::hub::Hub;
use crate::{CloseCode, handshake};

/// Accepts connections until the endpoint is closed.
pub(crate) async fn run(hub: Arc<Hub>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = hub.endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let task = accept(hub.clone(), incoming);
        hub.spawn(async move {
            task.await;
            drop(permit);
        });
    }
}

async fn accept(hub: Arc<Hub>, incoming: Incoming) {
    let deadline = Instant::now() + hub.config.handshake_timeout.get();
    let remote = incoming.remote_address();
    let connection = match timeout_at(deadline, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => return handshake::lost(&hub, remote, &reason),
        Err(_) => return debug!(%remote, "an incoming handshake took too long"),
    };
    match timeout_at(deadline, handshake::accepted(&hub, &connection)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            handshake::failed(&hub, &connection, &error);
        }
        Err(_) => {
            let code = CloseCode::HandshakeTimeout;
            debug!(%remote, "an incoming handshake took too long");
            connection.close(code.number(), code.to_string().as_bytes());
        }
    }
}

/// Handshakes of peers that may be under way. Beyond it further ones are refused, and their
/// dialler tries again.
const HANDSHAKES_MAX: usize = 256;
