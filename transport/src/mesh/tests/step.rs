use proptest::prelude::*;

/// What can happen. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// With `lag` the node has not heard yet that the peer has restarted.
    Keep {
        node: usize,
        peer: usize,
        lag: bool,
    },
    Forget {
        node: usize,
        peer: usize,
    },
    Departed {
        node: usize,
        peer: usize,
    },
    Gossip {
        node: usize,
        addr: usize,
    },
    Break {
        connection: usize,
        side: usize,
    },
    /// As a later run, at an address that may have been another node's.
    Restart(usize),
    /// A message is delivered, or the dialling of an address goes on.
    Go(usize),
}

/// Mostly what is under way goes on.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let pair = || (any::<usize>(), any::<usize>());
    prop_oneof![
        4 => (pair(), any::<bool>()).prop_map(|((node, peer), lag)| Step::Keep { node, peer, lag }),
        1 => pair().prop_map(|(node, peer)| Step::Forget { node, peer }),
        1 => pair().prop_map(|(node, peer)| Step::Departed { node, peer }),
        3 => pair().prop_map(|(node, addr)| Step::Gossip { node, addr }),
        1 => pair().prop_map(|(connection, side)| Step::Break { connection, side }),
        1 => any::<usize>().prop_map(Step::Restart),
        30 => any::<usize>().prop_map(Step::Go),
    ]
}
