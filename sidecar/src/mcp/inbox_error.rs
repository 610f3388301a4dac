use tidings::{OpenError, SubscribeError};

/// Why there is no new inbox. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InboxError {
    /// There are as many as may be.
    #[error(
        "this node has {max} inboxes, which is its limit (mcp.inboxes_max): unsubscribe from one that is not needed, or try again in some minutes"
    )]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The same of an identity.
    #[error(
        "you have {max} inboxes, which is the limit (mcp.inboxes_per_identity_max): unsubscribe from one that is not needed, or try again in some minutes"
    )]
    TooManyOfIdentity {
        /// The limit.
        max: usize,
    },
    /// The node takes no session.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node takes no subscription.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}
