use chitchat::ChitchatMessage;

/// The kinds of gossip messages, by chitchat's names. Of two nodes that gossip, one sends a Syn,
/// the other a SynAck, the first an Ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// Says what its sender knows.
    Syn,
    /// Says what its sender knows, and tells what the other does not.
    SynAck,
    /// Tells what the other does not know.
    Ack,
    /// Refuses a Syn of another cluster.
    BadCluster,
}

impl MessageKind {
    /// The kind of a message.
    pub(crate) fn of(message: &ChitchatMessage) -> Self {
        match message {
            ChitchatMessage::Syn { .. } => Self::Syn,
            ChitchatMessage::SynAck { .. } => Self::SynAck,
            ChitchatMessage::Ack { .. } => Self::Ack,
            ChitchatMessage::BadCluster => Self::BadCluster,
        }
    }

    /// Whether it tells what its receiver does not know.
    pub(crate) fn carries_delta(self) -> bool {
        matches!(self, Self::SynAck | Self::Ack)
    }
}
