//! The assured messages that have come to this node: which, so that none is delivered twice, and what
//! became of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::MemberId;
use tidings_transport::Peer;
use tokio::time::Instant;

use crate::RecvError;
use crate::assurance::{Assurance, Fate, Id, MEMBERS_MAX as ASKED_MAX, Numbered};
use crate::counters::Counters;
use crate::departed::Departed;
use crate::mailbox::{Mailbox, Pushed, Subscriber};
use crate::ticket::{Acknowledge, Ticket};

/// The assured messages of all nodes, by node.
#[derive(Debug)]
pub(crate) struct Received {
    peers: Mutex<HashMap<NodeId, Arc<FromNode>>>,
    departed: Arc<Departed>,
    counters: Arc<Counters>,
}

/// The assured messages that one node has sent here.
///
/// Its numbers go up by one, though they may arrive in another order. So what has come is all that is
/// below `next`, but for what is missing.
pub(crate) struct FromNode {
    /// Says something to that node.
    say: Box<dyn Fn(&Assurance) + Send + Sync>,
    departed: Arc<Departed>,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The run of the node that the numbers are of.
    run: Incarnation,
    next: u64,
    missing: BTreeSet<u64>,
    /// Of those that have come and that may be asked about.
    records: BTreeMap<u64, Record>,
    /// How many members they have.
    members: usize,
}

/// What became of a message here.
#[derive(Debug)]
struct Record {
    /// When its publisher waits no more.
    until: Instant,
    fates: HashMap<MemberId, Kept>,
}

#[derive(Debug)]
enum Kept {
    /// This, for good.
    Final(Fate),
    /// It was put into this mailbox, and is yet to be acknowledged.
    Waiting(Arc<Mailbox>),
}

/// One message of one run of a node.
#[derive(Debug)]
struct Slip {
    from: Arc<FromNode>,
    run: Incarnation,
    number: u64,
}

impl Received {
    /// The members whose sessions have ended are remembered there.
    pub(crate) fn new(departed: Arc<Departed>, counters: Arc<Counters>) -> Self {
        Self {
            peers: Mutex::default(),
            departed,
            counters,
        }
    }

    /// What has come of a peer.
    pub(crate) fn from(&self, peer: &Arc<Peer>) -> Arc<FromNode> {
        // Nothing panics while the lock is held.
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = peers.get(peer.name()) {
            return Arc::clone(from);
        }
        let to = Arc::clone(peer);
        let say = move |said: &Assurance| to.assure(said.encode());
        let from = Arc::new(FromNode::new(
            Arc::clone(&self.departed),
            Arc::clone(&self.counters),
            say,
        ));
        peers.insert(peer.name().clone(), Arc::clone(&from));
        from
    }
}

impl FromNode {
    /// Nothing yet, of the node to which this says something.
    pub(crate) fn new(
        departed: Arc<Departed>,
        counters: Arc<Counters>,
        say: impl Fn(&Assurance) + Send + Sync + 'static,
    ) -> Self {
        Self {
            say: Box::new(say),
            departed,
            counters,
            state: Mutex::default(),
        }
    }

    /// A message has come, of this run of the node. It is delivered if it has not come before, and if those
    /// before which it must not be are there; its publisher is told what became of it. `deliver` calls
    /// what it is given for each subscriber.
    pub(crate) fn receive(
        self: &Arc<Self>,
        run: Incarnation,
        numbered: &Numbered,
        deliver: impl FnOnce(Ticket, &mut dyn FnMut(&Arc<Subscriber>, Pushed)),
    ) {
        let number = numbered.number;
        let mut state = self.state();
        if !state.is_of(run) {
            return;
        }
        if state.has(number) {
            self.counters.assured_known.fetch_add(1, Relaxed);
        } else {
            let is_early = numbered.after.is_some_and(|after| !state.has(after));
            if is_early || !state.has_room(Instant::now()) {
                // Nothing is said: its node asks, and sends it again.
                return;
            }
            state.add(number);
            let slip = || Slip {
                from: Arc::clone(self),
                run,
                number,
            };
            let ticket = Ticket(numbered.acknowledged.then(|| Arc::new(slip()) as _));
            let mut fates = HashMap::new();
            // Under the lock, so that nothing is told of it before it is in the mailbox.
            deliver(ticket, &mut |subscriber, pushed| {
                let kept = Kept::new(&subscriber.mailbox, pushed, numbered.acknowledged);
                fates.insert(subscriber.member, kept);
            });
            state.members += fates.len();
            let until = Instant::now() + numbered.left();
            state.records.insert(number, Record { until, fates });
        }
        let told = state.records.get(&number).map_or_else(Vec::new, |record| {
            let fates = record.fates.iter();
            fates.map(|(member, kept)| (*member, kept.fate())).collect()
        });
        drop(state);
        Assurance::told(number, &told).for_each(|said| (self.say)(&said));
    }

    /// This run of the node asks what became of a message with these members.
    pub(crate) fn asked(&self, run: Incarnation, number: u64, members: Vec<Id>) {
        let mut state = self.state();
        if !state.is_of(run) {
            return;
        }
        let said = match state.records.get(&number) {
            _ if !state.has(number) => Assurance::Unseen { number },
            // Nobody waits for it any more.
            None => return,
            Some(record) => {
                let fate = |id| {
                    let member = MemberId::from_bytes(id);
                    match record.fates.get(&member) {
                        Some(kept) => (id, kept.fate()),
                        None if self.departed.has_died(member) => (id, Fate::Died),
                        None => (id, Fate::Left),
                    }
                };
                let fates = members.into_iter().take(ASKED_MAX).map(fate).collect();
                Assurance::Told { number, fates }
            }
        };
        drop(state);
        (self.say)(&said);
    }

    /// This run of the node asks no more about a message.
    pub(crate) fn settled(&self, run: Incarnation, number: u64) {
        let mut state = self.state();
        if state.is_of(run)
            && let Some(record) = state.records.remove(&number)
        {
            state.members -= record.fates.len();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the numbers are of this run. If it is a later one, they are from now on.
    fn is_of(&mut self, run: Incarnation) -> bool {
        if run > self.run {
            *self = Self {
                run,
                ..Self::default()
            };
        }
        run == self.run
    }

    /// Whether a message has come, or will not be taken any more.
    fn has(&self, number: u64) -> bool {
        number < self.next && !self.missing.contains(&number)
    }

    /// A message that had not come has.
    fn add(&mut self, number: u64) {
        if number < self.next {
            self.missing.remove(&number);
            return;
        }
        // A peer may say any number.
        let from = self.next.max(number.saturating_sub(MISSING_MAX));
        self.missing.extend(from..number);
        while self.missing.len() as u64 > MISSING_MAX {
            self.missing.pop_first();
        }
        self.next = number.saturating_add(1);
    }

    /// Whether there is room for the record of one more.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_full = |own: &Self| own.records.len() >= RECORDS_MAX || own.members >= MEMBERS_MAX;
        if is_full(self) {
            self.records.retain(|_, record| record.until > now);
            let members = self.records.values().map(|record| record.fates.len());
            self.members = members.sum();
        }
        !is_full(self)
    }
}

impl Kept {
    fn new(mailbox: &Arc<Mailbox>, pushed: Pushed, acknowledged: bool) -> Self {
        match pushed {
            Pushed::Kept | Pushed::KeptPressing | Pushed::KeptLosing(_) if acknowledged => {
                Self::Waiting(Arc::clone(mailbox))
            }
            Pushed::Kept | Pushed::KeptPressing | Pushed::KeptLosing(_) => Self::Final(Fate::Taken),
            Pushed::Lost { .. } | Pushed::CutOff(_) | Pushed::Denied => Self::Final(Fate::Refused),
            Pushed::Closed => Self::Final(Fate::Died),
        }
    }

    fn fate(&self) -> Fate {
        match self {
            Self::Final(fate) => *fate,
            // What waits is still received when the node leaves.
            Self::Waiting(mailbox) => match mailbox.closed() {
                None | Some(RecvError::NodeStopped) => Fate::Taken,
                Some(_) => Fate::Died,
            },
        }
    }
}

impl Acknowledge for Slip {
    fn acknowledge(&self, member: MemberId) {
        let mut state = self.from.state();
        if state.run != self.run {
            return;
        }
        let record = state.records.get_mut(&self.number);
        let Some(kept) = record.and_then(|record| record.fates.get_mut(&member)) else {
            return;
        };
        *kept = Kept::Final(Fate::Acknowledged);
        drop(state);
        let told = [(member, Fate::Acknowledged)];
        Assurance::told(self.number, &told).for_each(|said| (self.from.say)(&said));
    }
}

impl fmt::Debug for FromNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromNode").finish_non_exhaustive()
    }
}

/// How many messages of a node are remembered to be missing. An older one is not taken any more.
const MISSING_MAX: u64 = 4 << 10;
/// Of how many messages of a node it is remembered what became of them: as many as one has open at a time.
pub(crate) const RECORDS_MAX: usize = 4 << 10;
/// And with how many members, in all of them: some 16 MiB.
pub(crate) const MEMBERS_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tidings_transport::Budget;

    use super::*;
    use crate::mailbox::MailboxConfig;
    use crate::registry::SessionId;

    const RUN: Incarnation = Incarnation::new(7);

    /// What has come of a node, and what that node has been told.
    fn from() -> (Arc<FromNode>, Arc<Mutex<Vec<Assurance>>>) {
        let said = Arc::<Mutex<Vec<Assurance>>>::default();
        let heard = Arc::clone(&said);
        let say = move |word: &Assurance| heard.lock().unwrap().push(word.clone());
        let from = FromNode::new(Arc::default(), Arc::new(Counters::new()), say);
        (Arc::new(from), said)
    }

    fn subscriber(number: u8) -> Arc<Subscriber> {
        let budget = Arc::new(Budget::new(usize::MAX));
        Arc::new(Subscriber {
            member: MemberId::from_bytes([number; 16]),
            tag: 0,
            session: SessionId::new(1),
            is_private: false,
            queue: None,
            mailbox: Arc::new(Mailbox::new(MailboxConfig::default(), &budget)),
            grant: None,
        })
    }

    fn numbered(number: u64, after: Option<u64>) -> Numbered {
        Numbered::new(number, after, true, Duration::from_secs(1))
    }

    /// Whether a message is delivered that comes with this.
    fn receive(from: &Arc<FromNode>, run: Incarnation, numbered: &Numbered) -> bool {
        let mut is_delivered = false;
        from.receive(run, numbered, |_, _| is_delivered = true);
        is_delivered
    }

    #[test]
    fn a_message_that_comes_again_is_not_delivered_again_and_told_of_again() {
        let (from, said) = from();
        let subscriber = subscriber(1);
        let mut tickets = Vec::new();
        for _ in 0..3 {
            from.receive(RUN, &numbered(0, None), |ticket, pushed| {
                pushed(&subscriber, Pushed::Kept);
                tickets.push(ticket);
            });
        }
        assert_eq!(tickets.len(), 1);
        let told = |fate| Assurance::Told {
            number: 0,
            fates: vec![([1; 16], fate)],
        };
        assert_eq!(
            std::mem::take(&mut *said.lock().unwrap()),
            vec![told(Fate::Taken); 3]
        );

        let ticket = tickets.remove(0).0.unwrap();
        ticket.acknowledge(subscriber.member);
        ticket.acknowledge(MemberId::from_bytes([2; 16]));
        from.asked(RUN, 0, vec![[1; 16]]);
        subscriber.mailbox.close(RecvError::Ended);
        from.asked(RUN, 0, vec![[1; 16]]);
        assert_eq!(*said.lock().unwrap(), vec![told(Fate::Acknowledged); 3]);

        from.settled(RUN, 0);
        assert!(!receive(&from, RUN, &numbered(0, None)));
        from.asked(RUN, 0, vec![[1; 16]]);
        assert_eq!(said.lock().unwrap().len(), 3, "nobody waits for it");
    }

    #[test]
    fn what_became_of_a_message_is_told_of_each_member() {
        let (from, said) = from();
        let members: Vec<_> = (0..7).map(subscriber).collect();
        let pushed = [
            Pushed::KeptPressing,
            Pushed::KeptLosing(3),
            Pushed::Lost { pressing: true },
            Pushed::CutOff(2),
            Pushed::Closed,
            Pushed::Denied,
        ];
        from.receive(RUN, &numbered(0, None), |_, tell| {
            let each = members.iter().zip(pushed);
            each.for_each(|(subscriber, pushed)| tell(subscriber, pushed));
        });
        members[1].mailbox.close(RecvError::Ended);
        from.departed.add([members[6].member].into_iter());
        said.lock().unwrap().clear();
        from.asked(RUN, 0, (0..8).map(|number| [number; 16]).collect());
        let fates = [
            Fate::Taken,
            Fate::Died,
            Fate::Refused,
            Fate::Refused,
            Fate::Died,
            Fate::Refused,
            Fate::Died,
            Fate::Left,
        ];
        let fates = (0..8).map(|number| [number; 16]).zip(fates).collect();
        assert_eq!(
            *said.lock().unwrap(),
            [Assurance::Told { number: 0, fates }]
        );
    }

    #[test]
    fn a_message_before_whose_turn_it_is_is_not_taken() {
        let (from, said) = from();
        assert!(receive(&from, RUN, &numbered(1, None)));
        assert!(!receive(&from, RUN, &numbered(3, Some(2))));
        assert!(!receive(&from, RUN, &numbered(2, Some(0))), "0 was lost");
        from.asked(RUN, 3, vec![[1; 16]]);
        assert_eq!(*said.lock().unwrap(), [Assurance::Unseen { number: 3 }]);
        for (number, after) in [(0, None), (2, Some(0)), (3, Some(2))] {
            assert!(receive(&from, RUN, &numbered(number, after)));
        }
    }

    #[test]
    fn another_run_of_the_node_is_numbered_anew_and_an_older_one_not_heard() {
        let (from, said) = from();
        assert!(receive(&from, RUN, &numbered(0, None)));
        let later = Incarnation::new(8);
        assert!(receive(&from, later, &numbered(0, None)));
        assert!(!receive(&from, RUN, &numbered(1, None)));
        from.asked(RUN, 0, vec![[1; 16]]);
        assert!(said.lock().unwrap().is_empty());
    }

    #[test]
    fn what_a_peer_makes_up_is_bounded() {
        let (from, _) = from();
        assert!(receive(&from, RUN, &numbered(u64::MAX - 1, None)));
        assert!(!receive(&from, RUN, &numbered(u64::MAX - 1, None)));
        for number in (0..3 * MISSING_MAX).map(|number| number * number) {
            receive(&from, RUN, &numbered(number, None));
        }
        let state = from.state();
        assert!(state.missing.len() as u64 <= MISSING_MAX);
        assert!(state.records.len() <= RECORDS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_too_many_open_is_heard_again_once_their_time_is_over() {
        let (from, _) = from();
        for number in 0..RECORDS_MAX as u64 {
            assert!(receive(&from, RUN, &numbered(number, None)));
        }
        let next = numbered(RECORDS_MAX as u64, None);
        assert!(!receive(&from, RUN, &next));
        from.settled(RUN, 5);
        assert!(receive(&from, RUN, &next), "there is room for one");
        let next = numbered(RECORDS_MAX as u64 + 1, None);
        assert!(!receive(&from, RUN, &next));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(receive(&from, RUN, &next));
    }

    proptest! {
        #[test]
        fn each_is_delivered_once_in_whatever_order_they_come(
            order in Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..40_u64, 0..40),
        ) {
            let (from, _) = from();
            let mut delivered = BTreeSet::new();
            for number in order.into_iter().take(30).chain(again) {
                let is_new = delivered.insert(number);
                prop_assert_eq!(receive(&from, RUN, &numbered(number, None)), is_new);
            }
        }
    }
}
