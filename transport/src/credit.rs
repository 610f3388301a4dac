use serde::{Deserialize, Serialize};

/// What a node says to the publisher of a peer: there is room again for as much as it has sent to
/// this node up to here.
///
/// The transport only brings it, on the control stream. What a position counts is for those to say
/// who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// The publisher, as its node calls it.
    pub publisher: u64,
    /// How far the publisher was when it sent that for which there is room.
    pub position: u64,
}
