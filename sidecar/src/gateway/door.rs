use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidings::Node;
use tokio::sync::Semaphore;

use super::clients::Clients;
use super::tls::Tls;
use crate::GatewayConfig;
use crate::builder::Builder;

/// What a connection is served with.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) node: Node,
    pub(super) config: Arc<GatewayConfig>,
    /// Makes the long answers to all clients.
    pub(super) builder: Builder,
    pub(super) clients: Clients,
    /// None if it is not served.
    pub(super) tls: Option<Arc<Tls>>,
    /// For all connections, by whichever way they come.
    pub(super) slots: Arc<Semaphore>,
    /// What the last client is called in `INFO`.
    pub(super) last_client_id: AtomicU64,
}

impl Door {
    /// What the next client is called in `INFO`.
    pub(super) fn next_client_id(&self) -> u64 {
        self.last_client_id.fetch_add(1, Relaxed) + 1
    }
}
