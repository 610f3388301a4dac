use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use crate::gossip::GossipQueue;
use crate::hub::Hub;
use crate::table::Target;
use crate::{CloseCode, Config, handshake, tls};

/// Dials one address for as long as somebody needs it. There is one such task per address.
///
/// `waiting` holds gossip for the address. With `pause` the first dial waits a little, as after
/// the loss of a link.
pub(crate) async fn run(hub: Arc<Hub>, addr: SocketAddr, waiting: Arc<GossipQueue>, pause: bool) {
    let mut backoff = Backoff::new(&hub.config);
    if pause {
        sleep(backoff.wait()).await;
        hub.counters.redials.fetch_add(1, Relaxed);
    }
    loop {
        let Some(target) = hub.target(addr) else {
            let asked = async { timeout(LINGER, waiting.filled.notified()).await.is_ok() };
            if backoff.has_failed() && asked.await {
                continue;
            }
            if hub.retire(addr) {
                return;
            }
            continue;
        };
        if backoff.has_failed() {
            hub.counters.redials.fetch_add(1, Relaxed);
        }
        if dial(&hub, addr, target).await {
            backoff = Backoff::new(&hub.config);
        } else {
            hub.counters
                .gossip_dropped
                .fetch_add(waiting.clear(), Relaxed);
            backoff.fail();
            sleep(backoff.wait()).await;
        }
    }
}

/// Makes one attempt. True when there is nothing left to dial for.
async fn dial(hub: &Arc<Hub>, addr: SocketAddr, target: Target) -> bool {
    let deadline = Instant::now() + hub.config.handshake_timeout.get();
    let server_name = match &target {
        Target::Peer(peer) => hub.cluster.node(peer),
        Target::Anyone => hub.cluster.any_node(),
    };
    let failed = |reason: &dyn std::fmt::Display| {
        hub.counters.dials_failed.fetch_add(1, Relaxed);
        debug!(%addr, ?target, %reason, "dial failed");
    };
    let connecting = hub
        .endpoint
        .connect_with(hub.client.clone(), addr, &server_name);
    let connecting = match connecting {
        Ok(connecting) => connecting,
        Err(error) => {
            failed(&error);
            return false;
        }
    };
    let connection = match timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(reason)) => {
            failed(&reason);
            handshake::lost(hub, addr, &reason);
            return false;
        }
        Err(_) => {
            failed(&"nobody answers");
            return false;
        }
    };
    let code = match timeout_at(deadline, handshake::dialled(hub, &connection, addr)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => handshake::failed(hub, &connection, &error),
        Err(_) => {
            let code = CloseCode::HandshakeTimeout;
            connection.close(code.number(), code.to_string().as_bytes());
            Some(code)
        }
    };
    match code {
        Some(CloseCode::SelfDial) => {
            hub.oneself(addr);
            true
        }
        Some(CloseCode::Duplicate | CloseCode::Abandoned | CloseCode::Replaced) => {
            // The peer's own dial came first. If its link is not up yet, it is about to be, and
            // gossip goes over it; if it fails, we are asked again.
            if let Some(peer) = tls::peer_name(&connection) {
                hub.alias(addr, &peer);
            }
            hub.target(addr).is_none()
        }
        _ => {
            failed(&code.map_or("the connection broke".into(), |code| code.to_string()));
            false
        }
    }
}

/// How long to wait between attempts: doubling up to a cap, with jitter.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    fn new(config: &Config) -> Self {
        Self {
            next: config.redial_min.get(),
            max: config.redial_max.get(),
            failures: 0,
        }
    }

    fn has_failed(&self) -> bool {
        self.failures > 0
    }

    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 1 {
            self.next = (self.next * 2).min(self.max);
        }
    }

    /// Half to all of the current wait.
    fn wait(&self) -> Duration {
        self.next.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// How long an address that failed is remembered after its last use, so that somebody who keeps
/// asking for it does not get around the backoff.
const LINGER: Duration = Duration::from_secs(10);
