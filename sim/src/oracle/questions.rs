use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings::{MemberId, Outcome, Pattern, QueueGroup, Topic};

use crate::note::{Asking, Ending, Note, Phase, SessionNumber};
use crate::oracle::Oracle;
use crate::truth::{SessionTruth, Truth};

/// Whoever asks is told what became of it: there is an answer, or it is said that there is none.
///
/// *In time*: as long as the node of who asks goes on. *Once*: only members of the topic receive a question,
/// each once, and of each queue group one. *The answer* is one to this question, from a member that has
/// received it. *Nobody listens* is told only when the node showed no member. *Of all members* each that was
/// shown is told of, as one that has answered or as one that has not; of each queue group one.
///
/// *Answered* it is if nothing goes wrong meanwhile, and somebody shown has been a member for a while and goes
/// on to be one: also when others of its queue group leave in that moment, because their nodes pass the
/// question on.
#[derive(Debug, Default)]
pub struct Questions {
    /// The memberships of servers.
    members: BTreeMap<MemberId, Server>,
    questions: BTreeMap<u64, Question>,
    /// Since when nothing has gone wrong, unless something does.
    calm: Option<Duration>,
}

#[derive(Debug)]
struct Server {
    session: SessionNumber,
    pattern: Pattern,
    queue: Option<QueueGroup>,
    since: Duration,
    /// When it left or died.
    until: Option<(Duration, Gone)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Left,
    Died,
}

#[derive(Debug)]
struct Question {
    session: SessionNumber,
    topic: Topic,
    asking: Asking,
    shown: BTreeSet<MemberId>,
    limit_ms: u64,
    at: Duration,
    /// Whether nothing has gone wrong for a while before, and since.
    is_calm: bool,
    /// Whether the host of who asks has stood still since.
    stood_still: bool,
    /// Who has received it, as it was asked or as a member passed it on.
    received: BTreeSet<(Option<MemberId>, MemberId)>,
    /// And of which queue groups.
    groups: BTreeSet<(Option<MemberId>, QueueGroup)>,
    /// Whether a server has passed it on, which may then lead nowhere.
    is_passed: bool,
    is_told: bool,
}

impl Oracle for Questions {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::Phase { phase } => {
                self.disturb();
                let floods = |own: &SessionTruth| own.flooding && truth.is_open(own);
                let goes_on = truth.sessions.iter().any(floods);
                let is_calm = matches!(phase, Phase::Chaos | Phase::Quiet) && !goes_on;
                self.calm = is_calm.then_some(truth.at);
            }
            Note::Frozen { host, .. } => {
                self.disturb();
                let here =
                    |question: &&mut Question| truth.sessions[question.session].host == *host;
                let questions = self.questions.values_mut().filter(here);
                questions.for_each(|question| question.stood_still = true);
            }
            Note::Fault { .. }
            | Note::Started { .. }
            | Note::Crashed { .. }
            | Note::Leaving { .. }
            | Note::NodeDown { .. }
            | Note::Gap { .. }
            | Note::Flooding { flooding: true, .. }
            | Note::Reading { reading: false, .. } => self.disturb(),
            Note::Subscribed {
                session,
                member,
                pattern,
                queue,
            } => {
                let server = Server {
                    session: *session,
                    pattern: pattern.clone(),
                    queue: queue.clone(),
                    since: truth.at,
                    until: None,
                };
                self.members.insert(*member, server);
            }
            Note::Unsubscribed { member, .. } => {
                if let Some(server) = self.members.get_mut(member) {
                    server.until = Some((truth.at, Gone::Left));
                }
            }
            Note::Ended { session, .. } => {
                let servers = self.members.values_mut();
                for server in servers.filter(|server| server.session == *session) {
                    server.until = Some((truth.at, Gone::Died));
                }
            }
            Note::Asked {
                session,
                topic,
                asking,
                shown,
                limit_ms,
            } => {
                let question = Question {
                    session: *session,
                    topic: topic.clone(),
                    asking: *asking,
                    shown: shown.iter().copied().collect(),
                    limit_ms: *limit_ms,
                    at: truth.at,
                    is_calm: self.calm.is_some(),
                    stood_still: false,
                    received: BTreeSet::new(),
                    groups: BTreeSet::new(),
                    is_passed: false,
                    is_told: false,
                };
                self.questions
                    .insert(truth.questions.len() as u64, question);
            }
            Note::Questioned { .. } => return self.received(note),
            Note::Replied {
                question,
                ending,
                answer,
                took_ms,
            } => {
                let number = *question;
                self.told(number, *took_ms)?;
                return self
                    .is_true(number, (*ending, *answer), truth)
                    .map_err(|why| self.describe(number, &why));
            }
            Note::Gathered {
                question,
                answers,
                silent,
                took_ms,
            } => {
                let number = *question;
                self.told(number, *took_ms)?;
                return self
                    .are_all(number, answers, silent, truth)
                    .map_err(|why| self.describe(number, &why));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        for (number, question) in &self.questions {
            let session = &truth.sessions[question.session];
            let host = &truth.hosts[session.host];
            let lives = host.running == Some(session.incarnation);
            let limit = Duration::from_millis(question.limit_ms) + TOLERANCE;
            let is_over = question.at + limit < truth.at;
            if lives && is_over && !question.is_told && !question.stood_still {
                return Err(self.describe(*number, "nobody was told what became of it"));
            }
        }
        Ok(())
    }
}

impl Questions {
    /// Something goes wrong, and may do so until it is quiet.
    fn disturb(&mut self) {
        self.calm = None;
        let questions = self.questions.values_mut();
        questions.for_each(|question| question.is_calm = false);
    }

    fn received(&mut self, note: &Note) -> Result<(), String> {
        let Note::Questioned {
            question: number,
            via,
            session,
            member,
            topic,
            answers,
        } = note
        else {
            return Ok(());
        };
        let Some(question) = self.questions.get_mut(number) else {
            return Err(format!("questions: nobody has asked question {number}"));
        };
        question.is_passed |= !answers;
        let why = match self.members.get(member) {
            Some(server) if server.session != *session || !server.pattern.matches(topic) => {
                "that is no member of its topic"
            }
            Some(_) if via.is_none() && *topic != question.topic => "on another topic",
            None => "that is no member",
            Some(_) if !question.received.insert((*via, *member)) => "for the second time",
            Some(Server {
                queue: Some(queue), ..
            }) if !question.groups.insert((*via, queue.clone())) => {
                "though another of its queue group has it"
            }
            Some(_) => return Ok(()),
        };
        let why = format!("session {session} received it for {member}, {why}");
        Err(self.describe(*number, &why))
    }

    /// It was told what became of a question, after so long.
    fn told(&mut self, number: u64, took_ms: u64) -> Result<(), String> {
        let asked = self.questions.get_mut(&number);
        let question = asked.ok_or(format!("questions: nobody has asked question {number}"))?;
        let is_late = took_ms > question.limit_ms + TOLERANCE.as_millis() as u64;
        let again = std::mem::replace(&mut question.is_told, true);
        if again || is_late && !question.stood_still {
            let why = format!("it was told after {took_ms} ms what became of it");
            return Err(self.describe(number, &why));
        }
        Ok(())
    }

    /// What was told of one that is to be answered once.
    fn is_true(
        &self,
        number: u64,
        (ending, answer): (Ending, Option<(u64, MemberId)>),
        truth: &Truth,
    ) -> Result<(), String> {
        let question = &self.questions[&number];
        match (ending, answer) {
            (Ending::Answered, Some(answer)) => question.is_answer(number, answer),
            (Ending::Answered, None) => Err("it is answered by nothing".into()),
            (Ending::NoResponders, _) if !question.shown.is_empty() => {
                Err("nobody listens, though some are shown".into())
            }
            (Ending::Refused, _) if question.is_calm => {
                Err("it was refused, though nothing went wrong".into())
            }
            (Ending::Unanswered, _) if self.is_owed(question, truth) => {
                Err("it has no answer, though nothing went wrong".into())
            }
            _ => Ok(()),
        }
    }

    /// What was told of one that is to be answered by all.
    fn are_all(
        &self,
        number: u64,
        answers: &[(u64, MemberId)],
        silent: &[(MemberId, Outcome)],
        truth: &Truth,
    ) -> Result<(), String> {
        let question = &self.questions[&number];
        let mut told = BTreeSet::new();
        for answer in answers {
            question.is_answer(number, *answer)?;
        }
        let answered = answers.iter().map(|(_, member)| *member);
        let silent = || silent.iter().map(|(member, _)| *member);
        for member in answered.chain(silent()) {
            if !told.insert(member) {
                return Err(format!("{member} is told of twice"));
            }
        }
        // Who has come meanwhile may answer as well.
        if let Some(member) = silent().find(|member| !question.shown.contains(member)) {
            return Err(format!("{member} is told of, who was not shown"));
        }
        let mut groups: BTreeMap<&QueueGroup, usize> = BTreeMap::new();
        for member in &question.shown {
            // Liars may show whom there is not.
            let Some(server) = self.members.get(member) else {
                continue;
            };
            let is_told = told.contains(member);
            match &server.queue {
                Some(queue) => *groups.entry(queue).or_default() += usize::from(is_told),
                None if !is_told => return Err(format!("{member} is not told of")),
                None => {}
            }
        }
        let is_wrong = |(_, told): &(&&QueueGroup, &usize)| match truth.liars {
            0 => **told != 1,
            _ => **told > 1,
        };
        if let Some((queue, told)) = groups.iter().find(is_wrong) {
            return Err(format!("of queue group {queue} {told} are told of"));
        }
        let is_one_gone = self.gone_meanwhile(question).next().is_some();
        match silent().next() {
            Some(member) if !is_one_gone && self.is_owed(question, truth) => Err(format!(
                "{member} has not answered, though nothing went wrong"
            )),
            _ => Ok(()),
        }
    }

    /// Whether it must have an answer.
    fn is_owed(&self, question: &Question, truth: &Truth) -> bool {
        let is_known = |member: &MemberId| self.members.contains_key(member);
        let gone: Vec<Gone> = self.gone_meanwhile(question).collect();
        let stays = |member: &MemberId| {
            let server = self.members.get(member);
            server.is_some_and(|own| own.until.is_none() && own.since + SETTLED <= question.at)
        };
        question.is_calm
            && question.limit_ms >= ENOUGH_MS
            && !question.is_passed
            && question.shown.iter().all(is_known)
            // What one that dies has received is lost with it. A question that finds nobody is passed on some
            // times, to whom a node knows; a liar may be among them.
            && !gone.contains(&Gone::Died)
            && gone.len() <= LEAVING_MAX
            && (gone.is_empty() || truth.liars == 0)
            && question.shown.iter().any(stays)
    }

    /// Who might have received a question and was gone before or after, so that not all nodes knew.
    fn gone_meanwhile(&self, question: &Question) -> impl Iterator<Item = Gone> {
        let servers = self.members.values();
        let matching = servers.filter(|server| server.pattern.matches(&question.topic));
        let gone = matching.filter_map(|server| server.until);
        gone.filter(|(at, _)| *at + SETTLED > question.at)
            .map(|(_, how)| how)
    }

    fn describe(&self, number: u64, why: &str) -> String {
        let Question {
            session,
            topic,
            asking,
            at,
            shown,
            limit_ms,
            ..
        } = &self.questions[&number];
        format!(
            "questions: of question {number}, asked by session {session} on {topic} as {asking:?} at {at:?} for \
             {limit_ms} ms, while {} members were shown: {why}",
            shown.len()
        )
    }
}

impl Question {
    /// Whether this can be an answer to it.
    fn is_answer(&self, number: u64, (of, member): (u64, MemberId)) -> Result<(), String> {
        let mut received = self.received.iter();
        if of != number {
            return Err(format!("it got an answer to question {of}"));
        }
        if !received.any(|(_, own)| *own == member) {
            return Err(format!("{member} answers, who has not received it"));
        }
        Ok(())
    }
}

/// How much later than in time it may be told what became of a question.
const TOLERANCE: Duration = Duration::from_millis(20);
/// How long it takes at most, if nothing goes wrong, until all nodes know of a change.
const SETTLED: Duration = Duration::from_secs(1);
/// In which time an answer comes, if nothing goes wrong.
const ENOUGH_MS: u64 = 1_000;
/// How many may leave at once, so that a question is not passed on more often than it may.
const LEAVING_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u8) -> MemberId {
        MemberId::from_bytes([number; 16])
    }

    /// Session 0 on host 0 asks. On host 1 member 1 is in no group, and 2 and 3 are in one.
    struct Scene {
        oracle: Questions,
        truth: Truth,
    }

    impl Scene {
        fn new() -> Self {
            let mut scene = Self {
                oracle: Questions::default(),
                truth: Truth::new(2),
            };
            for host in 0..2 {
                scene.good(Note::Started {
                    host,
                    incarnation: 1.into(),
                });
            }
            for (session, host) in [0, 1, 1, 1].into_iter().enumerate() {
                scene.good(Note::Opened {
                    session,
                    host,
                    agent: 0,
                    scope: tidings::Scope::default(),
                    mailbox_messages_max: 10,
                    drops_oldest: false,
                });
            }
            scene.good(Note::Phase {
                phase: Phase::Chaos,
            });
            for (number, queue) in [(1, None), (2, Some("q")), (3, Some("q"))] {
                scene.good(Note::Subscribed {
                    session: number,
                    member: member(number as u8),
                    pattern: "ask".parse().unwrap(),
                    queue: queue.map(|queue| queue.parse().unwrap()),
                });
            }
            scene.truth.at = Duration::from_secs(5);
            scene
        }

        fn note(&mut self, note: Note) -> Result<(), String> {
            let judged = self.oracle.note(&note, &self.truth);
            self.truth.apply(&note);
            judged
        }

        fn good(&mut self, note: Note) {
            self.note(note).unwrap();
        }

        fn ask(&mut self, asking: Asking, shown: &[u8]) {
            self.good(Note::Asked {
                session: 0,
                topic: "ask".parse().unwrap(),
                asking,
                shown: shown.iter().copied().map(member).collect(),
                limit_ms: 2_000,
            });
        }

        fn receive(&mut self, number: u8) -> Result<(), String> {
            self.note(Note::Questioned {
                question: 0,
                via: None,
                session: number.into(),
                member: member(number),
                topic: "ask".parse().unwrap(),
                answers: true,
            })
        }

        fn reply(&mut self, ending: Ending, answer: Option<(u64, u8)>) -> Result<(), String> {
            self.note(Note::Replied {
                question: 0,
                ending,
                answer: answer.map(|(of, number)| (of, member(number))),
                took_ms: 1,
            })
        }

        fn gather(&mut self, answers: &[u8], silent: &[u8]) -> Result<(), String> {
            let silent = silent.iter();
            self.note(Note::Gathered {
                question: 0,
                answers: answers.iter().map(|own| (0, member(*own))).collect(),
                silent: silent.map(|own| (member(*own), Outcome::Left)).collect(),
                took_ms: 1,
            })
        }
    }

    #[test]
    fn a_question_without_an_answer_is_found_unless_something_went_wrong() {
        let leave = |number: u8| Note::Unsubscribed {
            session: number.into(),
            member: member(number),
        };
        let die = Note::Ended {
            session: 2,
            reason: String::new(),
            cut_off: false,
        };
        let fault = Note::Fault {
            event: String::new(),
            cut: true,
        };
        let all = [1, 2, 3].as_slice();
        for (shown, meanwhile, holds) in [
            (all, vec![], false),
            (&[2, 3], vec![leave(2)], false),
            (&[2, 3], vec![leave(2), leave(3)], true),
            (all, vec![die], true),
            (all, vec![fault], true),
            (&[], vec![], true),
            (&[9], vec![], true),
        ] {
            let mut scene = Scene::new();
            scene.ask(Asking::Request, shown);
            meanwhile.iter().for_each(|note| scene.good(note.clone()));
            let judged = scene.reply(Ending::Unanswered, None);
            assert_eq!(
                judged.is_ok(),
                holds,
                "{shown:?}, {meanwhile:?}: {judged:?}"
            );
        }
    }

    #[test]
    fn nobody_listens_is_found_to_be_wrong_if_somebody_was_shown() {
        for (shown, holds) in [([].as_slice(), true), (&[1], false)] {
            let mut scene = Scene::new();
            scene.ask(Asking::Request, shown);
            assert_eq!(scene.reply(Ending::NoResponders, None).is_ok(), holds);
        }
    }

    #[test]
    fn an_answer_to_something_else_or_of_somebody_else_is_found() {
        for (answer, holds) in [((0, 1), true), ((1, 1), false), ((0, 2), false)] {
            let mut scene = Scene::new();
            scene.ask(Asking::Request, &[1, 2, 3]);
            scene.receive(1).unwrap();
            let judged = scene.reply(Ending::Answered, Some(answer));
            assert_eq!(judged.is_ok(), holds, "{answer:?}");
        }
    }

    #[test]
    fn two_of_a_queue_group_that_receive_a_question_are_found_and_one_that_does_so_twice() {
        let mut scene = Scene::new();
        scene.ask(Asking::Request, &[1, 2, 3]);
        scene.receive(1).unwrap();
        scene.receive(2).unwrap();
        assert!(scene.receive(3).is_err());
        assert!(scene.receive(1).is_err());
        assert!(scene.receive(4).is_err(), "it is no member");
    }

    #[test]
    fn of_all_members_each_must_be_told_of_and_one_of_each_queue_group() {
        for (answers, silent, holds) in [
            ([1, 3].as_slice(), [].as_slice(), true),
            (&[1], &[3], false),
            (&[1], &[], false),
            (&[3], &[], false),
            (&[1, 2, 3], &[], false),
            (&[1, 2], &[1], false),
        ] {
            let mut scene = Scene::new();
            scene.ask(Asking::Gather, &[1, 2, 3]);
            scene.receive(1).unwrap();
            for number in [2, 3].iter().filter(|own| answers.contains(own)) {
                let _ = scene.receive(*number);
            }
            let judged = scene.gather(answers, silent);
            assert_eq!(judged.is_ok(), holds, "{answers:?}, {silent:?}: {judged:?}");
        }
    }

    #[test]
    fn who_is_told_nothing_or_too_late_is_found() {
        let mut scene = Scene::new();
        scene.ask(Asking::Request, &[]);
        assert!(scene.oracle.finish(&scene.truth).is_ok(), "there is time");
        scene.truth.at += Duration::from_secs(3);
        assert!(scene.oracle.finish(&scene.truth).is_err());
        let late = Note::Replied {
            question: 0,
            ending: Ending::Unanswered,
            answer: None,
            took_ms: 2_500,
        };
        assert!(scene.note(late).is_err());
        scene.good(Note::Crashed { host: 0 });
        assert!(scene.oracle.finish(&scene.truth).is_ok());
    }
}
