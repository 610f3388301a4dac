use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use quinn::Endpoint;
use rand::RngExt;
use tidings_identity::ClusterName;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use crate::credentials::Credentials;
use crate::handshake::Handshake;
use crate::links::{DialRequest, Links};
use crate::mesh::{DialOutcome, DialStep, Target};
use crate::refusal::Refusal;
use crate::stats::Counters;
use crate::tasks::Tasks;
use crate::{CloseCode, tls};

/// Dials addresses, each for as long as somebody needs it.
pub(crate) struct Dialler {
    pub(crate) cluster: ClusterName,
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) links: Arc<Links>,
    pub(crate) backoff: Backoff,
    pub(crate) timeout: Duration,
    pub(crate) counters: Arc<Counters>,
}

/// How long to wait between attempts: doubling up to a cap, with jitter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Dialler {
    /// Dials what is asked for, with a task for each address.
    pub(crate) async fn run(self, mut requests: mpsc::Receiver<DialRequest>, tasks: Tasks) {
        let dialler = Arc::new(self);
        while let Some((addr, wake)) = requests.recv().await {
            tasks.spawn_dial(dialler.clone().dial(addr, wake));
        }
    }

    async fn dial(self: Arc<Self>, addr: SocketAddr, wake: Arc<Notify>) {
        loop {
            match self.links.next_dial(addr) {
                DialStep::Pause { failures } => sleep(self.backoff.wait(failures)).await,
                DialStep::Attempt { target, redial } => {
                    if let Some(left) = self.pause(&target) {
                        let _ = timeout(left, wake.notified()).await;
                        continue;
                    }
                    if redial {
                        self.counters.redials.fetch_add(1, Relaxed);
                    }
                    let outcome = self.attempt(addr, target).await;
                    self.links.dial_ended(addr, outcome);
                }
                DialStep::Linger => {
                    if timeout(LINGER, wake.notified()).await.is_err() {
                        self.links.lingered(addr);
                    }
                }
                DialStep::End => return,
            }
        }
    }

    /// How much longer a peer is not dialled, because it broke the protocol.
    fn pause(&self, target: &Target) -> Option<Duration> {
        match target {
            Target::Peer(peer) => self.links.pause(peer),
            Target::Anyone => None,
        }
    }

    async fn attempt(&self, addr: SocketAddr, target: Target) -> DialOutcome {
        let deadline = Instant::now() + self.timeout;
        let server_name = match &target {
            Target::Peer(peer) => self.cluster.node(peer),
            Target::Anyone => self.cluster.any_node(),
        };
        let failed = |reason: &dyn Display| {
            self.counters.dials_failed.fetch_add(1, Relaxed);
            debug!(%addr, ?target, %reason, "dial failed");
            DialOutcome::Failed
        };
        let client = self.credentials.client();
        let connecting = match self.endpoint.connect_with(client, addr, &server_name) {
            Ok(connecting) => connecting,
            Err(error) => return failed(&error),
        };
        let connection = match timeout_at(deadline, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(reason)) => {
                self.handshake.lost(addr, &reason);
                let outcome = failed(&reason);
                return match target {
                    Target::Peer(peer) if Refusal::is_of_another_name(&reason) => {
                        DialOutcome::Elsewhere(peer)
                    }
                    _ => outcome,
                };
            }
            Err(_) => return failed(&"nobody answers"),
        };
        let code = match timeout_at(deadline, self.handshake.dialled(&connection, addr)).await {
            Ok(Ok(())) => return DialOutcome::Up,
            Ok(Err(error)) => self.handshake.failed(&connection, &error),
            Err(_) => {
                CloseCode::HandshakeTimeout.close(&connection);
                Some(CloseCode::HandshakeTimeout)
            }
        };
        match (code, tls::peer(&connection)) {
            (Some(CloseCode::SelfDial), _) => DialOutcome::FoundSelf,
            (
                Some(CloseCode::Duplicate | CloseCode::Abandoned | CloseCode::Replaced),
                Some((peer, _)),
            ) => DialOutcome::Superseded(peer),
            (Some(code), _) => failed(&code),
            (None, _) => failed(&"the connection broke"),
        }
    }
}

impl Backoff {
    /// Half to all of the wait after so many failures in a row.
    fn wait(&self, failures: u32) -> Duration {
        self.longest(failures)
            .mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    fn longest(&self, failures: u32) -> Duration {
        let doubled = 1 << failures.saturating_sub(1).min(31);
        self.min.saturating_mul(doubled).min(self.max)
    }
}

/// How long an address that failed is remembered after its last use, so that somebody who keeps
/// asking for it does not get around the backoff.
const LINGER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_the_least_to_the_most() {
        let ms = Duration::from_millis;
        let backoff = Backoff {
            min: ms(50),
            max: ms(300),
        };
        let longest: Vec<_> = (0..6).map(|n| backoff.longest(n)).collect();
        let expected = [50, 50, 100, 200, 300, 300].map(ms);
        assert_eq!(longest, expected);
        assert_eq!(backoff.longest(u32::MAX), ms(300));
        for failures in 0..9 {
            let (wait, longest) = (backoff.wait(failures), backoff.longest(failures));
            assert!(longest / 2 <= wait && wait <= longest, "{wait:?}");
        }
    }
}
