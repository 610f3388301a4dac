use std::collections::{BTreeMap, BTreeSet};

use tidings::{Incarnation, MemberId, Outcome};

use crate::note::{Note, Phase, SessionNumber};
use crate::oracle::Oracle;
use crate::truth::{SessionTruth, Truth};

/// What the publisher of an assured message is told is the truth.
///
/// Each member that its node showed is told of once, within the time, and nobody else. *Taken* is only
/// what the agent received, unless its session ended before or its mailbox lost the oldest;
/// *acknowledged* what the agent did acknowledge; *refused* what it did not receive, and was told to have
/// missed; *left* and *died* are members that did so, and did not receive it if they left; *node lost* those
/// on a node that the publisher's took for dead. *Timed out* comes when the time is over, and while
/// nothing goes wrong it and *node lost* do not come at all. No membership receives a message
/// twice, and a session those of a publisher in their order.
#[derive(Debug, Default)]
pub struct Assurance {
    messages: BTreeMap<(SessionNumber, u64), Message>,
    /// Whose memberships these are.
    owners: BTreeMap<MemberId, SessionNumber>,
    /// The memberships that were ended by their sessions.
    left: BTreeSet<MemberId>,
    /// The runs that a host took for gone.
    down: BTreeSet<(usize, usize, Incarnation)>,
    /// The newest number that a session has from a publisher.
    newest: BTreeMap<(SessionNumber, SessionNumber), u64>,
    /// The step at which each host stood still last.
    frozen: BTreeMap<usize, u64>,
}

#[derive(Debug)]
struct Message {
    step: u64,
    phase: Phase,
    shown: BTreeSet<MemberId>,
    timeout_ms: u64,
    delivered: BTreeSet<MemberId>,
    acknowledged: BTreeSet<MemberId>,
    told: Option<BTreeMap<MemberId, Outcome>>,
}

impl Oracle for Assurance {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::Subscribed {
                session, member, ..
            } => {
                self.owners.insert(*member, *session);
            }
            Note::Unsubscribed { member, .. } => {
                self.left.insert(*member);
            }
            Note::NodeDown {
                on,
                host,
                incarnation,
            } => {
                self.down.insert((*on, *host, *incarnation));
            }
            Note::Frozen { host, .. } => {
                self.frozen.insert(*host, truth.step);
            }
            Note::Assured {
                session,
                number,
                shown,
                timeout_ms,
                ..
            } => {
                let message = Message {
                    step: truth.step,
                    phase: truth.phase,
                    shown: shown.iter().copied().collect(),
                    timeout_ms: *timeout_ms,
                    delivered: BTreeSet::new(),
                    acknowledged: BTreeSet::new(),
                    told: None,
                };
                self.messages.insert((*session, *number), message);
            }
            Note::AssuredDelivered {
                session,
                member,
                from,
                number,
            } => return self.delivered((*session, *member), (*from, *number)),
            Note::Acknowledged {
                member,
                from,
                number,
            } => {
                if let Some(message) = self.messages.get_mut(&(*from, *number)) {
                    message.acknowledged.insert(*member);
                }
            }
            Note::Resolved {
                session,
                number,
                outcomes,
                took_ms,
            } => return self.resolved((*session, *number), outcomes, *took_ms, truth),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        for ((from, number), message) in &self.messages {
            let publisher = &truth.sessions[*from];
            let Some(told) = &message.told else {
                let lives = truth.hosts[publisher.host].running == Some(publisher.incarnation);
                let is_late = message.phase < Phase::Detection;
                if lives && is_late && !truth.hosts[publisher.host].frozen {
                    return Err(format!(
                        "assurance: session {from} was never told what became of message {number}"
                    ));
                }
                continue;
            };
            for (member, outcome) in told {
                self.is_true(publisher, message, (*member, *outcome), truth)
                    .map_err(|why| {
                        format!(
                            "assurance: session {from} was told that message {number} is {outcome} \
                             with member {member}, and {why}"
                        )
                    })?;
            }
        }
        Ok(())
    }
}

impl Assurance {
    fn delivered(
        &mut self,
        (session, member): (SessionNumber, MemberId),
        (from, number): (SessionNumber, u64),
    ) -> Result<(), String> {
        let Some(message) = self.messages.get_mut(&(from, number)) else {
            return Err(format!(
                "assurance: session {session} received message {number} of {from}, which is none"
            ));
        };
        if !message.delivered.insert(member) {
            return Err(format!(
                "assurance: session {session} received message {number} of {from} again for the same \
                 membership {member}"
            ));
        }
        let newest = self.newest.entry((session, from)).or_insert(number);
        if number < *newest {
            return Err(format!(
                "assurance: session {session} received message {number} of {from} after {newest}"
            ));
        }
        *newest = number;
        Ok(())
    }

    fn resolved(
        &mut self,
        (from, number): (SessionNumber, u64),
        outcomes: &[(MemberId, Outcome)],
        took_ms: u64,
        truth: &Truth,
    ) -> Result<(), String> {
        let Some(message) = self.messages.get_mut(&(from, number)) else {
            return Err(format!(
                "assurance: session {from} never published {number}"
            ));
        };
        let told: BTreeMap<_, _> = outcomes.iter().copied().collect();
        let is_each_once = told.len() == outcomes.len() && told.keys().eq(&message.shown);
        if !is_each_once || message.told.is_some() {
            return Err(format!(
                "assurance: session {from} was told of {outcomes:?} for message {number}, and its \
                 members were {:?}",
                message.shown
            ));
        }
        let host = truth.sessions[from].host;
        let stood_still = self.frozen.get(&host);
        let stood_still = stood_still.is_some_and(|step| *step >= message.step);
        if took_ms > message.timeout_ms + LATE_MS_MAX && !stood_still {
            return Err(format!(
                "assurance: session {from} waited {took_ms} ms for message {number}, not {} ms",
                message.timeout_ms
            ));
        }
        let is_early = took_ms < message.timeout_ms;
        if is_early && outcomes.iter().any(|told| told.1 == Outcome::TimedOut) {
            return Err(format!(
                "assurance: the time for message {number} of session {from} was over after {took_ms} ms, \
                 not {} ms",
                message.timeout_ms
            ));
        }
        message.told = Some(told);
        Ok(())
    }

    /// Whether that became of a message with a member; if not, why.
    fn is_true(
        &self,
        publisher: &SessionTruth,
        message: &Message,
        (member, outcome): (MemberId, Outcome),
        truth: &Truth,
    ) -> Result<(), &'static str> {
        let Some(session) = self.owners.get(&member) else {
            return Err("there never was such a member");
        };
        let receiver = &truth.sessions[*session];
        let is_open = truth.is_open(receiver);
        let is_delivered = message.delivered.contains(&member);
        let is_local = receiver.host == publisher.host;
        match outcome {
            Outcome::Taken if is_delivered || !is_open => Ok(()),
            Outcome::Taken if receiver.drops_oldest && receiver.missed > 0 => Ok(()),
            Outcome::Taken => Err("its agent never received it"),
            Outcome::Acknowledged if message.acknowledged.contains(&member) => Ok(()),
            Outcome::Acknowledged => Err("its agent never acknowledged it"),
            Outcome::Refused if is_delivered => Err("its agent received it"),
            Outcome::Refused if receiver.missed > 0 || !is_open => Ok(()),
            Outcome::Refused => Err("its agent was not told to have missed any"),
            Outcome::Left if is_delivered => Err("its agent received it"),
            Outcome::Left if self.left.contains(&member) => Ok(()),
            Outcome::Left => Err("it never ended its membership"),
            Outcome::Died if !is_open => Ok(()),
            Outcome::Died => Err("its session is open"),
            Outcome::NodeLost | Outcome::TimedOut if is_local => Err("it is on the same node"),
            Outcome::NodeLost | Outcome::TimedOut if message.phase == Phase::Quiet && is_open => {
                Err("nothing went wrong")
            }
            Outcome::NodeLost => {
                let run = (publisher.host, receiver.host, receiver.incarnation);
                match self.down.contains(&run) {
                    true => Ok(()),
                    false => Err("its node was never taken for dead"),
                }
            }
            _ => Ok(()),
        }
    }
}

/// A node whose time is over looks at it soon, in a run that simulates much at once.
const LATE_MS_MAX: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberId {
        MemberId::from_bytes([1; 16])
    }

    /// A publisher, session 0 on host 0, and a member, session 1 on host 1.
    struct Scene {
        oracle: Assurance,
        truth: Truth,
    }

    impl Scene {
        fn new() -> Self {
            let mut scene = Self {
                oracle: Assurance::default(),
                truth: Truth::new(2),
            };
            for host in 0..2 {
                scene.note(Note::Started {
                    host,
                    incarnation: 1.into(),
                });
                scene.note(Note::Opened {
                    session: host,
                    host,
                    agent: 0,
                    scope: tidings::Scope::default(),
                    mailbox_messages_max: 10,
                    drops_oldest: false,
                });
            }
            scene.note(Note::Subscribed {
                session: 1,
                member: member(),
                pattern: "a".parse().unwrap(),
                queue: None,
            });
            (0..2).for_each(|number| scene.publish(number));
            scene
        }

        fn publish(&mut self, number: u64) {
            self.note(Note::Assured {
                session: 0,
                number,
                topic: "a".parse().unwrap(),
                shown: vec![member()],
                timeout_ms: 1_000,
                acknowledged: false,
            });
        }

        fn try_note(&mut self, note: Note) -> Result<(), String> {
            let judged = self.oracle.note(&note, &self.truth);
            self.truth.apply(&note);
            judged
        }

        fn note(&mut self, note: Note) {
            self.try_note(note).unwrap();
        }

        fn deliver(&mut self, number: u64) -> Result<(), String> {
            self.try_note(Note::AssuredDelivered {
                session: 1,
                member: member(),
                from: 0,
                number,
            })
        }

        fn tell(&mut self, outcomes: &[Outcome], took_ms: u64) -> Result<(), String> {
            self.try_note(Note::Resolved {
                session: 0,
                number: 0,
                outcomes: outcomes
                    .iter()
                    .map(|outcome| (member(), *outcome))
                    .collect(),
                took_ms,
            })
        }

        /// Whether all is well when this is told of the first message, and nothing of the second.
        fn holds(mut self, outcome: Outcome) -> bool {
            self.note(Note::Crashed { host: 0 });
            self.tell(&[outcome], 1_000).unwrap();
            self.oracle.finish(&self.truth).is_ok()
        }
    }

    #[test]
    fn each_member_is_told_of_once_and_in_time() {
        let told = |outcomes: &[Outcome], took_ms| Scene::new().tell(outcomes, took_ms);
        assert_eq!(told(&[Outcome::Taken], 900), Ok(()));
        assert!(told(&[], 900).is_err());
        assert!(told(&[Outcome::Taken, Outcome::Taken], 900).is_err());
        assert!(told(&[Outcome::Taken], 2_000).is_err());
        assert!(told(&[Outcome::TimedOut], 900).is_err());
        assert_eq!(told(&[Outcome::TimedOut], 1_000), Ok(()));
        let mut never = Scene::new();
        assert!(never.oracle.finish(&never.truth).is_err());
    }

    #[test]
    fn none_comes_twice_or_before_its_turn() {
        let mut scene = Scene::new();
        assert_eq!(scene.deliver(0), Ok(()));
        assert!(scene.deliver(0).is_err());
        let mut scene = Scene::new();
        assert_eq!(scene.deliver(1), Ok(()));
        assert!(scene.deliver(0).is_err());
    }

    #[test]
    fn what_is_told_must_have_been_so() {
        for outcome in [
            Outcome::Taken,
            Outcome::Acknowledged,
            Outcome::Refused,
            Outcome::Left,
            Outcome::Died,
            Outcome::NodeLost,
        ] {
            assert!(!Scene::new().holds(outcome), "{outcome}");
        }
        assert!(Scene::new().holds(Outcome::TimedOut));
        let with = |note: Note, outcome| {
            let mut scene = Scene::new();
            scene.note(note);
            scene.holds(outcome)
        };
        let mut delivered = Scene::new();
        delivered.deliver(0).unwrap();
        assert!(delivered.holds(Outcome::Taken));
        let acknowledged = Note::Acknowledged {
            member: member(),
            from: 0,
            number: 0,
        };
        assert!(with(acknowledged, Outcome::Acknowledged));
        let missed = Note::Missed {
            session: 1,
            count: 1,
        };
        assert!(with(missed.clone(), Outcome::Refused));
        assert!(!with(missed, Outcome::Taken));
        let left = Note::Unsubscribed {
            session: 1,
            member: member(),
        };
        assert!(with(left.clone(), Outcome::Left));
        assert!(!with(left, Outcome::Died));
        let ended = Note::Ended {
            session: 1,
            reason: "it died".into(),
            cut_off: false,
        };
        assert!(with(ended.clone(), Outcome::Died));
        assert!(!with(ended, Outcome::Left));
        let down = Note::NodeDown {
            on: 0,
            host: 1,
            incarnation: 1.into(),
        };
        assert!(with(down, Outcome::NodeLost));
        let quiet = Note::Phase {
            phase: Phase::Quiet,
        };
        let mut scene = Scene::new();
        scene.note(quiet);
        scene.publish(0);
        assert!(!scene.holds(Outcome::TimedOut), "nothing went wrong");
    }
}
