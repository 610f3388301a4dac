use serde::{Deserialize, Serialize};

/// A member that lies: a host beside those that run nodes, with a certificate and the links of the
/// product, and in place of membership somebody who makes up gossip.
///
/// It passes on what it hears as an honest node would, and lies in between. It begins when all hosts
/// have found each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liar {
    /// How many messages it sends in a second of its own accord. What it answers comes on top.
    pub rate: f64,
    /// Which part of them are lies: 0 to 1.
    pub lying: f64,
    /// In what ways it lies.
    pub lies: Vec<Lie>,
    /// Whether it goes on to the end, and does not fall silent when the network has become whole.
    pub persists: bool,
}

/// A way to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// A message that was heard, with some bits changed; in what is packed, too.
    Garble,
    /// A message that was heard, of which a piece is left out, repeated, or of another message.
    Splice,
    /// A message that was heard, as it is, however old, from and to whomever.
    Replay,
    /// Heartbeats that never were.
    Beats,
    /// Versions of nodes that they do not have.
    Versions,
    /// Runs of nodes that there are not: later ones, at other addresses, under names of nobody.
    Runs,
    /// Values of a node of which some are left out, or all.
    Omit,
    /// Values in another order, or under each other's keys or versions.
    Shuffle,
    /// A true value, changed a little.
    Alter,
    /// A new value of a node, sealed as well as can be: what it said before, what another says, that it
    /// has left.
    Forge,
    /// The certificate of another run of the node.
    Certify,
    /// What a node says of itself, told of another one.
    Impute,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Garble,
        Self::Splice,
        Self::Replay,
        Self::Beats,
        Self::Versions,
        Self::Runs,
        Self::Omit,
        Self::Shuffle,
        Self::Alter,
        Self::Forge,
        Self::Certify,
        Self::Impute,
    ];
}
