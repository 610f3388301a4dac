use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::ClientConfig;
use rmcp::service::Peer;
use tokio::task::JoinSet;

use crate::hub::Id;

/// The sessions of clients of the revisions of 2025 that have subscribed to resources.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) open: Vec<Session>,
    /// What tells each of them. It ends with the session, and with the notifier.
    pub(crate) tasks: JoinSet<()>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Session {
    /// Made once when the session is, and kept as long as it is known here, so that no other has the same.
    pub(crate) info: Arc<ClientConfig>,
    pub(crate) peer: Peer<RoleServer>,
    pub(crate) listener: Id,
    /// To how many it has subscribed.
    pub(crate) uris: usize,
}
