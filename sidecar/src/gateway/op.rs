use super::service;

/// What a client asks for. Only the form has been checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    /// The options as JSON.
    Connect(&'a str),
    Ping,
    Pong,
    /// What only servers say (`+OK`, `INFO`), and some clients pass on.
    Ignored,
    Publish(Publication<'a>),
    Subscribe {
        subject: &'a str,
        queue: Option<&'a str>,
        sid: &'a str,
    },
    Unsubscribe {
        sid: &'a str,
        /// After how many messages; at once if none.
        max: Option<u64>,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publication<'a> {
    pub(super) subject: &'a str,
    pub(super) reply: Option<&'a str>,
    /// The whole block, with version line and end.
    pub(super) headers: Option<&'a [u8]>,
    pub(super) payload: &'a [u8],
}

impl<'a> Op<'a> {
    /// Reads what follows SUB: `subject [queue] sid`.
    pub(super) fn subscribe(arguments: &'a str) -> Option<Self> {
        let mut fields = arguments.split_ascii_whitespace();
        match [fields.next(), fields.next(), fields.next(), fields.next()] {
            [Some(subject), Some(sid), None, _] => Some(Self::Subscribe {
                subject,
                queue: None,
                sid,
            }),
            [Some(subject), queue @ Some(_), Some(sid), None] => Some(Self::Subscribe {
                subject,
                queue,
                sid,
            }),
            _ => None,
        }
    }

    /// Reads what follows UNSUB: `sid [max]`.
    pub(super) fn unsubscribe(arguments: &'a str) -> Option<Self> {
        let mut fields = arguments.split_ascii_whitespace();
        match [fields.next(), fields.next(), fields.next()] {
            [Some(sid), None, _] => Some(Self::Unsubscribe { sid, max: None }),
            [Some(sid), Some(max), None] => {
                // What is no number ends it at once, as with the NATS server.
                let max = number(max).filter(|max| *max > 0);
                Some(Self::Unsubscribe { sid, max })
            }
            _ => None,
        }
    }

    /// Whether it changes memberships, which takes longer than to use them.
    pub(super) fn is_of_membership(&self) -> bool {
        match self {
            Self::Subscribe { .. } | Self::Unsubscribe { .. } => true,
            Self::Publish(publication) => publication.subject.starts_with(service::PREFIX),
            Self::Connect(_) | Self::Ping | Self::Pong | Self::Ignored => false,
        }
    }

    /// Whether the answer to this comes after the messages that were there before it. A client
    /// takes a PONG to mean that it has all of them, and an UNSUB must not lose them.
    pub(super) fn follows_deliveries(&self) -> bool {
        matches!(self, Op::Ping | Op::Unsubscribe { max: None, .. })
    }
}

/// A number of at most nine digits, so that sums of two never overflow.
pub(super) fn number(field: &str) -> Option<u64> {
    let is_number = field.len() <= 9 && field.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { field.parse().ok() } else { None }
}
