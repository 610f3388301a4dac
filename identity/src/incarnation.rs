use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of one run of a node. A later run has a higher one, so that what is said of an
/// earlier run is told apart from what holds now.
///
/// Nodes take the wall clock in milliseconds since the Unix epoch, or one more than the number of
/// the run before where the clock has stepped back. Nobody relies on more than the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The run of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The least run that is later than this one. There is none after the last number, which
    /// is returned again.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Incarnation {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
