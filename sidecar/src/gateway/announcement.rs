use tidings::ClientAddr;

/// What clients are told of the nodes to which they can go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Announcement {
    /// This node is not among them while it drains.
    pub(super) connect_urls: Vec<ClientAddr>,
    pub(super) is_draining: bool,
}
