use std::collections::BTreeMap;
use std::time::Duration;

use tidings::{Incarnation, MemberId, Metadata, Outcome, Pattern, Scope, Topic};

use crate::lie::Lie;
use crate::note::{Ending, Note, Phase, Reach, SessionNumber, Telling};

/// How everything really is: what the simulator, who sees all hosts at once, knows from what it did
/// itself.
#[derive(Debug)]
pub struct Truth {
    /// How the hosts are.
    pub hosts: Vec<HostTruth>,
    /// All sessions there ever were.
    pub sessions: Vec<SessionTruth>,
    /// All messages that were accepted, by publisher and number.
    pub messages: BTreeMap<(SessionNumber, u64), MessageTruth>,
    /// The present phase.
    pub phase: Phase,
    /// How often a node took another for dead that ran.
    pub false_deaths: u64,
    /// How often that happened before the first cut.
    pub false_deaths_uncut: u64,
    /// Whether there has been a cut.
    pub was_cut: bool,
    /// How often a publisher that waits when it is asked to had to.
    pub waits: u64,
    /// How many sessions were ended by their node.
    pub cut_off: u64,
    /// How often members came to say something else of themselves.
    pub updates: u64,
    /// How often some node lacked a session's subscriptions when it waited for all to have them.
    pub lacked: u64,
    /// How many liars there are.
    pub liars: usize,
    /// How often each of them lied, and in what way.
    pub lies: BTreeMap<(usize, Lie), u64>,
    /// How often what became of the assured messages of a session with their members.
    pub outcomes: BTreeMap<(SessionNumber, Outcome), usize>,
    /// On which topic each question was asked, in the order in which they were.
    pub questions: Vec<Topic>,
    /// How many clients have listened at replicas.
    pub listeners: usize,
    /// How often one was told of something.
    pub told: u64,
    /// What became of how many questions on a topic.
    pub endings: BTreeMap<(Topic, Ending), u64>,
    /// How often all members were asked.
    pub gathered: u64,
    /// All streams that were begun.
    pub streams: Vec<StreamTruth>,
    /// How many have followed one.
    pub followers: usize,
    /// How often who followed one was told this.
    pub tellings: BTreeMap<&'static str, u64>,
    /// Counts what happened, so that before and after can be told within one millisecond.
    pub step: u64,
    /// The time since the run began.
    pub at: Duration,
}

/// How a host is.
#[derive(Debug, Clone, Default)]
pub struct HostTruth {
    /// The incarnation of the node that runs there and has not begun to leave.
    pub running: Option<Incarnation>,
    /// Whether it stands still.
    pub frozen: bool,
    /// How many runs it has had.
    pub runs: u64,
}

/// How a session is.
#[derive(Debug)]
pub struct SessionTruth {
    /// Where it is.
    pub host: usize,
    /// Where its topics are.
    pub scope: Scope,
    /// Of the node it was opened on.
    pub incarnation: Incarnation,
    /// Whether it is open.
    pub open: bool,
    /// Whether it is in the middle of publishing as fast as it is let.
    pub flooding: bool,
    /// How many messages it was told to have missed.
    pub missed: u64,
    /// How many it received.
    pub received: u64,
    /// How often its subscriptions were everywhere when it waited for that.
    pub everywhere: u64,
    /// The bound of its mailbox.
    pub mailbox_messages_max: usize,
    /// Whether that loses the oldest when it is full.
    pub drops_oldest: bool,
    /// All memberships it ever had.
    pub members: BTreeMap<MemberId, MembershipTruth>,
}

/// How a membership is.
#[derive(Debug)]
pub struct MembershipTruth {
    /// Of what.
    pub pattern: Pattern,
    /// What it says of itself.
    pub metadata: Metadata,
    /// The step at which it ended.
    pub until: Option<u64>,
}

/// How a stream is.
#[derive(Debug)]
pub struct StreamTruth {
    /// As what the plan knows it.
    pub stream: usize,
    /// Its name.
    pub id: String,
}

/// How a message is.
#[derive(Debug)]
pub struct MessageTruth {
    /// The step at which it was accepted.
    pub step: u64,
    /// The topic.
    pub topic: Topic,
    /// For whom it is.
    pub reach: Reach,
}

impl Truth {
    /// So many hosts, none of which runs.
    pub fn new(hosts: usize) -> Self {
        Self {
            hosts: vec![HostTruth::default(); hosts],
            sessions: Vec::new(),
            messages: BTreeMap::new(),
            phase: Phase::Boot,
            false_deaths: 0,
            false_deaths_uncut: 0,
            was_cut: false,
            waits: 0,
            cut_off: 0,
            updates: 0,
            lacked: 0,
            liars: 0,
            lies: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            questions: Vec::new(),
            listeners: 0,
            told: 0,
            endings: BTreeMap::new(),
            gathered: 0,
            streams: Vec::new(),
            followers: 0,
            tellings: BTreeMap::new(),
            step: 0,
            at: Duration::ZERO,
        }
    }

    /// The incarnations that run, by host.
    pub fn running(&self) -> impl Iterator<Item = (usize, Incarnation)> {
        let hosts = self.hosts.iter().enumerate();
        hosts.filter_map(|(host, truth)| Some((host, truth.running?)))
    }

    /// All memberships there are, on nodes that run.
    pub fn members(&self) -> impl Iterator<Item = (SessionNumber, MemberId, &Pattern)> {
        let open = self
            .sessions
            .iter()
            .enumerate()
            .filter(|(_, session)| self.is_open(session));
        open.flat_map(|(number, session)| {
            let present = session
                .members
                .iter()
                .filter(|(_, member)| member.until.is_none());
            present.map(move |(id, member)| (number, *id, &member.pattern))
        })
    }

    /// What a member says of itself.
    pub fn metadata(&self, session: SessionNumber, member: MemberId) -> &Metadata {
        &self.sessions[session].members[&member].metadata
    }

    /// Whether the session is open, on a node that runs.
    pub fn is_open(&self, session: &SessionTruth) -> bool {
        session.open && self.hosts[session.host].running == Some(session.incarnation)
    }

    /// Whether a message of this publisher with this reach is meant for that session.
    pub fn is_meant(&self, publisher: SessionNumber, session: SessionNumber, reach: Reach) -> bool {
        let (from, to) = (&self.sessions[publisher], &self.sessions[session]);
        if from.scope != to.scope {
            return false;
        }
        match reach {
            Reach::All => true,
            Reach::Others => session != publisher,
            Reach::Local => to.host == from.host,
            Reach::Direct(host) => to.host == host,
        }
    }

    /// Takes in what happened.
    pub fn apply(&mut self, note: &Note) {
        self.step += 1;
        match note {
            Note::Phase { phase } => self.phase = *phase,
            Note::Started { host, incarnation } => {
                let truth = &mut self.hosts[*host];
                truth.running = Some(*incarnation);
                truth.runs += 1;
            }
            Note::Crashed { host } | Note::Leaving { host } => {
                let runs = self.hosts[*host].runs;
                self.hosts[*host] = HostTruth {
                    runs,
                    ..HostTruth::default()
                };
            }
            Note::Frozen { host, frozen } => self.hosts[*host].frozen = *frozen,
            Note::Opened {
                host,
                scope,
                mailbox_messages_max,
                drops_oldest,
                ..
            } => self.sessions.push(SessionTruth {
                host: *host,
                scope: scope.clone(),
                incarnation: self.hosts[*host].running.unwrap_or_default(),
                open: true,
                flooding: false,
                missed: 0,
                received: 0,
                everywhere: 0,
                mailbox_messages_max: *mailbox_messages_max,
                drops_oldest: *drops_oldest,
                members: BTreeMap::new(),
            }),
            Note::Ended {
                session, cut_off, ..
            } => {
                self.cut_off += u64::from(*cut_off);
                let step = self.step;
                let session = &mut self.sessions[*session];
                session.open = false;
                for member in session.members.values_mut() {
                    member.until.get_or_insert(step);
                }
            }
            Note::Subscribed {
                session,
                member,
                pattern,
                ..
            } => {
                let truth = MembershipTruth {
                    pattern: pattern.clone(),
                    metadata: Metadata::default(),
                    until: None,
                };
                self.sessions[*session].members.insert(*member, truth);
            }
            Note::Updated {
                session,
                members,
                metadata,
            } => {
                self.updates += 1;
                for member in members {
                    let member = self.sessions[*session].members.get_mut(member);
                    let member = member.expect("a session updates what it has begun");
                    member.metadata = metadata.clone();
                }
            }
            Note::Unsubscribed { session, member } => {
                let member = self.sessions[*session].members.get_mut(member);
                member.expect("a session ends what it has begun").until = Some(self.step);
            }
            Note::Published {
                session,
                number,
                topic,
                reach,
                ..
            } => {
                let message = MessageTruth {
                    step: self.step,
                    topic: topic.clone(),
                    reach: *reach,
                };
                self.messages.insert((*session, *number), message);
            }
            Note::Delivered { session, .. } => self.sessions[*session].received += 1,
            Note::Missed { session, count } => self.sessions[*session].missed += count,
            Note::NodeDown {
                host, incarnation, ..
            } => {
                let is_false = u64::from(self.hosts[*host].running == Some(*incarnation));
                self.false_deaths += is_false;
                self.false_deaths_uncut += if self.was_cut { 0 } else { is_false };
            }
            Note::Fault { cut, .. } => self.was_cut |= cut,
            Note::Flooding { session, flooding } => self.sessions[*session].flooding = *flooding,
            Note::Resolved {
                session, outcomes, ..
            } => {
                for (_, outcome) in outcomes {
                    *self.outcomes.entry((*session, *outcome)).or_default() += 1;
                }
            }
            Note::Listening { .. } => self.listeners += 1,
            Note::Told { .. } => self.told += 1,
            Note::Asked { topic, .. } => self.questions.push(topic.clone()),
            Note::Replied {
                question, ending, ..
            } => self.ended(*question, *ending),
            Note::Gathered {
                question, silent, ..
            } => {
                self.gathered += 1;
                let ending = match silent.is_empty() {
                    true => Ending::Answered,
                    false => Ending::Unanswered,
                };
                self.ended(*question, ending);
            }
            Note::StreamBegun { stream, id, .. } => self.streams.push(StreamTruth {
                stream: *stream,
                id: id.clone(),
            }),
            Note::StreamFollowed { .. } => self.followers += 1,
            Note::StreamTold { told, .. } => {
                let what = match told {
                    Telling::Complete | Telling::Failed => "stream followed to its end",
                    Telling::Aborted => "stream aborted",
                    Telling::Unreachable => "stream out of reach",
                    _ => return,
                };
                *self.tellings.entry(what).or_default() += 1;
            }
            Note::Waiting { .. } => self.waits += 1,
            Note::Lied { liar, lie, .. } => *self.lies.entry((*liar, *lie)).or_default() += 1,
            Note::Everywhere {
                session, lacking, ..
            } => {
                let is_everywhere = u64::from(lacking.is_empty());
                self.sessions[*session].everywhere += is_everywhere;
                self.lacked += 1 - is_everywhere;
            }
            Note::Reading { .. }
            | Note::ListeningEnded { .. }
            | Note::Changed { .. }
            | Note::Assured { .. }
            | Note::AssuredDelivered { .. }
            | Note::Acknowledged { .. }
            | Note::Questioned { .. }
            | Note::Blamed { .. }
            | Note::StreamPushed { .. }
            | Note::StreamFinished { .. }
            | Note::NodeUp { .. }
            | Note::Gap { .. }
            | Note::View { .. }
            | Note::Violation { .. } => {}
        }
    }

    fn ended(&mut self, question: u64, ending: Ending) {
        let topic = self.questions[question as usize].clone();
        *self.endings.entry((topic, ending)).or_default() += 1;
    }
}
