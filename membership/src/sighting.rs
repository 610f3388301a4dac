use tidings_identity::NodeRun;
use tokio::time::Instant;

/// The newest incarnation of a node as gossip has it, with what is new since it was last seen.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) run: NodeRun,
    pub(crate) heartbeat: u64,
    /// Whether the failure detector takes it to be running.
    pub(crate) detected: bool,
    /// Whether its certificate is void.
    pub(crate) is_revoked: bool,
    /// When it was itself heard last.
    pub(crate) heard: Option<Instant>,
    /// The version of its state.
    pub(crate) version: u64,
    /// The keys and values that changed since the version known before.
    pub(crate) changes: Vec<(String, String)>,
}
