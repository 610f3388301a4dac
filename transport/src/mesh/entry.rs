use std::net::SocketAddr;

use tidings_identity::{Incarnation, NodeId};

use super::effect::Effect;
use crate::CloseCode;
use crate::pair::Pair;

/// What is known about a peer.
#[derive(Debug)]
pub(super) struct Entry<C> {
    pub(super) pair: Pair<C>,
    pub(super) kept: Option<Kept>,
    /// The run of the peer that frames are queued for.
    pub(super) incarnation: Option<Incarnation>,
}

/// The run of a peer that is to have a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) incarnation: Incarnation,
    pub(super) addr: SocketAddr,
    /// Somebody else has answered there, so the peer is waited for and not dialled.
    pub(super) is_elsewhere: bool,
}

impl<C: Copy + Eq> Entry<C> {
    /// The connection that is the link.
    pub(super) fn link(&self) -> Option<C> {
        self.pair
            .slot()
            .filter(|slot| slot.up)
            .map(|slot| slot.connection)
    }

    pub(super) fn evict(&mut self, code: CloseCode) -> Option<Effect<C>> {
        let connection = self.pair.evict()?;
        Some(Effect::Close { connection, code })
    }

    /// Frames are for this run of the peer from now on.
    pub(super) fn expect_run(
        &mut self,
        peer: &NodeId,
        incarnation: Incarnation,
    ) -> Option<Effect<C>> {
        let before = self.incarnation.replace(incarnation)?;
        (before != incarnation).then(|| Effect::RestartLanes(peer.clone()))
    }
}
