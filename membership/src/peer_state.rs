/// How it stands with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// Running.
    Live,
    /// Not known to be running, though it may be.
    Down,
    /// Said goodbye: not worth a try until it is heard of again.
    Left,
}
