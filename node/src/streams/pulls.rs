//! What this node's agents want to read of the streams of other nodes, asked in turns.
//!
//! A question for a stream waits at the other node until there is something to tell, and only so many
//! questions may be open on a link, of which others want some. So those for streams have a bound of their own for each
//! peer, and each waits the less the more there are: whoever follows comes to its turn several times a second, or,
//! where there are very many, as often as that goes without filling the link.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::Scope;
use tidings_transport::{AskError, Transport};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::question::{Question, Reply};
use std::sync::Arc;

/// A run of another node.
type Run = (NodeId, Incarnation);

/// Somebody wants to know what follows on the first `from` chunks of a stream.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) run: Run,
    pub(crate) scope: Scope,
    pub(crate) number: u64,
    pub(crate) from: u64,
    /// How long the answer may wait at most until there is something.
    pub(crate) wait: Duration,
    pub(crate) told: oneshot::Sender<Told>,
    /// Its place among those who follow, kept until it is asked.
    pub(crate) place: Arc<OwnedSemaphorePermit>,
}

/// What came of it. No reply is one that is not understood.
pub(crate) type Told = Result<Option<Reply>, AskError>;

/// Those who wait for their turn, and how many questions are open.
#[derive(Debug)]
struct Turns<T> {
    peers: BTreeMap<Run, Peer<T>>,
}

#[derive(Debug)]
struct Peer<T> {
    waiting: VecDeque<T>,
    open: usize,
}

/// Asks for what comes, for as long as the node runs.
pub(crate) async fn pull(mut pulls: mpsc::UnboundedReceiver<Pull>, transport: Transport) {
    let mut turns = Turns::default();
    let mut open = FuturesUnordered::new();
    loop {
        let run: Run = tokio::select! {
            pull = pulls.recv() => match pull {
                Some(pull) => {
                    let run = pull.run.clone();
                    turns.add(run.clone(), pull);
                    run
                }
                None => return,
            },
            Some(run) = open.next(), if !open.is_empty() => {
                turns.answered(&run);
                run
            }
        };
        while let Some((pull, wait)) = turns.next(&run, |pull: &Pull| !pull.told.is_closed()) {
            open.push(ask(transport.clone(), pull, wait));
        }
    }
}

async fn ask(transport: Transport, pull: Pull, wait: Duration) -> Run {
    let Pull {
        run,
        scope,
        number,
        from,
        wait: wait_max,
        told,
        place,
    } = pull;
    drop(place);
    let wait = wait.min(wait_max);
    let question = Question::Stream {
        scope,
        number,
        from,
        wait_ms: u16::try_from(wait.as_millis()).unwrap_or(u16::MAX),
    };
    let answer = transport.ask(&run.0, run.1, question.encode()).await;
    // Who has asked may be gone.
    let _ = told.send(answer.map(|answer: Bytes| Reply::decode(&answer)));
    run
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
        }
    }
}

impl<T> Turns<T> {
    fn add(&mut self, run: Run, pull: T) {
        let peer = self.peers.entry(run).or_insert_with(|| Peer {
            waiting: VecDeque::new(),
            open: 0,
        });
        peer.waiting.push_back(pull);
    }

    /// One of the questions to a peer is not open any more.
    fn answered(&mut self, run: &Run) {
        if let Some(peer) = self.peers.get_mut(run) {
            peer.open = peer.open.saturating_sub(1);
            if peer.open == 0 && peer.waiting.is_empty() {
                self.peers.remove(run);
            }
        }
    }

    /// Who is to be asked for next, of those that are wanted still, and how long that may take.
    fn next(&mut self, run: &Run, is_wanted: impl Fn(&T) -> bool) -> Option<(T, Duration)> {
        let peer = self.peers.get_mut(run)?;
        while peer.open < OPEN_MAX
            && let Some(pull) = peer.waiting.pop_front()
        {
            if is_wanted(&pull) {
                peer.open += 1;
                return Some((pull, patience(peer.open + peer.waiting.len())));
            }
        }
        if peer.open == 0 && peer.waiting.is_empty() {
            self.peers.remove(run);
        }
        None
    }
}

/// How long a question waits, when there are so many.
fn patience(crowd: usize) -> Duration {
    if crowd <= AT_EASE_MAX {
        return WAIT;
    }
    let turn = TURN * u32::try_from(OPEN_MAX).unwrap_or(1);
    (turn / u32::try_from(crowd).unwrap_or(u32::MAX)).max(WAIT_MIN)
}

/// How many follow streams of other nodes at a time on one node.
pub(crate) const FOLLOWERS_MAX: usize = 2_048;
/// How many questions for streams of one peer are open at a time: half of those that can be.
const OPEN_MAX: usize = 16;
/// Up to so many of them wait as long as they like, so that there is room for the next who comes.
const AT_EASE_MAX: usize = 12;
/// How long these wait.
const WAIT: Duration = Duration::from_secs(1);
/// Within what time all come to their turn, if there are more.
const TURN: Duration = Duration::from_millis(250);
/// However many there are: 2,000 questions a second.
const WAIT_MIN: Duration = Duration::from_millis(8);

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        ("n2".parse().unwrap(), 1.into())
    }

    #[test]
    fn all_who_follow_come_to_their_turn_and_half_of_the_questions_are_left_to_others() {
        const { assert!(OPEN_MAX <= 32 / 2) };
        let mut turns = Turns::default();
        (0..1_000).for_each(|n| turns.add(run(), n));
        let (mut open, mut turn, mut asked) = (VecDeque::new(), Duration::ZERO, 0);
        for _ in 0..1_000 {
            while let Some((pull, wait)) = turns.next(&run(), |_| true) {
                assert_eq!(pull, asked % 1_000, "in turns");
                asked += 1;
                open.push_back((pull, wait));
                assert!(open.len() <= OPEN_MAX);
            }
            let (pull, wait) = open.pop_front().unwrap();
            turn += wait / u32::try_from(OPEN_MAX).unwrap();
            turns.answered(&run());
            turns.add(run(), pull);
        }
        assert!(turn <= Duration::from_millis(600), "{turn:?}");
    }

    #[test]
    fn few_wait_long_and_whoever_is_gone_is_not_asked_for() {
        let mut turns = Turns::default();
        (0..20).for_each(|n| turns.add(run(), n));
        let asked: Vec<_> = std::iter::from_fn(|| turns.next(&run(), |n| n % 2 == 0)).collect();
        let of: Vec<_> = asked.iter().map(|(n, _)| *n).collect();
        assert_eq!(of, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
        assert_eq!(asked.last().unwrap().1, WAIT);
        (0..10).for_each(|_| turns.answered(&run()));
        assert!(
            turns.peers.is_empty(),
            "nothing is kept of who is not asked"
        );
    }
}
