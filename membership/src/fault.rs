use std::fmt;

/// What can be wrong with a gossip message of a peer.
///
/// [`Itself`](Self::Itself), [`Room`](Self::Room), [`Certificate`](Self::Certificate) and
/// [`Pace`](Self::Pace) are found in a part of a message, and the rest is taken; for any other the whole
/// message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not written as gossip is.
    Format,
    /// It, or something in it, is larger than gossip may be.
    Size,
    /// It is for another cluster.
    Cluster,
    /// It names what cannot be a node, or one twice.
    Node,
    /// It has a key that no node writes, or one twice.
    Key,
    /// Versions in it do not go up as they must, or are beyond any that is ever reached.
    Version,
    /// It deletes something, which no node does.
    Deletion,
    /// What it tells of a node was not said by that node.
    Seal,
    /// A heartbeat in it was not made by its node.
    Beat,
    /// It claims to know more of the node that reads it than that node itself.
    Itself,
    /// What it tells would take more room than there is for gossip.
    Room,
    /// What it tells is of a node whose certificate does not count here and now.
    Certificate,
    /// What it tells is of a node that says more than can be checked, or began too many runs of late.
    Pace,
}

/// How often each fault was found.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults([u64; Fault::ALL.len()]);

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 13] = [
        Self::Format,
        Self::Size,
        Self::Cluster,
        Self::Node,
        Self::Key,
        Self::Version,
        Self::Deletion,
        Self::Seal,
        Self::Beat,
        Self::Itself,
        Self::Room,
        Self::Certificate,
        Self::Pace,
    ];

    /// Its name, as in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Size => "size",
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Key => "key",
            Self::Version => "version",
            Self::Deletion => "deletion",
            Self::Seal => "seal",
            Self::Beat => "beat",
            Self::Itself => "itself",
            Self::Room => "room",
            Self::Certificate => "certificate",
            Self::Pace => "pace",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Faults {
    /// As many of each fault as this says.
    pub(crate) fn count(of: impl Fn(Fault) -> u64) -> Self {
        Self(Fault::ALL.map(of))
    }

    /// How often this fault was found.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// How often any was found.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Fault::ALL.map(|fault| (fault.name(), self.of(fault)));
        f.debug_map()
            .entries(found.into_iter().filter(|(_, count)| *count > 0))
            .finish()
    }
}
