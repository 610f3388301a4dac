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
        });
    }

    fn close(&mut self, side: usize, id: usize) {
        let connection = &mut self.connections[id];
        if std::mem::take(&mut connection.open[side]) {
            connection.to[1 - side].clear();
            connection.to[1 - side].push_back(Message::Closed);
        }
        self.pairs[side].release(id);
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
        let reply = match message {
            Message::Closed => None,
            Message::Connected => self.pairs[side].offer(id).map(Message::Hello),
            Message::Hello(number) if connection.dialler == side => {
                match self.pairs[side].answered(claim(1, number), id) {
                    Ok(taken) => {
                        self.replace(side, taken.replaced);
                        self.pairs[side].ready(id).map(|_| Message::Ready)
                    }
                    Err(_) => None,
                }
            }
            Message::Hello(number) => match self.pairs[side].answer(claim(1, number), id) {
                Ok(taken) => {
                    self.replace(side, taken.replaced);
                    Some(Message::Hello(taken.number))
                }
                Err(_) => None,
            },
            Message::Ready => {
                if self.pairs[side].ready(id).is_some() {
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
    fn come_to_rest(&mut self, order: &mut impl FnMut(usize) -> usize) -> usize {
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
        let dials = world.come_to_rest(&mut |n| order.next().unwrap() % n);
        prop_assert!(dials <= 3, "took {} rounds of dialling", dials);

        let slots = world.pairs.each_ref().map(|pair| pair.slot().unwrap());
        prop_assert!(slots[0].up && slots[1].up);
        prop_assert_eq!(slots[0].number, slots[1].number);
        prop_assert_eq!(slots[0].connection, slots[1].connection);
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
