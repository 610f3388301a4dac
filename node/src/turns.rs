//! What waits in a mailbox, and whose turn it is.
//!
//! The messages of each publisher wait in a backlog of their own, and the backlogs take turns by
//! bytes (deficit round robin): who publishes little does not stand behind the backlog of who
//! publishes much. A message that is longer than what is left of a turn leaves all the same, and the
//! next turns of its publisher make up for it, as far as others wait meanwhile.
//!
//! What is lost is told where it is missing among the messages of its publisher: right behind the
//! last one before it, and at once if there is none.

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use crate::charge::MESSAGE_BYTES;
use crate::longest::Longest;
use crate::source::Source;

/// Messages in the order in which they leave. It has no bounds of its own.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    /// Besides those of whom something waits a few that are empty, because most publishers come back.
    backlogs: Slab<Backlog<T>>,
    places: HashMap<Source, usize>,
    /// The place of the backlog that was pushed to last: mostly it is the next one, too.
    last: usize,
    /// The backlogs whose turn comes, the first of which has it. One that was emptied by losses stays
    /// until it is its turn.
    turns: VecDeque<usize>,
    longest: Longest,
    /// How many messages wait.
    messages: usize,
    /// Payloads and headers of what waits.
    bytes: usize,
    /// Lost, and to be told next.
    missed: u64,
    /// How often all had their turn when something was taken last.
    round: u64,
    /// How many messages have been pushed so far.
    pushed: u64,
    /// How many had been, when the [mark](Self::mark) was set.
    mark: u64,
    /// How many of these still wait.
    marked: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
    /// How many had been pushed before.
    number: u64,
    /// Lost between this one and the next.
    missed_after: u64,
}

/// What waits of one publisher.
#[derive(Debug)]
struct Backlog<T> {
    source: Source,
    waiting: VecDeque<Waiting<T>>,
    /// What that costs.
    cost: usize,
    /// What it may still take in the round, or owes if it is below zero.
    credit: isize,
    /// The round in which it has its turn, or had it last.
    round: u64,
    /// Whether it is among the turns.
    is_in_turns: bool,
}

/// What leaves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Popped<T> {
    /// The next message, and its bytes.
    Message(T, usize),
    /// So many were lost here.
    Missed(u64),
}

impl<T> Turns<T> {
    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    /// Whether no message waits. There may be losses to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// How many bytes wait, without what a message costs besides.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether [`pop`](Self::pop) has something.
    pub(crate) fn has_next(&self) -> bool {
        self.missed > 0 || !self.is_empty()
    }

    /// Puts a message behind the others of its publisher.
    pub(crate) fn push(&mut self, source: Source, bytes: usize, item: T) {
        let place = match self.find(source) {
            Some(place) => place,
            None => self.add(source),
        };
        self.last = place;
        let backlog = &mut self.backlogs[place];
        let was_empty = backlog.waiting.is_empty();
        backlog.waiting.push_back(Waiting {
            item,
            bytes,
            number: self.pushed,
            missed_after: 0,
        });
        backlog.cost += cost(bytes);
        self.pushed += 1;
        self.messages += 1;
        self.bytes += bytes;
        self.longest.grown(place, was_empty, backlog.cost);
        if !backlog.is_in_turns {
            self.line_up(place);
        }
    }

    /// A message of this publisher is not let in.
    pub(crate) fn lose(&mut self, source: Source) {
        let place = self.find(source);
        let newest = place.and_then(|place| self.backlogs[place].waiting.back_mut());
        let missed = newest.map(|newest| &mut newest.missed_after);
        *missed.unwrap_or(&mut self.missed) += 1;
    }

    /// Loses the oldest message of the longest backlog, if there is one.
    pub(crate) fn lose_oldest(&mut self) -> Option<T> {
        let place = self.longest.first()?;
        let lost = self.take_first(place)?;
        self.missed += 1;
        Some(lost.item)
    }

    /// Takes out what is next.
    pub(crate) fn pop(&mut self) -> Option<Popped<T>> {
        if self.missed > 0 {
            return Some(Popped::Missed(std::mem::take(&mut self.missed)));
        }
        let place = self.next_turn()?;
        let Waiting { item, bytes, .. } = self.take_first(place)?;
        let backlog = &mut self.backlogs[place];
        backlog.credit = backlog.credit.saturating_sub_unsigned(cost(bytes));
        if backlog.waiting.is_empty() {
            backlog.is_in_turns = false;
            self.turns.pop_front();
        }
        Some(Popped::Message(item, bytes))
    }

    /// Loses all, and tells nothing more. Returns what waited, in no order.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        let backlogs = std::mem::take(self).backlogs.into_iter();
        let waiting = backlogs.flat_map(|(_, backlog)| backlog.waiting);
        waiting.map(|waiting| waiting.item)
    }

    /// Remembers what waits, in place of what was remembered before.
    pub(crate) fn mark(&mut self) {
        self.mark = self.pushed;
        self.marked = self.messages;
    }

    /// Whether none of what waited at the [mark](Self::mark) still does.
    pub(crate) fn is_past_mark(&self) -> bool {
        self.marked == 0
    }

    /// A burst must not hold its memory once it is over.
    pub(crate) fn give_back_memory(&mut self) {
        self.forget_empty();
        if self.is_empty() && self.backlogs.capacity() > PUBLISHERS_KEPT {
            self.backlogs = Slab::new();
            self.places = HashMap::new();
            self.turns = VecDeque::new();
            self.longest = Longest::default();
        }
    }

    fn find(&self, source: Source) -> Option<usize> {
        let is_his = |backlog: &Backlog<T>| backlog.source == source;
        match self.backlogs.get(self.last) {
            Some(last) if is_his(last) => Some(self.last),
            _ => self.places.get(&source).copied(),
        }
    }

    fn add(&mut self, source: Source) -> usize {
        self.forget_empty();
        let place = self.backlogs.insert(Backlog {
            source,
            waiting: VecDeque::new(),
            cost: 0,
            credit: TURN,
            round: 0,
            is_in_turns: false,
        });
        self.places.insert(source, place);
        place
    }

    /// Forgets the backlogs that are empty, and what they owe, if they are many.
    fn forget_empty(&mut self) {
        if self.backlogs.len() <= 2 * self.longest.len() + PUBLISHERS_KEPT {
            return;
        }
        let backlogs = &mut self.backlogs;
        self.turns
            .retain(|place| !backlogs[*place].waiting.is_empty());
        backlogs.retain(|_, backlog| !backlog.waiting.is_empty());
        self.places.retain(|_, place| backlogs.contains(*place));
    }

    /// Gives a backlog its turn after all others.
    fn line_up(&mut self, place: usize) {
        let last = self.turns.back();
        let round = last.map_or(self.round, |last| self.backlogs[*last].round);
        let backlog = &mut self.backlogs[place];
        // The rounds that went by without it count for what it owes. It does not save up.
        let missed = isize::try_from(round.saturating_sub(backlog.round)).unwrap_or(isize::MAX);
        let earned = TURN.saturating_mul(missed);
        backlog.credit = backlog.credit.saturating_add(earned).min(TURN);
        backlog.round = round;
        backlog.is_in_turns = true;
        self.turns.push_back(place);
    }

    /// The backlog whose turn it is.
    fn next_turn(&mut self) -> Option<usize> {
        loop {
            let place = *self.turns.front()?;
            let backlog = &mut self.backlogs[place];
            if backlog.waiting.is_empty() {
                backlog.is_in_turns = false;
                self.turns.pop_front();
            } else if backlog.credit > 0 {
                self.round = backlog.round;
                return Some(place);
            } else {
                backlog.credit += TURN;
                backlog.round += 1;
                self.turns.rotate_left(1);
            }
        }
    }

    /// Takes out the first message of a backlog that has some.
    fn take_first(&mut self, place: usize) -> Option<Waiting<T>> {
        let backlog = &mut self.backlogs[place];
        let first = backlog.waiting.pop_front()?;
        backlog.cost -= cost(first.bytes);
        self.longest.shrunk(place, backlog.cost);
        self.messages -= 1;
        self.bytes -= first.bytes;
        self.missed += first.missed_after;
        self.marked -= usize::from(first.number < self.mark);
        if backlog.waiting.is_empty() && backlog.waiting.capacity() > MESSAGES_KEPT {
            backlog.waiting.shrink_to(MESSAGES_KEPT);
        }
        if self.messages == 0 {
            self.round += ROUNDS_WHEN_EMPTY;
        }
        Some(first)
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            backlogs: Slab::new(),
            places: HashMap::new(),
            last: 0,
            turns: VecDeque::new(),
            longest: Longest::default(),
            messages: 0,
            bytes: 0,
            missed: 0,
            round: 0,
            pushed: 0,
            mark: 0,
            marked: 0,
        }
    }
}

/// What a message counts for in a turn: besides payload and headers something for itself, so that
/// many small ones take turns, too.
fn cost(bytes: usize) -> usize {
    bytes + MESSAGE_BYTES
}

/// What a publisher has delivered while it is its turn.
const TURN: isize = 64 << 10;
/// Nobody owes anything when nobody has had to wait: more rounds than any message takes to be made
/// up for.
const ROUNDS_WHEN_EMPTY: u64 = 1 << 16;
/// Besides those of whom something waits, so many publishers are remembered.
const PUBLISHERS_KEPT: usize = 16;
/// And for so many messages of each room is kept.
const MESSAGES_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::registry::SessionId;

    fn source(publisher: usize) -> Source {
        Source::here(SessionId::new(publisher as u64))
    }

    /// Messages that are their publisher and its number.
    type Numbered = Turns<(usize, u64)>;

    /// What publishers have published, and what has become of it.
    #[derive(Default)]
    struct Told {
        published: BTreeMap<usize, u64>,
        /// Lost, by publisher, in order.
        lost: BTreeMap<usize, Vec<u64>>,
        /// The newest received, by publisher.
        newest: BTreeMap<usize, u64>,
        received: u64,
        missed: u64,
    }

    impl Told {
        fn next(&mut self, publisher: usize) -> u64 {
            let number = self.published.entry(publisher).or_default();
            *number += 1;
            *number
        }

        fn pop(&mut self, turns: &mut Numbered) -> bool {
            match turns.pop() {
                None => return false,
                Some(Popped::Missed(count)) => self.missed += count,
                Some(Popped::Message((publisher, number), _)) => {
                    let before = self.newest.insert(publisher, number);
                    assert!(before < Some(number), "out of order");
                    self.received += 1;
                }
            }
            // Whoever has received what came later has been told of all that it lacks.
            let due = |(publisher, lost): (&usize, &Vec<u64>)| {
                let newest = self.newest.get(publisher).copied().unwrap_or_default();
                lost.iter().filter(|number| **number < newest).count() as u64
            };
            let due: u64 = self.lost.iter().map(due).sum();
            assert!(due <= self.missed, "{due} lost, {} told", self.missed);
            true
        }
    }

    proptest! {
        #[test]
        fn each_publishers_messages_leave_in_order_and_what_is_lost_is_told_in_its_place(
            steps in prop::collection::vec((0_u8..8, 0_usize..40, 0_usize..200_000), 1..300),
        ) {
            let (mut turns, mut told) = (Numbered::default(), Told::default());
            for (step, publisher, bytes) in steps {
                match step {
                    0..3 => {
                        let number = told.next(publisher);
                        turns.push(source(publisher), bytes, (publisher, number));
                    }
                    3 => {
                        let number = told.next(publisher);
                        turns.lose(source(publisher));
                        told.lost.entry(publisher).or_default().push(number);
                    }
                    4 => if let Some(longest) = turns.longest.first() {
                        let backlog = &turns.backlogs[longest];
                        prop_assert!(turns.backlogs.iter().all(|(_, own)| own.cost <= backlog.cost));
                        let (publisher, number) = backlog.waiting[0].item;
                        turns.lose_oldest();
                        told.lost.entry(publisher).or_default().push(number);
                    }
                    5 => {
                        turns.give_back_memory();
                        prop_assert!(turns.backlogs.len() <= 2 * turns.longest.len() + PUBLISHERS_KEPT);
                    }
                    _ => {
                        told.pop(&mut turns);
                    }
                }
                let waiting = turns.backlogs.iter().flat_map(|(_, backlog)| &backlog.waiting);
                let bytes: usize = waiting.map(|waiting| waiting.bytes).sum();
                prop_assert_eq!(turns.bytes(), bytes);
            }
            while told.pop(&mut turns) {}
            prop_assert!(!turns.has_next());
            let lost: usize = told.lost.values().map(Vec::len).sum();
            prop_assert_eq!(told.missed, lost as u64);
            prop_assert_eq!(told.received + told.missed, told.published.values().sum::<u64>());
        }

        /// However much waits of others, and however much they have sent before.
        #[test]
        fn a_quiet_publishers_message_leaves_before_any_other_has_sent_more_than_a_turn_and_a_message(
            backlogs in prop::collection::vec((1_usize..60, 1_usize..200_000), 1..6),
            taken in 0_usize..100,
            quiet in 0_usize..1_000_000,
        ) {
            let mut turns = Numbered::default();
            for (publisher, (count, bytes)) in backlogs.iter().enumerate() {
                (0..*count).for_each(|_| turns.push(source(publisher), *bytes, (publisher, 0)));
            }
            for _ in 0..taken {
                turns.pop();
            }
            turns.push(source(99), quiet, (99, 0));
            let mut sent = vec![0; backlogs.len()];
            while let Some(Popped::Message((publisher, _), _)) = turns.pop() && publisher != 99 {
                sent[publisher] += cost(backlogs[publisher].1);
            }
            for (sent, (_, bytes)) in sent.into_iter().zip(&backlogs) {
                prop_assert!(sent <= TURN as usize + cost(*bytes), "{sent} before it");
            }
        }

        /// Whether they have backlogs, or so long messages that one at a time is enough.
        #[test]
        fn publishers_who_always_have_more_send_the_same_number_of_bytes(
            publishers in prop::collection::vec((1_usize..300_000, any::<bool>()), 2..6),
        ) {
            let mut turns = Numbered::default();
            for (publisher, (bytes, has_backlog)) in publishers.iter().enumerate() {
                let is_long = *bytes > TURN as usize;
                for _ in 0..if is_long && !has_backlog { 1 } else { 1_000 } {
                    turns.push(source(publisher), *bytes, (publisher, 0));
                }
            }
            let mut sent = vec![0; publishers.len()];
            while sent.iter().sum::<usize>() < 20 << 20 {
                let Some(Popped::Message((publisher, _), _)) = turns.pop() else {
                    panic!("there is always more")
                };
                sent[publisher] += cost(publishers[publisher].0);
                turns.push(source(publisher), publishers[publisher].0, (publisher, 0));
            }
            let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
            prop_assert!(most - least <= 3 * 300_000, "{sent:?}");
        }
    }

    #[test]
    fn what_one_owes_is_forgotten_while_others_have_their_turns() {
        let mut turns = Numbered::default();
        let rounds = 10;
        turns.push(source(1), rounds * TURN as usize, (1, 0));
        (0..100).for_each(|_| turns.push(source(2), TURN as usize, (2, 0)));
        let popped = |turns: &mut Numbered| match turns.pop() {
            Some(Popped::Message((publisher, _), _)) => publisher,
            _ => panic!("there is more"),
        };
        assert_eq!(popped(&mut turns), 1);
        turns.push(source(1), 1, (1, 1));
        let before = (0..100).take_while(|_| popped(&mut turns) == 2).count();
        assert!(before.abs_diff(rounds) <= 1, "{before}");
        turns.push(source(1), rounds * TURN as usize, (1, 2));
        while popped(&mut turns) == 2 {}
        (0..2 * rounds).for_each(|_| assert_eq!(popped(&mut turns), 2));
        turns.push(source(1), 1, (1, 3));
        assert!((0..2).any(|_| popped(&mut turns) == 1), "it is quiet again");
    }

    #[test]
    fn what_was_there_is_told_apart_from_what_comes_later() {
        let mut turns = Numbered::default();
        turns.push(source(1), 1, (1, 1));
        turns.push(source(1), TURN as usize, (1, 2));
        turns.push(source(2), 1, (2, 1));
        turns.mark();
        turns.push(source(2), 1, (2, 2));
        assert!(!turns.is_past_mark());
        turns.pop();
        turns.lose_oldest();
        assert!(!turns.is_past_mark());
        assert_eq!(turns.pop(), Some(Popped::Missed(1)));
        turns.pop();
        assert!(turns.is_past_mark());
        assert_eq!(turns.len(), 1);
    }

    #[test]
    fn of_a_flood_from_one_publisher_little_is_left() {
        let mut turns = Numbered::default();
        for number in 0..100_000 {
            turns.push(source(1), 1, (1, number));
        }
        // Others go on, so that the mailbox is never empty.
        for number in 0..250_000 {
            turns.push(source(2), 1, (2, number));
            turns.pop();
        }
        let flooded = &turns.backlogs[turns.find(source(1)).unwrap()].waiting;
        assert!(flooded.is_empty() && flooded.capacity() < 2 * MESSAGES_KEPT);
    }

    #[test]
    fn of_a_flood_from_many_publishers_nothing_is_left() {
        let flooded = |loses: bool| {
            let mut turns = Numbered::default();
            for publisher in 0..100_000 {
                turns.push(source(publisher), 1, (publisher, 0));
                if loses && publisher >= 1_000 {
                    turns.lose_oldest();
                }
            }
            turns
        };
        let mut turns = flooded(true);
        assert!(turns.backlogs.len() <= 3_000 && turns.turns.len() <= 3_000);
        assert!(turns.backlogs.capacity() < 10_000 && turns.turns.capacity() < 10_000);
        assert!(turns.places.capacity() < 10_000);
        for turns in [&mut turns, &mut flooded(false)] {
            while turns.pop().is_some() {}
            turns.give_back_memory();
            assert_eq!(turns.backlogs.capacity() + turns.turns.capacity(), 0);
            assert_eq!(turns.places.capacity(), 0);
        }
    }
}
