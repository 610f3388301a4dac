use std::fmt;

use super::parser::ParseError;

/// What a client is told in `-ERR`, in the words of the NATS server where it has some, because
/// clients decide by them what to do.
///
/// Most clients close on any text they do not know; what begins with `Permissions Violation` they
/// report and go on. So that is the form of what concerns one operation and has no text of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClientError {
    UnknownOperation,
    Malformed,
    LineTooLong,
    PayloadTooLarge,
    ConnectTimeout,
    NotAuthorized,
    TlsNotServed,
    TlsRequired,
    NoRespondersWithoutHeaders,
    HeadersNotAnnounced,
    InvalidScope {
        name: String,
        reason: String,
    },
    ScopeIsKept,
    TooManyConnections,
    Stale,
    SlowConsumer,
    TooManySubscriptions,
    InvalidSubject,
    InvalidPublishSubject,
    PublishDenied {
        subject: String,
    },
    SubscribeDenied {
        subject: String,
        queue: Option<String>,
    },
    /// What was allowed when it was made is not any more.
    SubscriptionEnded {
        subject: String,
        sid: String,
    },
    Publish {
        subject: String,
        reason: String,
    },
    Subscribe {
        subject: String,
        queue: Option<String>,
        reason: String,
    },
}

impl ClientError {
    pub(super) fn publish_denied(subject: &str) -> Self {
        let subject = subject.to_owned();
        Self::PublishDenied { subject }
    }

    pub(super) fn subscribe_denied(subject: &str, queue: Option<&str>) -> Self {
        Self::SubscribeDenied {
            subject: subject.to_owned(),
            queue: queue.map(str::to_owned),
        }
    }

    /// Whether the connection ends with it.
    pub(super) fn is_fatal(&self) -> bool {
        match self {
            Self::UnknownOperation
            | Self::Malformed
            | Self::LineTooLong
            | Self::PayloadTooLarge
            | Self::ConnectTimeout
            | Self::NotAuthorized
            | Self::TlsNotServed
            | Self::TlsRequired
            | Self::NoRespondersWithoutHeaders
            | Self::HeadersNotAnnounced
            | Self::InvalidScope { .. }
            | Self::ScopeIsKept
            | Self::TooManyConnections
            | Self::Stale
            | Self::SlowConsumer => true,
            Self::TooManySubscriptions
            | Self::InvalidSubject
            | Self::InvalidPublishSubject
            | Self::PublishDenied { .. }
            | Self::SubscribeDenied { .. }
            | Self::SubscriptionEnded { .. }
            | Self::Publish { .. }
            | Self::Subscribe { .. } => false,
        }
    }
}

impl ClientError {
    /// What the NATS server calls the end of a connection for this.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::UnknownOperation | Self::Malformed => "Parse Error",
            Self::LineTooLong => "Maximum Control Line Exceeded",
            Self::PayloadTooLarge => "Maximum Message Payload Exceeded",
            Self::ConnectTimeout => "Authentication Timeout",
            Self::TooManyConnections => "Maximum Connections Exceeded",
            Self::Stale => "Stale Connection",
            Self::SlowConsumer => "Slow Consumer (Pending Bytes)",
            _ => "Protocol Violation",
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::UnknownOperation => "Unknown Protocol Operation",
            Self::Malformed => "Parser Error",
            Self::LineTooLong => "maximum control line exceeded",
            Self::PayloadTooLarge => "Maximum Payload Violation",
            Self::ConnectTimeout => "Authentication Timeout",
            Self::NotAuthorized => "Authorization Violation",
            Self::TlsNotServed => "Secure Connection - TLS Not Available",
            Self::TlsRequired => "Secure Connection - TLS Required",
            Self::NoRespondersWithoutHeaders => "no responders requires headers support",
            Self::HeadersNotAnnounced => "message headers not supported",
            Self::InvalidScope { name, reason } => {
                return write!(f, "Invalid Scope {name:?}: {reason}");
            }
            Self::ScopeIsKept => "Invalid Scope: a connection keeps that of its first CONNECT",
            Self::TooManyConnections => "maximum connections exceeded",
            Self::Stale => "Stale Connection",
            Self::SlowConsumer => "Slow Consumer",
            Self::TooManySubscriptions => "maximum subscriptions exceeded",
            Self::InvalidSubject => "Invalid Subject",
            Self::InvalidPublishSubject => "Invalid Publish Subject",
            Self::PublishDenied { subject } => {
                return write!(f, "Permissions Violation for Publish to {subject:?}");
            }
            Self::Publish { subject, reason } => {
                return write!(
                    f,
                    "Permissions Violation for Publish to {subject:?}: {reason}"
                );
            }
            Self::SubscribeDenied { subject, queue } => {
                return subscription(f, subject, queue.as_deref());
            }
            Self::SubscriptionEnded { subject, sid } => {
                subscription(f, subject, None)?;
                return write!(f, " (sid {sid:?})");
            }
            Self::Subscribe {
                subject,
                queue,
                reason,
            } => {
                subscription(f, subject, queue.as_deref())?;
                return write!(f, ": {reason}");
            }
        };
        f.write_str(text)
    }
}

fn subscription(f: &mut fmt::Formatter<'_>, subject: &str, queue: Option<&str>) -> fmt::Result {
    write!(f, "Permissions Violation for Subscription to {subject:?}")?;
    match queue {
        Some(queue) => write!(f, " using queue {queue:?}"),
        None => Ok(()),
    }
}

impl From<ParseError> for ClientError {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::UnknownOperation => Self::UnknownOperation,
            ParseError::Malformed => Self::Malformed,
            ParseError::LineTooLong => Self::LineTooLong,
            ParseError::PayloadTooLarge => Self::PayloadTooLarge,
        }
    }
}
