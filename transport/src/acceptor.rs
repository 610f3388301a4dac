use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::mpsc;
use tokio::task::consume_budget;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use crate::CloseCode;
use crate::admission::{Admission, PLACES_MAX, Place, Places};
use crate::handshake::Handshake;
use crate::stats::Counters;
use crate::tasks::Tasks;

/// Lets peers dial us.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) endpoint: Endpoint,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) timeout: Duration,
    pub(crate) tasks: Tasks,
    pub(crate) counters: Arc<Counters>,
}

/// Gives its place back when it is dropped, also when the handshake panics or is cancelled.
struct Held {
    place: Option<Place>,
    given_back: mpsc::Sender<Place>,
}

impl Acceptor {
    /// Accepts connections until the endpoint is closed.
    pub(crate) async fn run(self) {
        let mut places = Places::default();
        // There is room for all that can be held, so that giving back never waits.
        let (given_back, mut returned) = mpsc::channel(PLACES_MAX);
        while let Some(incoming) = self.endpoint.accept().await {
            while let Ok(place) = returned.try_recv() {
                places.give_back(place);
            }
            let remote = incoming.remote_address();
            let count = match places.admit(remote, incoming.remote_address_validated()) {
                Admission::Admitted(place) => {
                    let held = Held {
                        place: Some(place),
                        given_back: given_back.clone(),
                    };
                    let task = accept(self.handshake.clone(), self.timeout, incoming);
                    self.tasks.spawn(async move {
                        task.await;
                        drop(held);
                    });
                    &self.counters.handshakes_admitted
                }
                Admission::Retry => {
                    // Whoever has not shown its address may always be asked to.
                    let _ = incoming.retry();
                    &self.counters.handshakes_retried
                }
                Admission::Ignored => {
                    incoming.ignore();
                    &self.counters.handshakes_ignored
                }
            };
            count.fetch_add(1, Relaxed);
            // In a flood there is always one more, and nothing here waits for anything else. What
            // runs on the same thread, as handshakes do that were just begun, is to have its turn.
            consume_budget().await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            // It fails only when the acceptor has ended.
            let _ = self.given_back.try_send(place);
        }
    }
}

async fn accept(handshake: Arc<Handshake>, timeout: Duration, incoming: Incoming) {
    let deadline = Instant::now() + timeout;
    let remote = incoming.remote_address();
    let connection = match timeout_at(deadline, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => {
            handshake.lost(remote, &reason);
            // Until then it keeps its place: the `admission` module says why.
            return sleep_until(deadline).await;
        }
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
