use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidings::{
    ChangeNumber, Delivery, Event, Inbox, Incarnation, Message, Node, NodeId, Position, Recall,
    Recalled, Session, Topic, Watch,
};
use tokio::time::{Instant, sleep_until};

use crate::listening::{Listening, lock};
use crate::{Change, ServerName};

/// What hears of changes, and asks for those that may have been lost.
///
/// Whatever tells that some may be missing (a gap, a mailbox that was full, a node that has come up, a number
/// that is not the next) leads to the same: all nodes are asked what they published since the last number that
/// is known for certain. What they say is told to the listeners, and nothing else.
pub(crate) struct Hearing {
    server: ServerName,
    /// What the topics of the server begin with.
    topic: Topic,
    node: NodeId,
    session: Arc<Session>,
    inbox: Inbox,
    watch: Watch,
    listening: Arc<Listening>,
    position: Position,
    /// What is being answered.
    recall: Option<Recall>,
    /// When all nodes are to be asked.
    recall_at: Option<Instant>,
    /// When they may be at the earliest.
    rested_at: Instant,
    /// When changes that have been overtaken are to be asked for.
    overtaken_until: Option<Instant>,
    /// How long a node that cannot be reached is waited for.
    absence_max: Duration,
    /// Until when runs of nodes that cannot be reached may come back with what they know.
    missing_until: Option<Instant>,
    /// Whether there are any, as far as this recall has said.
    is_missing_any: bool,
    /// The nodes on which something was published that may be lost, and which have not been heard since.
    unsettled: BTreeSet<NodeId>,
    /// The runs that cannot be reached, and are not waited for.
    absent: BTreeSet<(NodeId, Incarnation)>,
    /// The nodes that have said goodbye, and are not asked any more.
    left: BTreeSet<NodeId>,
    /// When it was last said that a message was malformed.
    complained: Option<Instant>,
}

impl Hearing {
    pub(crate) fn new(
        node: &Node,
        server: &ServerName,
        session: Arc<Session>,
        inbox: Inbox,
        watch: Watch,
        listening: &Arc<Listening>,
        absence_max: Duration,
    ) -> Self {
        Self {
            server: server.clone(),
            topic: Change::prefix(server),
            node: node.name().clone(),
            session,
            inbox,
            watch,
            listening: Arc::clone(listening),
            position: Position::default(),
            recall: None,
            recall_at: None,
            rested_at: Instant::now(),
            overtaken_until: None,
            absence_max,
            missing_until: None,
            is_missing_any: false,
            unsettled: BTreeSet::new(),
            absent: BTreeSet::new(),
            left: BTreeSet::new(),
            complained: None,
        }
    }

    /// Finds out from where on everything is heard. Nobody listens yet, so nobody is told anything.
    pub(crate) async fn begin(mut self, limit: Duration) -> Self {
        let mut recall = self.session.recall(&self.topic, None, limit);
        while let Some(said) = recall.next().await {
            match said {
                Recalled::Changes {
                    node,
                    incarnation,
                    number,
                    ..
                } => self.position.advance(&node, incarnation, number),
                Recalled::Missing { node, incarnation } => self.absent(node, incarnation),
                _ => {}
            }
        }
        self
    }

    pub(crate) async fn run(mut self) {
        let closed = self.listening.closed.clone();
        closed.run_until_cancelled(self.hear()).await;
        // When the node leaves, the listeners end, too.
        closed.cancel();
    }

    async fn hear(&mut self) {
        loop {
            let due = lock(&self.listening.hub).next_due();
            let ask_at = [self.recall_at, self.overtaken_until];
            let ask_at = ask_at.into_iter().flatten().min();
            tokio::select! {
                delivery = self.inbox.recv() => {
                    let more = delivery.is_ok_and(|delivery| self.deliveries(delivery));
                    if !more {
                        return;
                    }
                }
                events = self.watch.next() => match events {
                    Some(events) => self.events(&events),
                    None => return,
                },
                said = next(&mut self.recall) => self.recalled(said),
                () = at(due) => {}
                () = at(ask_at) => self.ask(),
            }
            lock(&self.listening.hub).tell_due(Instant::now());
        }
    }

    /// Takes what has come, and what has come besides, up to a bound. False if nothing will come any more.
    fn deliveries(&mut self, first: Delivery) -> bool {
        self.delivery(first);
        for _ in 1..BATCH_MAX {
            match self.inbox.try_recv() {
                Ok(Some(next)) => self.delivery(next),
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        self.overtaken_until = match self.position.is_missing_any() {
            true => self
                .overtaken_until
                .or_else(|| Some(self.rested_at.max(Instant::now() + OVERTAKEN_MAX))),
            false => None,
        };
        true
    }

    fn delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Message { message, .. } => {
                if let Some(number) = ChangeNumber::of(&message) {
                    self.position.receive(&number);
                }
                self.message(&message);
            }
            Delivery::Missed(_) => self.suspect(),
        }
    }

    fn message(&mut self, message: &Message) {
        match Change::of(message, &self.server) {
            Ok(Some(change)) => {
                self.listening.changes.fetch_add(1, Relaxed);
                lock(&self.listening.hub).changed(&change, Instant::now());
            }
            // Something else that the server's parts tell each other.
            Ok(None) => {}
            Err(error) => {
                self.listening.malformed.fetch_add(1, Relaxed);
                let now = Instant::now();
                if self
                    .complained
                    .is_none_or(|at| now >= at + COMPLAINTS_PAUSE)
                {
                    self.complained = Some(now);
                    let topic = message.topic.as_str();
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        topic,
                        error,
                        "a message about a change at an MCP server is malformed"
                    );
                }
            }
        }
    }

    fn events(&mut self, events: &[Event]) {
        for event in events {
            match event {
                // What was published there so far came to nobody here.
                Event::NodeUp { run } => {
                    self.left.remove(&run.node);
                    self.suspect();
                }
                Event::Gap { from, to, frames } if *to == self.node => {
                    if frames.is_none() {
                        match self.left.contains(from) {
                            // It cannot be asked any more.
                            true => self.lost(),
                            false => drop(self.unsettled.insert(from.clone())),
                        }
                    }
                    self.suspect();
                }
                _ => {}
            }
        }
    }

    /// Something may be missing.
    fn suspect(&mut self) {
        self.ask_by(self.rested_at.max(Instant::now()));
    }

    fn ask_by(&mut self, at: Instant) {
        self.recall_at = Some(self.recall_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Asks all nodes what is missing; anew, if they are being asked already.
    fn ask(&mut self) {
        self.listening.recalls.fetch_add(1, Relaxed);
        self.rested_at = Instant::now() + RECALLS_PAUSE;
        (self.recall_at, self.overtaken_until) = (None, None);
        self.is_missing_any = false;
        let since = Some(&self.position);
        self.recall = Some(self.session.recall(&self.topic, since, RECALL_MAX));
    }

    fn recalled(&mut self, said: Option<Recalled>) {
        let now = Instant::now();
        match said {
            Some(Recalled::Changes {
                node,
                incarnation,
                number,
                messages,
                is_complete,
                has_more,
            }) => {
                for message in &messages {
                    self.message(message);
                }
                if !is_complete {
                    self.lost();
                }
                self.position.advance(&node, incarnation, number);
                self.absent.remove(&(node.clone(), incarnation));
                // Only who has told everything has told what is in doubt.
                if !has_more {
                    self.unsettled.remove(&node);
                }
            }
            Some(Recalled::Left { node, incarnation }) => {
                self.position.forget(&node, incarnation);
                self.absent.remove(&(node.clone(), incarnation));
                if self.unsettled.remove(&node) {
                    self.lost();
                }
                self.left.insert(node);
            }
            Some(Recalled::Gone { node, incarnation }) => {
                self.position.forget(&node, incarnation);
                self.absent.remove(&(node, incarnation));
                self.lost();
            }
            Some(Recalled::Missing { node, incarnation }) => {
                let is_waited_for = self.position.has(&node, incarnation)
                    && !self.absent.contains(&(node.clone(), incarnation));
                if !is_waited_for {
                    return self.absent(node, incarnation);
                }
                let until = *self.missing_until.get_or_insert(now + self.absence_max);
                if now < until {
                    self.is_missing_any = true;
                    self.ask_by(until);
                } else {
                    self.absent(node, incarnation);
                    self.lost();
                }
            }
            Some(Recalled::Silent { .. }) => self.ask_by(self.rested_at),
            Some(_) => {}
            None => {
                self.recall = None;
                if !self.is_missing_any {
                    self.missing_until = None;
                }
            }
        }
    }

    /// A run is not waited for any more, or was away already when this began. Whether it ever comes back is to be known.
    fn absent(&mut self, node: NodeId, incarnation: Incarnation) {
        self.position.advance(&node, incarnation, 0);
        self.absent.insert((node, incarnation));
    }

    /// Anything may have changed.
    fn lost(&self) {
        self.listening.losses.fetch_add(1, Relaxed);
        lock(&self.listening.hub).lost(Instant::now());
    }
}

/// What is said next, if anybody was asked.
async fn next(recall: &mut Option<Recall>) -> Option<Recalled> {
    match recall {
        Some(recall) => recall.next().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// How many messages are looked at before anything else is.
const BATCH_MAX: usize = 256;
/// How often all nodes are asked, if something may be missing all the time.
const RECALLS_PAUSE: Duration = Duration::from_secs(1);
/// How long a node has to answer before it is asked anew.
const RECALL_MAX: Duration = Duration::from_secs(10);
/// How long what was overtaken may still be under way.
const OVERTAKEN_MAX: Duration = Duration::from_millis(200);
/// How often it is said that messages are malformed.
const COMPLAINTS_PAUSE: Duration = Duration::from_secs(10);
