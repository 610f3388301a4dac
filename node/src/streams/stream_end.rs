use std::fmt;

use serde::{Deserialize, Serialize};

/// How a stream has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamEnd {
    /// Its writer has finished it: nothing is missing.
    Complete,
    /// Its writer has given up, for this reason.
    Failed(Box<str>),
    /// Nobody writes it any more: the writer is gone without a word, or the run of its node has ended or is
    /// taken to have. What came before is as it was written.
    Aborted,
}

impl StreamEnd {
    /// A failure for this reason, of which as much is kept as is told.
    pub(crate) fn failed(reason: &str) -> Self {
        Self::Failed(reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].into())
    }

    /// What it is called in messages and events: `complete`, `failed` or `aborted`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed(_) => "failed",
            Self::Aborted => "aborted",
        }
    }

    /// Why it has failed; empty if it has not.
    pub fn reason(&self) -> &str {
        match self {
            Self::Failed(reason) => reason,
            Self::Complete | Self::Aborted => "",
        }
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            other => f.write_str(other.name()),
        }
    }
}

/// How long a reason is at most.
pub(crate) const REASON_BYTES_MAX: usize = 1_024;
