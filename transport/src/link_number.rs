use std::fmt;

use serde::{Deserialize, Serialize};
use tidings_identity::Incarnation;

/// The number of a link within its pair of nodes: the same at both ends. A later link has a higher
/// one, also over restarts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct LinkNumber {
    /// Of the node that numbers the links of the pair.
    incarnation: Incarnation,
    counter: u64,
}

impl LinkNumber {
    pub(crate) fn new(incarnation: Incarnation, counter: u64) -> Self {
        Self {
            incarnation,
            counter,
        }
    }

    /// The first number that the run `incarnation` gives out after this one.
    pub(crate) fn next(self, incarnation: Incarnation) -> Self {
        Self::new(incarnation, self.counter + 1)
    }

    /// The run of the node that numbers, which gave it out.
    pub(crate) fn incarnation(self) -> Incarnation {
        self.incarnation
    }

    /// Whether an earlier run of the node that numbers gave it out than the one of `other`.
    pub(crate) fn is_of_earlier_run(self, other: Self) -> bool {
        self.incarnation < other.incarnation
    }
}

impl fmt::Display for LinkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.counter)
    }
}
