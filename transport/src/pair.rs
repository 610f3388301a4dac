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
//! time: the caller closes what it gets back as replaced.

use tidings_identity::Incarnation;

use crate::{CloseCode, LinkNumber};

/// One node's side of a pair. `T` stands for a connection.
#[derive(Debug)]
pub(crate) struct Pair<T> {
    /// Our incarnation when we are the arbiter.
    arbiter: Option<Incarnation>,
    /// The highest number given out (arbiter) or heard of (follower).
    latest: LinkNumber,
    slot: Option<Slot<T>>,
}

/// The connection that is, or is about to be, the link.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) number: LinkNumber,
    /// `None` while the arbiter waits for the answer to its own dial.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) up: bool,
    pub(crate) holder: T,
}

/// What the other side's Hello says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) incarnation: Incarnation,
    pub(crate) number: LinkNumber,
}

/// A connection has taken the slot.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) number: LinkNumber,
    /// What held the slot before and is to be closed.
    pub(crate) replaced: Option<T>,
}

impl<T> Pair<T> {
    /// `arbiter` is our incarnation if our name is the smaller one.
    pub(crate) fn new(arbiter: Option<Incarnation>) -> Self {
        Self {
            arbiter,
            latest: LinkNumber::default(),
            slot: None,
        }
    }

    pub(crate) fn slot(&self) -> Option<&Slot<T>> {
        self.slot.as_ref()
    }

    /// We have dialled and are about to send our Hello: the number it is to carry, or `None` when
    /// the dial is no longer needed.
    pub(crate) fn offer(&mut self, holder: T) -> Option<LinkNumber> {
        if self.slot.is_some() {
            return None;
        }
        if self.arbiter.is_some() {
            self.take(holder, None, false);
        }
        Some(self.latest)
    }

    /// A Hello has arrived on a connection that the other side dialled. On success our Hello, with
    /// the number, is the answer.
    pub(crate) fn answer(&mut self, claim: Claim, holder: T) -> Result<Taken<T>, CloseCode> {
        if self.arbiter.is_none() {
            return self.follow(claim, holder, false);
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
        Ok(self.take(holder, Some(claim.incarnation), false))
    }

    /// The other side's Hello has arrived on a connection that we dialled, with `offered` in our
    /// Hello. On success the link is up for us, and Ready is to be sent.
    pub(crate) fn answered(
        &mut self,
        offered: LinkNumber,
        claim: Claim,
        holder: T,
    ) -> Result<Taken<T>, CloseCode> {
        if self.arbiter.is_none() {
            return self.follow(claim, holder, true);
        }
        match &mut self.slot {
            Some(slot) if slot.number == offered => {
                slot.incarnation = Some(claim.incarnation);
                slot.up = true;
                Ok(Taken {
                    number: offered,
                    replaced: None,
                })
            }
            _ => Err(CloseCode::Abandoned),
        }
    }

    /// The link with this number is up. `None` when it has been replaced in the meantime.
    pub(crate) fn ready(&mut self, number: LinkNumber) -> Option<&mut Slot<T>> {
        let slot = self.slot.as_mut().filter(|slot| slot.number == number)?;
        slot.up = true;
        Some(slot)
    }

    /// The connection with this number has ended. True if it held the slot, which is free now.
    pub(crate) fn release(&mut self, number: LinkNumber) -> bool {
        self.slot.take_if(|slot| slot.number == number).is_some()
    }

    /// Frees the slot; what it held is to be closed.
    pub(crate) fn evict(&mut self) -> Option<T> {
        self.slot.take().map(|slot| slot.holder)
    }

    fn follow(&mut self, claim: Claim, holder: T, up: bool) -> Result<Taken<T>, CloseCode> {
        if claim.number.is_of_earlier_run(self.latest) {
            return Err(CloseCode::Stale);
        }
        if claim.number <= self.latest {
            // The arbiter has decided for another connection since.
            return Err(CloseCode::Duplicate);
        }
        self.latest = claim.number;
        let slot = Slot {
            number: claim.number,
            incarnation: Some(claim.incarnation),
            up,
            holder,
        };
        Ok(Taken {
            number: claim.number,
            replaced: self.slot.replace(slot).map(|slot| slot.holder),
        })
    }

    /// The arbiter gives its next number to `holder`.
    fn take(&mut self, holder: T, incarnation: Option<Incarnation>, up: bool) -> Taken<T> {
        self.latest = self.latest.next(self.arbiter.unwrap_or_default());
        let slot = Slot {
            number: self.latest,
            incarnation,
            up,
            holder,
        };
        Taken {
            number: self.latest,
            replaced: self.slot.replace(slot).map(|slot| slot.holder),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Message {
        /// The dial has got through; to its dialler.
        Connected,
        Hello(LinkNumber),
        Ready,
        Closed,
    }

    /// A connection between two sides. Messages keep their order in each direction only.
    struct Connection {
        dialler: usize,
        open: [bool; 2],
        /// Messages on their way to each side.
        to: [VecDeque<Message>; 2],
        /// The number that each side knows it by.
        number: [Option<LinkNumber>; 2],
    }

    struct World {
        /// 0 is the arbiter.
        pairs: [Pair<usize>; 2],
        connections: Vec<Connection>,
    }

    impl World {
        fn new() -> Self {
            Self {
                pairs: [Pair::new(Some(1.into())), Pair::new(None)],
                connections: Vec::new(),
            }
        }

        fn dial(&mut self, dialler: usize) {
            let mut to = [VecDeque::new(), VecDeque::new()];
            to[dialler].push_back(Message::Connected);
            self.connections.push(Connection {
                dialler,
                open: [true; 2],
                to,
                number: [None; 2],
            });
        }

        fn close(&mut self, side: usize, id: usize) {
            let connection = &mut self.connections[id];
            if std::mem::take(&mut connection.open[side]) {
                connection.to[1 - side].clear();
                connection.to[1 - side].push_back(Message::Closed);
            }
            if let Some(number) = self.connections[id].number[side].take() {
                self.pairs[side].release(number);
            }
        }

        fn in_flight(&self) -> Vec<(usize, usize)> {
            let all = (0..self.connections.len()).flat_map(|id| [(id, 0), (id, 1)]);
            all.filter(|(id, side)| !self.connections[*id].to[*side].is_empty())
                .collect()
        }

        fn deliver(&mut self, id: usize, side: usize) {
            let connection = &mut self.connections[id];
            let Some(message) = connection.to[side].pop_front() else {
                return;
            };
            if !connection.open[side] {
                return;
            }
            let claim = |number| Claim {
                incarnation: 1.into(),
                number,
            };
            let reply = match message {
                Message::Closed => None,
                Message::Connected => {
                    let number = self.pairs[side].offer(id);
                    connection.number[side] = number;
                    number.map(Message::Hello)
                }
                Message::Hello(number) if connection.dialler == side => {
                    let offered = connection.number[side].unwrap();
                    match self.pairs[side].answered(offered, claim(number), id) {
                        Ok(taken) => {
                            connection.number[side] = Some(taken.number);
                            self.replace(side, taken.replaced);
                            Some(Message::Ready)
                        }
                        Err(_) => None,
                    }
                }
                Message::Hello(number) => match self.pairs[side].answer(claim(number), id) {
                    Ok(taken) => {
                        connection.number[side] = Some(taken.number);
                        self.replace(side, taken.replaced);
                        Some(Message::Hello(taken.number))
                    }
                    Err(_) => None,
                },
                Message::Ready => {
                    let number = connection.number[side].unwrap();
                    if self.pairs[side].ready(number).is_some() {
                        return;
                    }
                    None
                }
            };
            match reply {
                Some(message) => self.connections[id].to[1 - side].push_back(message),
                None => self.close(side, id),
            }
        }

        fn replace(&mut self, side: usize, replaced: Option<usize>) {
            if let Some(replaced) = replaced {
                self.close(side, replaced);
            }
        }

        /// Delivers everything, and dials from every side without a connection, until both have
        /// a link. Returns how many dials it took.
        fn settle(&mut self, order: &mut impl FnMut(usize) -> usize) -> usize {
            for dials in 0..20 {
                while let flights = self.in_flight()
                    && !flights.is_empty()
                {
                    let (id, side) = flights[order(flights.len())];
                    self.deliver(id, side);
                }
                let missing = |side: &usize| self.pairs[*side].slot().is_none();
                let missing: Vec<_> = (0..2).filter(missing).collect();
                if missing.is_empty() {
                    return dials;
                }
                missing.into_iter().for_each(|side| self.dial(side));
            }
            panic!("the two sides do not come to rest");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Dial(usize),
        Deliver(usize),
        Break(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0usize..2).prop_map(Step::Dial),
            8 => any::<usize>().prop_map(Step::Deliver),
            1 => (any::<usize>(), 0usize..2).prop_map(|(id, side)| Step::Break(id, side)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn whatever_crosses_or_breaks_exactly_one_link_remains(
            steps in prop::collection::vec(step(), 0..60),
            order in prop::collection::vec(any::<usize>(), 1..50),
        ) {
            let mut world = World::new();
            for step in steps {
                match step {
                    Step::Dial(side) => world.dial(side),
                    Step::Deliver(n) => {
                        let flights = world.in_flight();
                        if !flights.is_empty() {
                            let (id, side) = flights[n % flights.len()];
                            world.deliver(id, side);
                        }
                    }
                    Step::Break(id, side) if !world.connections.is_empty() => {
                        let id = id % world.connections.len();
                        world.close(side, id);
                    }
                    Step::Break(..) => {}
                }
            }
            let mut order = order.into_iter().cycle();
            let dials = world.settle(&mut |n| order.next().unwrap() % n);
            prop_assert!(dials <= 3, "took {} rounds of dialling", dials);

            let slots = world.pairs.each_ref().map(|pair| pair.slot().unwrap());
            prop_assert!(slots[0].up && slots[1].up);
            prop_assert_eq!(slots[0].number, slots[1].number);
            prop_assert_eq!(slots[0].holder, slots[1].holder);
            let open = world.connections.iter().filter(|c| c.open.contains(&true));
            prop_assert_eq!(open.count(), 1);
        }
    }

    fn claim(incarnation: u64, number: LinkNumber) -> Claim {
        Claim {
            incarnation: incarnation.into(),
            number,
        }
    }

    #[test]
    fn the_dial_of_the_arbiter_survives_a_crossing() {
        let mut arbiter = Pair::new(Some(1.into()));
        let offered = arbiter.offer("own").unwrap();
        let crossed = arbiter.answer(claim(1, LinkNumber::default()), "crossed");
        assert_eq!(crossed.unwrap_err(), CloseCode::Duplicate);
        let lost_it = arbiter.answer(claim(1, offered), "again");
        assert_eq!(lost_it.unwrap().replaced, Some("own"));
    }

    #[test]
    fn a_later_run_of_the_peer_replaces_and_an_earlier_is_refused() {
        let mut arbiter = Pair::new(Some(1.into()));
        let none = LinkNumber::default();
        arbiter.answer(claim(5, none), "first").unwrap();
        let later = arbiter.answer(claim(6, none), "later").unwrap();
        assert_eq!(later.replaced, Some("first"));
        let earlier = arbiter.answer(claim(5, later.number), "earlier");
        assert_eq!(earlier.unwrap_err(), CloseCode::Stale);
    }

    #[test]
    fn the_follower_takes_only_what_is_newer() {
        let mut follower = Pair::new(None);
        let number = |counter| LinkNumber::new(7.into(), counter);
        follower.answer(claim(7, number(2)), "second").unwrap();
        let first = follower.answer(claim(7, number(1)), "first");
        assert_eq!(first.unwrap_err(), CloseCode::Duplicate);
        let third = follower.answer(claim(7, number(3)), "third").unwrap();
        assert_eq!(third.replaced, Some("second"));
        let earlier_run = follower.answer(claim(6, LinkNumber::new(6.into(), 9)), "stale");
        assert_eq!(earlier_run.unwrap_err(), CloseCode::Stale);
    }
}
