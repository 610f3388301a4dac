use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use tidings::{
    AssuredOptions, BroadcastError, Congestion, Delivery, Inbox, MailboxConfig, MemberId, Message,
    Metadata, Node, NodeId, NotEverywhere, OpenError, Overflow, Pattern, PresenceError, Receipt,
    RecvError, Scope, Session, SessionOptions, SubscribeError, Topic, WaitFor,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::draw;
use crate::journal::Journal;
use crate::name;
use crate::note::{Note, Reach, SessionNumber};
use crate::plan::Plan;
use crate::seam::Life;
use crate::seed;

/// A scripted session on a host: does what it is told, and tells the journal what it receives.
#[derive(Debug)]
pub struct Agent {
    number: SessionNumber,
    host: usize,
    node: Node,
    session: Session,
    members: Vec<(MemberId, Pattern)>,
    reading: watch::Sender<bool>,
    published: u64,
    assured: u64,
    journal: Journal,
}

impl Agent {
    /// Opens a session on this node. Its reader lives as long as the host's run.
    pub fn open(
        node: &Node,
        (host, agent): (usize, usize),
        scope: Scope,
        mailbox: MailboxConfig,
        life: &Life,
        journal: &Journal,
    ) -> Result<Self, OpenError> {
        let mailbox_messages_max = mailbox.messages_max.get();
        let drops_oldest = mailbox.overflow == Overflow::DropOldest;
        // Each third one would rather lose what it publishes than wait.
        let congestion = match agent % 3 {
            2 => Congestion::Drop,
            _ => Congestion::Ask,
        };
        let options = SessionOptions {
            scope: scope.clone(),
            mailbox,
            congestion,
            ..SessionOptions::default()
        };
        let (session, inbox) = node.session(options)?;
        let number = journal.truth(|truth| truth.sessions.len());
        journal.note(Note::Opened {
            session: number,
            host,
            agent,
            scope,
            mailbox_messages_max,
            drops_oldest,
        });
        let (reading, is_reading) = watch::channel(true);
        let acknowledges = agent % 2 == 0;
        let reader = read(inbox, number, acknowledges, is_reading, journal.clone());
        life.spawn(reader);
        let (members, journal) = (Vec::new(), journal.clone());
        Ok(Self {
            number,
            host,
            node: node.clone(),
            session,
            members,
            reading,
            published: 0,
            assured: 0,
            journal,
        })
    }

    /// The number of its session.
    pub fn session(&self) -> SessionNumber {
        self.number
    }

    /// Becomes a member once more.
    pub fn subscribe(&mut self, pattern: &Pattern) -> Result<(), SubscribeError> {
        let member = self.session.subscribe(pattern)?;
        self.members.push((member, pattern.clone()));
        let (session, pattern) = (self.number, pattern.clone());
        self.journal.note(Note::Subscribed {
            session,
            member,
            pattern,
            queue: None,
        });
        Ok(())
    }

    /// Lets all its memberships of this pattern say this of themselves.
    pub fn update(&mut self, pattern: &Pattern, metadata: &Metadata) -> Result<(), PresenceError> {
        self.session.update_all(pattern, metadata.clone())?;
        let own = self.members.iter().filter(|(_, own)| own == pattern);
        let members = own.map(|(member, _)| *member).collect();
        self.journal.note(Note::Updated {
            session: self.number,
            members,
            metadata: metadata.clone(),
        });
        Ok(())
    }

    /// Ends its oldest membership of this pattern, if there is one.
    pub fn unsubscribe(&mut self, pattern: &Pattern) {
        let Some(at) = self.members.iter().position(|(_, own)| own == pattern) else {
            return;
        };
        let (member, _) = self.members.remove(at);
        // The node may have cut the session off, and its memberships with it.
        if self.session.unsubscribe(member).is_ok() {
            self.journal.note(Note::Unsubscribed {
                session: self.number,
                member,
            });
        }
    }

    /// Waits until its subscriptions are in the routes of all other nodes, for so long at most, and tells
    /// the journal.
    pub fn everywhere(&self, limit: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (session, journal) = (self.number, self.journal.clone());
        let members = self.members.iter().map(|(member, _)| *member).collect();
        let since = journal.truth(|truth| truth.step);
        let waiting = self.session.everywhere(limit);
        async move {
            let (reached, lacking) = match waiting.await {
                Ok(reached) => (reached, Vec::new()),
                Err(NotEverywhere { reached, lacking }) => (reached, lacking),
            };
            let runs = reached.iter();
            let runs = runs.filter_map(|run| Some((name::host(&run.node)?, run.incarnation)));
            let lacking = lacking.iter().map(|one| one.run.node.to_string());
            journal.note(Note::Everywhere {
                session,
                since,
                members,
                runs: runs.collect(),
                lacking: lacking.collect(),
            });
        }
    }

    /// Takes what it receives, or does not.
    pub fn set_reading(&self, reading: bool) {
        if self.reading.send_replace(reading) != reading {
            self.journal.note(Note::Reading {
                session: self.number,
                reading,
            });
        }
    }

    /// Takes what it receives, from now on if it did not before.
    pub fn resume(&self) {
        self.set_reading(true);
    }

    /// Publishes its next message.
    pub fn publish(
        &mut self,
        topic: &Topic,
        bytes: usize,
        reach: Reach,
        name: impl Fn(usize) -> NodeId,
    ) -> Result<Receipt, BroadcastError> {
        let number = self.published;
        let mut payload = format!("{} {number} ", self.number).into_bytes();
        payload.resize(payload.len().max(bytes), b'.');
        let message = Message::new(topic.clone(), payload);
        let members = self.node.members(self.session.scope(), &topic.into());
        self.journal.linked(self.host, &self.node.links());
        let receipt = match reach {
            Reach::All => self.session.broadcast(message)?,
            Reach::Others => self.session.broadcast_from(message)?,
            Reach::Local => self.session.local_broadcast(message)?,
            Reach::Direct(host) => self.session.direct(&name(host), message)?,
        };
        let shown = members.iter().map(|member| member.member).collect();
        self.published += 1;
        let (session, topic) = (self.number, topic.clone());
        self.journal.note(Note::Published {
            session,
            number,
            topic,
            reach,
            shown,
            nodes: receipt.nodes,
        });
        Ok(receipt)
    }

    /// Publishes its next assured message. What becomes of it is told as long as the host's run lives.
    pub fn assure(
        &mut self,
        topic: &Topic,
        bytes: usize,
        options: AssuredOptions,
        life: &Life,
    ) -> Result<(), BroadcastError> {
        let number = self.assured;
        let mut payload = format!("assured {} {number} ", self.number).into_bytes();
        payload.resize(payload.len().max(bytes), b'.');
        let message = Message::new(topic.clone(), payload);
        let members = self.node.members(self.session.scope(), &topic.into());
        let assured = self.session.broadcast_assured(message, options)?;
        self.assured += 1;
        let (session, journal) = (self.number, self.journal.clone());
        journal.note(Note::Assured {
            session,
            number,
            topic: topic.clone(),
            shown: members.iter().map(|member| member.member).collect(),
            timeout_ms: millis(options.timeout.get()),
            acknowledged: options.wait_for == WaitFor::Acknowledged,
        });
        let began = Instant::now();
        life.spawn(async move {
            let told = assured.await.members.into_iter();
            journal.note(Note::Resolved {
                session,
                number,
                outcomes: told.map(|told| (told.member, told.outcome)).collect(),
                took_ms: millis(began.elapsed()),
            });
        });
        Ok(())
    }

    /// Publishes so many messages as fast as it is let, and ends its session.
    pub async fn flood(mut self, topic: Topic, times: usize, bytes: usize) {
        self.note_flooding(true);
        for _ in 0..times {
            match self.publish(&topic, bytes, Reach::All, name::of) {
                Ok(receipt) if receipt.pressing => {
                    let session = self.number;
                    self.journal.note(Note::Waiting { session });
                    self.session.room().await;
                }
                Ok(_) => {}
                // The node leaves, which its reader tells.
                Err(_) => return self.note_flooding(false),
            }
        }
        self.note_flooding(false);
        self.die();
    }

    fn note_flooding(&self, flooding: bool) {
        self.journal.note(Note::Flooding {
            session: self.number,
            flooding,
        });
    }

    /// Ends the session.
    pub fn die(self) {
        let Self {
            number,
            session,
            journal,
            ..
        } = self;
        drop(session);
        journal.note(Note::Ended {
            session: number,
            reason: "it died".into(),
            cut_off: false,
        });
    }
}

/// What the workload's agent of this number subscribes to when it comes up: a few of the topics, one
/// perhaps twice, perhaps a wildcard.
pub(crate) fn wishes(plan: &Plan, run: u64, host: usize, agent: usize) -> Vec<Pattern> {
    let mut random = seed::stream(run, "wishes", &[host as u64, agent as u64]);
    let topics: Vec<usize> = (0..plan.topics).collect();
    let mut wishes: Vec<String> = topics
        .choose_multiple(&mut random, 2)
        .map(|topic| draw::topic(*topic))
        .collect();
    if random.random_bool(0.2) {
        wishes.extend(wishes.first().cloned());
    }
    if random.random_bool(0.1) {
        wishes.push(
            [">", "work.*", "news:>"]
                .choose(&mut random)
                .unwrap_or(&">")
                .to_string(),
        );
    }
    wishes
        .iter()
        .map(|wish| wish.parse().expect("the workload's topics are patterns"))
        .collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the journal what a session receives, until it ends. Whoever acknowledges does so at once.
async fn read(
    mut inbox: Inbox,
    session: SessionNumber,
    acknowledges: bool,
    mut reading: watch::Receiver<bool>,
    journal: Journal,
) {
    loop {
        if reading.wait_for(|reading| *reading).await.is_err() {
            // The agent is gone; what the session still has is received.
        }
        let received = tokio::select! {
            biased;
            Ok(()) = reading.changed() => continue,
            received = inbox.recv() => received,
        };
        match received {
            Ok(delivery) => {
                let acknowledger = delivery.acknowledger().filter(|_| acknowledges);
                let Delivery::Message {
                    member, message, ..
                } = delivery
                else {
                    if let Delivery::Missed(count) = delivery {
                        journal.note(Note::Missed { session, count });
                    }
                    continue;
                };
                let text = String::from_utf8_lossy(&message.payload);
                let assured = text.strip_prefix("assured ");
                let words = assured.unwrap_or(&text).split(' ');
                let mut words = words.map_while(|word| word.parse::<u64>().ok());
                let (from, number) = (words.next(), words.next());
                let (Some(from), Some(number)) = (from, number) else {
                    return journal.violate(format!("session {session} received {text:?}"));
                };
                let (from, topic) = (from as usize, message.topic.clone());
                if assured.is_some() {
                    journal.note(Note::AssuredDelivered {
                        session,
                        member,
                        from,
                        number,
                    });
                    if let Some(acknowledger) = acknowledger {
                        journal.note(Note::Acknowledged {
                            member,
                            from,
                            number,
                        });
                        acknowledger.acknowledge();
                    }
                    continue;
                }
                journal.note(Note::Delivered {
                    session,
                    member,
                    from,
                    number,
                    topic,
                });
            }
            // It is the agent itself that ended it, and said so.
            Err(RecvError::Ended) => return,
            Err(closed) => {
                let cut_off = matches!(closed, RecvError::Overflow { .. });
                let reason = closed.to_string();
                return journal.note(Note::Ended {
                    session,
                    reason,
                    cut_off,
                });
            }
        }
    }
}
