use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use tidings::{BroadcastError, Denied, RecvError, RequestError};

use super::inbox_error::InboxError;
use crate::builder::BuildError;
use crate::publishers::PublisherError;
use crate::watchers::TooManyWatch;

/// Why a tool has not done what it was called for, as a sentence for the model that called it, which says what to do
/// about it.
#[derive(Debug)]
pub(super) struct ToolError(pub(super) String);

impl ToolError {
    /// What an argument says cannot be.
    pub(super) fn argument(name: &str, problem: impl Display) -> Self {
        Self(format!("{name}: {problem}."))
    }

    /// The caller has no inbox that goes by this.
    pub(super) fn unknown_inbox(expiry: Duration) -> Self {
        let seconds = expiry.as_secs_f64();
        Self(format!(
            "You have no such inbox: it is gone {seconds} s after the last receive, and when the node restarts. Call subscribe for a new one."
        ))
    }

    /// The node is going away.
    pub(super) fn leaving() -> Self {
        Self(
            "This node is leaving the cluster. Call again in a while, or connect to another node."
                .into(),
        )
    }
}

impl From<Denied> for ToolError {
    fn from(denied: Denied) -> Self {
        Self(format!(
            "Denied: {denied}. Use what you are allowed, or ask whoever runs the node."
        ))
    }
}

impl From<BroadcastError> for ToolError {
    fn from(error: BroadcastError) -> Self {
        match error {
            BroadcastError::Denied(denied) => denied.into(),
            BroadcastError::PayloadTooLarge { .. } => Self(format!(
                "Nothing was published: {error}. Send less, or in parts."
            )),
            BroadcastError::Payload { .. } => Self(format!(
                "Nothing was published: {error}. Correct the payload."
            )),
            BroadcastError::Ended => Self::leaving(),
            error => Self(format!("Nothing was published: {}.", told(&error))),
        }
    }
}

impl From<RequestError> for ToolError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Publish(error) => error.into(),
            RequestError::NoResponders { .. } => Self(format!(
                "Nobody was asked: {error}. Look with topics who is there, or try again later."
            )),
            error => Self(format!(
                "There is no answer: {error}. Whoever got the request may still do what it asks for. Try again with a longer timeout_seconds."
            )),
        }
    }
}

impl From<InboxError> for ToolError {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::Subscribe(tidings::SubscribeError::Denied(denied)) => denied.into(),
            error => Self(format!("There is no inbox: {}.", told(&error))),
        }
    }
}

impl From<RecvError> for ToolError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::NodeStopped => Self::leaving(),
            error => Self(format!(
                "This inbox is gone: {error}. Call subscribe for a new one."
            )),
        }
    }
}

impl From<TooManyWatch> for ToolError {
    fn from(error: TooManyWatch) -> Self {
        Self(format!(
            "Nothing was done: {error}. Call receive with wait_seconds 0, or try again later."
        ))
    }
}

impl From<PublisherError> for ToolError {
    fn from(error: PublisherError) -> Self {
        Self(format!("Nothing was published: {error}. Try again later."))
    }
}

impl From<BuildError> for ToolError {
    fn from(error: BuildError) -> Self {
        Self(format!("There is no answer: {error}. Try again later."))
    }
}

/// An error and what caused it.
fn told(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", told(cause)),
        None => error.to_string(),
    }
}
