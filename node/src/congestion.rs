use crate::Message;

/// What becomes of a message for which a subscriber's mailbox, or the way to another node, has no room
/// to spare: it is half full of what the publisher and others have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// It is sent all the same, and the publisher is asked to wait before the next one
    /// ([`Receipt::pressing`](crate::Receipt::pressing)). For those who want all of it to arrive.
    #[default]
    Ask,
    /// It is dropped for this subscriber or node, which is told so, and counted; the others get it. The
    /// publisher is never asked to wait. For those who want to be heard while it is new, as with the
    /// tokens of an answer.
    Drop,
}

impl Congestion {
    /// The header that says `drop` for one message of a session that asks. Its name is compared
    /// without regard to case. It is carried along like any other.
    pub const HEADER: &str = "Tidings-Congestion";

    /// For this message of a session.
    pub(crate) fn of(self, message: &Message) -> Self {
        match self {
            Self::Ask if message.headers.get(Self::HEADER) == Some("drop") => Self::Drop,
            own => own,
        }
    }
}
