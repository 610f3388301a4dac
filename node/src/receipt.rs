/// To how many a message was handed. Being handed over is not yet being received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Subscriptions on this node whose mailbox took it.
    pub local: usize,
    /// Other nodes whose link took it.
    pub nodes: usize,
    /// Subscriptions on this node, and other nodes, that it was dropped for, because there was no
    /// room. It has been counted.
    pub dropped: usize,
    /// Whether to wait for [room](crate::Session::room) before the next message, so that none has to
    /// be dropped.
    pub pressing: bool,
}
