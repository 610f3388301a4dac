//! Which of several connections between two nodes is their link.
//!
//! Two nodes may dial each other at the same moment, and one may believe in a link that the other
//! has already lost. So of each pair the node with the smaller name is the *arbiter*. It numbers
//! the links of the pair, and a higher number beats a lower one; the other node, the *follower*,
//! takes whatever the arbiter has numbered last.
//!
//! A Hello from the arbiter carries the number of the link it is about. A Hello from the follower
//! carries the highest number it has heard of. When a follower dials although the arbiter holds a
//! link, that tells the two possible reasons apart: if the follower knows the number of that link,
//! it has lost it and the new connection replaces it; if it does not, the two dials have crossed
//! and the new connection is refused.
//!
//! Each node holds at most one connection per pair in its slot. All is decided without I/O or
//! time: the caller closes what it gets back as replaced, and says what has ended.

use tidings_identity::Incarnation;

use crate::{CloseCode, LinkNumber};

/// One node's side of a pair. `C` stands for a connection.
#[derive(Debug)]
pub(crate) struct Pair<C> {
    /// Our incarnation when we are the arbiter.
    arbiter: Option<Incarnation>,
    /// The highest number given out (arbiter) or heard of (follower).
    latest: LinkNumber,
    slot: Option<Slot<C>>,
}

/// The connection that is, or is about to be, the link.
#[derive(Debug)]
pub(crate) struct Slot<C> {
    pub(crate) connection: C,
    pub(crate) number: LinkNumber,
    /// The peer's run. `None` while the arbiter waits for the answer to its own dial.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) up: bool,
}

/// What the other side's Hello says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) incarnation: Incarnation,
    pub(crate) number: LinkNumber,
}

/// A connection has taken the slot.
#[derive(Debug)]
pub(crate) struct Taken<C> {
    pub(crate) number: LinkNumber,
    /// What held the slot before and is to be closed.
    pub(crate) replaced: Option<C>,
}

impl<C: Copy + Eq> Pair<C> {
    /// `arbiter` is our incarnation if our name is the smaller one.
    pub(crate) fn new(arbiter: Option<Incarnation>) -> Self {
        Self {
            arbiter,
            latest: LinkNumber::default(),
            slot: None,
        }
    }

    /// The latest run of the other side that is known to have numbered a link.
    pub(crate) fn latest_run(&self) -> Incarnation {
        match self.arbiter {
            Some(_) => Incarnation::default(),
            None => self.latest.incarnation(),
        }
    }

    /// The present run of the other side is this one, and what is known of a later one no longer counts.
    pub(crate) fn go_back_to(&mut self, incarnation: Incarnation) {
        if self.latest_run() > incarnation {
            self.latest = LinkNumber::default();
        }
    }

    pub(crate) fn slot(&self) -> Option<&Slot<C>> {
        self.slot.as_ref()
    }

    /// We have dialled and are about to send our Hello: the number it is to carry, or `None` when
    /// the dial is no longer needed.
    pub(crate) fn offer(&mut self, connection: C) -> Option<LinkNumber> {
        if self.slot.is_some() {
            return None;
        }
        if self.arbiter.is_some() {
            self.number(connection, None);
        }
        Some(self.latest)
    }

    /// A Hello has arrived on a connection that the other side dialled. On success our Hello, with
    /// the number, is the answer.
    pub(crate) fn answer(&mut self, claim: Claim, connection: C) -> Result<Taken<C>, CloseCode> {
        if self.arbiter.is_none() {
            return self.follow(claim, connection);
        }
        if let Some(slot) = &self.slot {
            // While our own dial is unanswered its other end is unknown, and counts as the same
            // run of the peer.
            let held = slot.incarnation.unwrap_or(claim.incarnation);
            if claim.incarnation < held {
                return Err(CloseCode::Stale);
            }
            if claim.incarnation == held && claim.number < slot.number {
                return Err(CloseCode::Duplicate);
            }
        }
        Ok(self.number(connection, Some(claim.incarnation)))
    }

    /// The other side's Hello has arrived on a connection that we dialled, and offered before. On
    /// success Ready is to be sent.
    pub(crate) fn answered(&mut self, claim: Claim, connection: C) -> Result<Taken<C>, CloseCode> {
        if self.arbiter.is_none() {
            return self.follow(claim, connection);
        }
        match &mut self.slot {
            Some(slot) if slot.connection == connection => {
                slot.incarnation = Some(claim.incarnation);
                Ok(Taken {
                    number: slot.number,
                    replaced: None,
                })
            }
            _ => Err(CloseCode::Abandoned),
        }
    }

    /// Both sides agree on the connection: it is the link, to this run of the peer. `None` when it
    /// has been replaced in the meantime.
    pub(crate) fn ready(&mut self, connection: C) -> Option<Incarnation> {
        let slot = self.slot.as_mut();
        let slot = slot.filter(|slot| slot.connection == connection)?;
        slot.up = slot.incarnation.is_some();
        slot.incarnation
    }

    /// The connection has ended. If it held the slot, that is free now.
    pub(crate) fn release(&mut self, connection: C) {
        self.slot.take_if(|slot| slot.connection == connection);
    }

    /// Frees the slot; what it held is to be closed.
    pub(crate) fn evict(&mut self) -> Option<C> {
        self.slot.take().map(|slot| slot.connection)
    }

    /// The follower takes what the arbiter has numbered last.
    fn follow(&mut self, claim: Claim, connection: C) -> Result<Taken<C>, CloseCode> {
        if claim.number.is_of_earlier_run(self.latest) {
            return Err(CloseCode::Stale);
        }
        if claim.number <= self.latest {
            // The arbiter has decided for another connection since.
            return Err(CloseCode::Duplicate);
        }
        self.latest = claim.number;
        Ok(self.take(connection, Some(claim.incarnation)))
    }

    /// The arbiter gives its next number to a connection.
    fn number(&mut self, connection: C, incarnation: Option<Incarnation>) -> Taken<C> {
        self.latest = self.latest.next(self.arbiter.unwrap_or_default());
        self.take(connection, incarnation)
    }

    fn take(&mut self, connection: C, incarnation: Option<Incarnation>) -> Taken<C> {
        let slot = Slot {
            connection,
            number: self.latest,
            incarnation,
            up: false,
        };
        Taken {
            number: self.latest,
            replaced: self.slot.replace(slot).map(|slot| slot.connection),
        }
    }
}

#[cfg(test)]
mod tests;
