//! How a gateway gives its clients to other nodes: as the NATS server does in what it calls lame duck mode.
//!
//! Nobody new is let in, the other nodes stop naming this one to their clients, and clients are told (INFO
//! with `ldm`). Who can moves by itself within the grace. Then the others are closed, one after the other,
//! so that not all of them come to the other nodes at once. Each of them gets what has been sent to it first.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::info;

use super::clients::Clients;

impl Clients {
    /// Sends all clients to other nodes, as far as they go along, and lets no new ones in. Returns when
    /// none is left, or when those that are have had `drain`, the time of a graceful leave, to take what is
    /// theirs. The node itself does not leave.
    ///
    /// Who calls it again waits for the same end. If it is cancelled, the next call begins anew.
    pub async fn drain(&self) {
        self.inner.drained.get_or_init(|| self.send_away()).await;
    }

    /// Says that the node should drain and leave. Whoever runs it waits for that
    /// ([`drain_asked`](Self::drain_asked)), and does it.
    pub fn ask_to_drain(&self) {
        self.inner.drain_asked.cancel();
    }

    /// Resolves when somebody has [asked](Self::ask_to_drain) for it.
    pub async fn drain_asked(&self) {
        self.inner.drain_asked.cancelled().await;
    }

    async fn send_away(&self) {
        let (node, config) = (&self.inner.node, &self.inner.config);
        self.inner.closing.cancel();
        node.open_door(self.inner.door.draining());
        self.announce_drain();
        let (grace, duration) = (
            config.lame_duck_grace.get(),
            config.lame_duck_duration.get(),
        );
        info!(
            clients = self.connected(),
            ?grace,
            "draining: clients are told to go to other nodes"
        );
        if timeout(grace, self.emptied()).await.is_err() {
            info!(clients = self.connected(), over = ?duration, "draining: closing the clients that are left");
            tokio::select! {
                () = self.emptied() => {}
                () = self.end_all(duration) => {
                    let _ = timeout(node.config().drain.get(), self.emptied()).await;
                }
            }
        }
        info!(clients = self.connected(), "drained");
    }

    async fn emptied(&self) {
        let mut connected = self.inner.connected.subscribe();
        // The sender is held here.
        let _ = connected.wait_for(|connected| *connected == 0).await;
    }

    /// Tells the connections to end, spread over this time.
    async fn end_all(&self, duration: Duration) {
        let records = self.open();
        let (pause, at_once) = pace(records.len(), duration);
        for records in records.chunks(at_once) {
            records.iter().for_each(|record| record.end());
            sleep(pause).await;
        }
    }
}

/// So many are closed at a time, with a pause after them: in all no longer than this, and of few clients
/// none has to wait for long.
fn pace(clients: usize, duration: Duration) -> (Duration, usize) {
    let steps = u32::try_from(duration.as_millis() / PAUSE_MIN.as_millis()).unwrap_or(u32::MAX);
    let steps = steps.clamp(1, u32::try_from(clients.max(1)).unwrap_or(u32::MAX));
    let at_once = clients.div_ceil(steps as usize).max(1);
    ((duration / steps).min(PAUSE_MAX), at_once)
}

/// The pause between clients that are closed.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_closed_within_the_time_and_few_of_them_soon() {
        let ms = Duration::from_millis;
        assert_eq!(pace(3, ms(30_000)), (PAUSE_MAX, 1));
        assert_eq!(pace(100, ms(1_000)), (ms(10), 1));
        assert_eq!(pace(10_000, ms(1_000)), (PAUSE_MIN, 50));
        assert_eq!(pace(7, ms(0)), (ms(0), 7));
        assert_eq!(pace(0, ms(10)), (ms(10), 1));
        for (clients, duration) in [(1, 0), (2_000, 30_000), (9_999, 777), (333, 1_001)] {
            let (pause, at_once) = pace(clients, ms(duration));
            let steps = clients.div_ceil(at_once);
            assert!(pause * steps as u32 <= ms(duration), "{clients} {duration}");
        }
    }
}
