//! The assured messages of this node that are open: of which it is not known yet what became of them
//! with every member.
//!
//! A message is sent to each node of its members under a number of its own, and the node tells what
//! became of it. One that says nothing is asked from time to time. If it has not seen the message, and the
//! link that took it is gone, the message is sent again under the same number, and behind it all that the
//! publisher has sent there since and that was not seen either. For each says which one of the publisher
//! is to be there before it, and one that comes too early is not taken. So order is kept without anybody
//! storing what came too early.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Member, MemberId};
use tidings_transport::{Budget, Held};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use crate::Message;
use crate::account::{Account, Addressee};
use crate::assurance::{Assurance, Fate, Id, MEMBERS_MAX as ASKED_MAX, Numbered};
use crate::counters::Counters;
use crate::envelope::Aim;
use crate::leg::{Leg, To};
use crate::open_message::{Before, OpenMessage, Parcel, cost};
use crate::outcome::{AssuredOptions, Outcomes, WaitFor};
use crate::received::{FromNode, MEMBERS_MAX, RECORDS_MAX};
use crate::registry::SessionId;
use crate::remote::Remote;
use crate::source::Source;

/// The open messages of a node.
#[derive(Debug)]
pub(crate) struct Outstanding {
    state: Mutex<State>,
    counters: Arc<Counters>,
    /// Wakes the task that asks and sends again.
    begun: Notify,
}

#[derive(Debug)]
struct State {
    last: u64,
    /// In the order in which they were published.
    open: BTreeMap<u64, OpenMessage>,
    sides: HashMap<NodeId, Side>,
    /// The members of those that are open.
    members: usize,
    /// Their bytes.
    held: Held,
}

/// What is sent to a node.
#[derive(Debug)]
struct Side {
    run: Incarnation,
    /// Grows over all its runs, because what was sent to one may come to the next.
    next: u64,
    /// For this run, the open message of each number, and the place of the node in its account.
    open: BTreeMap<u64, (u64, usize)>,
}

/// A message was taken in.
pub(crate) struct Begun {
    pub(crate) id: u64,
    pub(crate) members: usize,
    pub(crate) done: oneshot::Receiver<Outcomes>,
    /// As what it is to be delivered to members on this node, if there are any.
    pub(crate) here: Option<(Arc<FromNode>, Numbered)>,
}

/// Why a message was not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// So many are open already, of this session or of the node.
    Messages { max: usize },
    /// It has more members than may be waited for.
    Members { members: usize, max: usize },
    /// It is for more queue groups of one peer than a frame names.
    Groups { groups: usize, max: usize },
    /// It has no share of what may wait on the node.
    Bytes,
}

impl Outstanding {
    pub(crate) fn new(budget: &Arc<Budget>, counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::new(State {
                last: 0,
                open: BTreeMap::new(),
                sides: HashMap::new(),
                members: 0,
                held: budget.part(),
            }),
            counters,
            begun: Notify::new(),
        }
    }

    /// Takes a message in, for these members, and sends it to the nodes of those that are on peers. `to`
    /// finds where that is, and `send` says whether the lane took it.
    pub(crate) fn begin(
        &self,
        parcel: Parcel,
        options: AssuredOptions,
        members: Vec<Member>,
        to: impl Fn(&NodeId) -> Option<To>,
        mut send: impl FnMut(&Parcel, &Remote, Aim) -> bool,
    ) -> Result<Begun, Full> {
        let (publisher, message) = (parcel.publisher, Arc::clone(&parcel.message));
        let now = Instant::now();
        let timeout = options.timeout.get();
        let acknowledged = options.wait_for == WaitFor::Acknowledged;
        let members = members.into_iter().map(Addressee::from).collect();
        let mut account = Account::new(options.wait_for, members);
        let mut state = self.state();
        state.admit(publisher.session, &message, account.len())?;
        state.last += 1;
        let id = state.last;
        let nodes: Vec<NodeId> = account.nodes().cloned().collect();
        let (mut legs, mut here) = (Vec::new(), None);
        for (at, node) in nodes.iter().enumerate() {
            let Some(to) = to(node) else {
                account.lost(at);
                legs.push(None);
                continue;
            };
            let (number, before) = state.number(node, &to, publisher.session, (id, at));
            let over = to.carrier(publisher.session.number());
            let mut leg = Leg::new(to.clone(), number, over, now);
            let after = before.map(|(number, _)| number);
            let numbered = |after| Numbered::new(number, after, acknowledged, timeout);
            match (to, before) {
                // It is delivered by who publishes it, after what that has published before.
                (To::Here(from), _) => here = Some((from, numbered(None))),
                // Behind it, when it is sent.
                (To::Peer(_), Some((_, Some(due)))) => leg.put_off(due),
                (To::Peer(remote), _) => {
                    let aim = parcel.aim(node, numbered(after));
                    leg.sent(send(&parcel, &remote, aim), over, now);
                    self.counters.sent_remote.fetch_add(1, Relaxed);
                }
            }
            legs.push(Some(leg));
        }
        let (sender, done) = oneshot::channel();
        let members = account.len();
        state.members += members;
        let bytes = state.held.bytes() + cost(&message, members);
        state.held.set(bytes);
        let is_settled = account.is_settled();
        let open = OpenMessage {
            parcel,
            wait_for: options.wait_for,
            deadline: now + timeout,
            account,
            legs,
            done: sender,
        };
        state.open.insert(id, open);
        if is_settled {
            state.close(id, now);
        }
        drop(state);
        self.begun.notify_one();
        Ok(Begun {
            id,
            members,
            done,
            here,
        })
    }

    /// A node, in this run, has said something about an assured message of this one.
    pub(crate) fn heard(&self, from: (&NodeId, Incarnation), said: &Assurance) {
        match said {
            Assurance::Told { number, fates } => self.told(from, *number, fates),
            Assurance::Unseen { number } => self.unseen(from, *number),
            // Those are for who has received it.
            Assurance::Ask { .. } | Assurance::Settled { .. } => {}
        }
    }

    /// A node, in this run, has told what became of a message.
    fn told(&self, (node, run): (&NodeId, Incarnation), number: u64, fates: &[(Id, Fate)]) {
        let mut state = self.state();
        let Some((id, at)) = state.find(node, run, number) else {
            return;
        };
        let Some(open) = state.open.get_mut(&id) else {
            return;
        };
        if let Some(Some(leg)) = open.legs.get_mut(at) {
            leg.seen = true;
        }
        for (member, fate) in fates {
            open.account.told(at, MemberId::from_bytes(*member), *fate);
        }
        if open.account.is_settled() {
            state.close(id, Instant::now());
        }
    }

    /// A node, in this run, has not seen a message.
    fn unseen(&self, (node, run): (&NodeId, Incarnation), number: u64) {
        let mut state = self.state();
        let Some((id, at)) = state.find(node, run, number) else {
            return;
        };
        if let Some(open) = state.open.get_mut(&id)
            && let Some(Some(leg)) = open.legs.get_mut(at)
        {
            let carrier = leg.to.carrier(open.parcel.publisher.session.number());
            leg.is_unseen(carrier, Instant::now());
        }
    }

    /// A run of a node is gone.
    pub(crate) fn lost(&self, node: &NodeId, run: Incarnation) {
        let mut state = self.state();
        let Some(side) = state.sides.get_mut(node).filter(|side| side.run == run) else {
            return;
        };
        for (id, at) in std::mem::take(&mut side.open).into_values() {
            let Some(open) = state.open.get_mut(&id) else {
                continue;
            };
            open.account.lost(at);
            open.legs[at] = None;
            if open.account.is_settled() {
                state.close(id, Instant::now());
            }
        }
    }

    /// Nobody waits for this message any more, if it is open: it is not sent again, and what is known of it
    /// is its last word.
    pub(crate) fn close(&self, id: u64) {
        self.state().close(id, Instant::now());
    }

    /// Asks what became of the open messages, and sends again what was lost, for as long as the node runs.
    pub(crate) async fn pursue(self: Arc<Self>) {
        loop {
            if self.state().open.is_empty() {
                self.begun.notified().await;
            }
            let asked = self.state().pass(Instant::now(), &self.counters);
            for (from, number, members) in asked {
                from.asked(Incarnation::default(), number, members);
            }
            sleep(PACE).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is room for one more.
    fn admit(&self, session: SessionId, message: &Message, members: usize) -> Result<(), Full> {
        let own = self.open.values();
        let own = own
            .filter(|open| open.parcel.publisher.session == session)
            .count();
        for (open, max) in [(own, OPEN_PER_SESSION_MAX), (self.open.len(), RECORDS_MAX)] {
            if open >= max {
                return Err(Full::Messages { max });
            }
        }
        if self.members + members > MEMBERS_MAX {
            let max = MEMBERS_MAX;
            return Err(Full::Members { members, max });
        }
        if !self.held.admits(cost(message, members)) {
            return Err(Full::Bytes);
        }
        Ok(())
    }

    /// Gives a message a number at a node. Says which one of the same publisher is to be there before, and
    /// when that is to be sent, if it is.
    fn number(
        &mut self,
        node: &NodeId,
        to: &To,
        session: SessionId,
        place: (u64, usize),
    ) -> (u64, Option<(u64, Option<Instant>)>) {
        let run = to.run();
        let side = self.sides.entry(node.clone()).or_insert(Side {
            run,
            next: 0,
            open: BTreeMap::new(),
        });
        if side.run != run {
            side.run = run;
            side.open = BTreeMap::new();
        }
        let before = side.open.iter().rev().find_map(|(number, (id, at))| {
            let open = self.open.get(id)?;
            let leg = open.legs.get(*at)?.as_ref()?;
            let is_awaited = open.parcel.publisher.session == session && !leg.seen;
            is_awaited.then(|| (*number, leg.due()))
        });
        let number = side.next;
        side.next += 1;
        side.open.insert(number, place);
        (number, before)
    }

    /// The open message of this number, and the place of the node in its account.
    fn find(&self, node: &NodeId, run: Incarnation, number: u64) -> Option<(u64, usize)> {
        let side = self.sides.get(node).filter(|side| side.run == run)?;
        side.open.get(&number).copied()
    }

    fn close(&mut self, id: u64, now: Instant) {
        let Some(open) = self.open.remove(&id) else {
            return;
        };
        let session = open.parcel.publisher.session;
        self.members -= open.account.len();
        let bytes = self.held.bytes() - open.cost();
        self.held.set(bytes);
        let nodes: Vec<NodeId> = open.account.nodes().cloned().collect();
        for (node, leg) in nodes.iter().zip(&open.legs) {
            let Some(leg) = leg else {
                continue;
            };
            let number = leg.number;
            match &leg.to {
                To::Here(from) => from.settled(Incarnation::default(), number),
                To::Peer(remote) => remote.peer.assure(Assurance::Settled { number }.encode()),
            }
            if let Some(side) = self.sides.get_mut(node) {
                side.open.remove(&number);
            }
            if !leg.seen {
                self.release(node, session, number, now);
            }
        }
        // Who does not wait any more does not want to know.
        let _ = open.done.send(open.account.close());
    }

    /// Those of a publisher that were to come to a node behind this one may have been refused for it.
    fn release(&mut self, node: &NodeId, session: SessionId, number: u64, now: Instant) {
        let Some(side) = self.sides.get(node) else {
            return;
        };
        for (id, at) in side.open.range(number..).map(|(_, place)| place) {
            if let Some(open) = self.open.get_mut(id)
                && open.parcel.publisher.session == session
                && let Some(Some(leg)) = open.legs.get_mut(*at)
                && !leg.seen
            {
                leg.put_off(now);
            }
        }
    }

    /// Sends what is to be sent, and asks the nodes that have said nothing. Returns what is to be asked here.
    fn pass(&mut self, now: Instant, counters: &Counters) -> Vec<(Arc<FromNode>, u64, Vec<Id>)> {
        let over = self.open.iter().filter(|(_, open)| open.deadline <= now);
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.close(id, now));
        let mut asked = Vec::new();
        let mut before: HashMap<Source, Before> = HashMap::new();
        for open in self.open.values_mut() {
            let mut legs = std::mem::take(&mut open.legs);
            for (at, leg) in legs.iter_mut().enumerate() {
                let Some(leg) = leg.as_mut().filter(|_| open.account.is_open(at)) else {
                    continue;
                };
                if let To::Peer(remote) = leg.to.clone()
                    && !leg.seen
                {
                    let publisher = open.parcel.publisher.session.number();
                    let source = Source::there(&remote.peer, publisher);
                    let next = open.send_again(leg, &remote, before.get(&source), now, counters);
                    before.insert(source, next);
                }
                let carrier = leg.to.carrier(open.parcel.publisher.session.number());
                if leg.asks(carrier, now) {
                    let members = open.account.due(at, ASKED_MAX).into_iter();
                    let members: Vec<Id> = members.map(MemberId::to_bytes).collect();
                    let number = leg.number;
                    match &leg.to {
                        To::Here(from) => asked.push((Arc::clone(from), number, members)),
                        To::Peer(remote) => {
                            let ask = Assurance::Ask { number, members };
                            remote.peer.assure(ask.encode());
                        }
                    }
                }
            }
            open.legs = legs;
        }
        asked
    }
}

/// How many messages of one session are open at a time.
pub(crate) const OPEN_PER_SESSION_MAX: usize = 256;
/// How often the open messages are looked through.
const PACE: Duration = Duration::from_millis(50);
