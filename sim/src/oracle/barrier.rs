use std::collections::{BTreeMap, BTreeSet};

use tidings::{Incarnation, MemberId, Stats};

use crate::note::{Note, Reach, SessionNumber};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// Once a barrier has returned, each run of a node that it names shows the members for which it was, whenever
/// it publishes. (What is shown is delivered, or its loss is told: that `delivery` and `gaps` see.)
///
/// A node is excused that has taken the member's node for dead since the barrier began. And a session that
/// takes nothing may have been cut off, which it learns when it reads on.
#[derive(Debug, Default)]
pub struct Barrier {
    /// The members that a run of a host must show, and whose they are.
    confirmed: BTreeMap<(usize, Incarnation), BTreeMap<MemberId, Confirmed>>,
    /// The step at which a host last took another one for dead: by the one that did, and the other.
    down: BTreeMap<(usize, usize), u64>,
    /// What a host has published without showing a member.
    suspicions: Vec<Suspicion>,
    /// The sessions that do not take what they receive.
    paused: BTreeSet<SessionNumber>,
}

#[derive(Debug, Clone, Copy)]
struct Confirmed {
    session: SessionNumber,
    /// The step at which the barrier began.
    since: u64,
}

/// It may turn out that the node has just taken the other for dead, or that the session has ended.
#[derive(Debug)]
struct Suspicion {
    on: usize,
    host: usize,
    session: SessionNumber,
    /// Whether there was time for that to be told.
    is_old: bool,
    text: String,
}

impl Oracle for Barrier {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::NodeDown { on, host, .. } => {
                self.down.insert((*on, *host), truth.step + 1);
                self.suspicions
                    .retain(|one| (one.on, one.host) != (*on, *host));
            }
            Note::Ended { session, .. } => {
                self.suspicions.retain(|one| one.session != *session);
            }
            Note::Reading {
                session, reading, ..
            } => {
                if *reading {
                    self.paused.remove(session);
                } else {
                    self.paused.insert(*session);
                }
            }
            Note::Everywhere {
                session,
                since,
                members,
                runs,
                ..
            } => {
                for run in runs {
                    let confirmed = self.confirmed.entry(*run).or_default();
                    for member in members {
                        let (session, since) = (*session, *since);
                        confirmed.insert(*member, Confirmed { session, since });
                    }
                }
            }
            Note::Published { .. } => self.published(note, truth),
            _ => {}
        }
        Ok(())
    }

    fn counted(&mut self, host: usize, _: &Stats, _: &Truth) -> Result<(), String> {
        let suspicions = self.suspicions.iter_mut();
        let paused = &self.paused;
        for suspicion in suspicions.filter(|one| one.on == host && !paused.contains(&one.session)) {
            if suspicion.is_old {
                return Err(suspicion.text.clone());
            }
            suspicion.is_old = true;
        }
        Ok(())
    }

    fn finish(&mut self, _: &Truth) -> Result<(), String> {
        match self.suspicions.first() {
            Some(suspicion) => Err(suspicion.text.clone()),
            None => Ok(()),
        }
    }
}

impl Barrier {
    fn published(&mut self, note: &Note, truth: &Truth) {
        let Note::Published {
            session: from,
            number,
            topic,
            reach: reach @ (Reach::All | Reach::Others),
            shown,
            ..
        } = note
        else {
            return;
        };
        let publisher = &truth.sessions[*from];
        let on = publisher.host;
        let confirmed = self.confirmed.get(&(on, publisher.incarnation));
        for (member, Confirmed { session, since }) in confirmed.into_iter().flatten() {
            let receiver = &truth.sessions[*session];
            let host = receiver.host;
            let is_there = receiver.members.get(member).is_some_and(|membership| {
                membership.until.is_none() && membership.pattern.matches(topic)
            });
            let was_down = self.down.get(&(on, host)).is_some_and(|at| at > since);
            let is_meant = truth.is_meant(*from, *session, *reach);
            if !is_meant
                || !is_there
                || !truth.is_open(receiver)
                || was_down
                || shown.contains(member)
            {
                continue;
            }
            self.suspicions.push(Suspicion {
                on,
                host,
                session: *session,
                is_old: false,
                text: format!(
                    "barrier: message {number} of session {from} on {topic}, published on host {on}, is not \
                     meant for session {session} on host {host}, though host {on} had confirmed the \
                     subscription"
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberId {
        MemberId::from_bytes([1; 16])
    }

    /// Session 0 publishes on host 0; session 1 on host 1 subscribes.
    struct Scene {
        truth: Truth,
        barrier: Barrier,
    }

    impl Scene {
        fn new() -> Self {
            let mut scene = Self {
                truth: Truth::new(2),
                barrier: Barrier::default(),
            };
            for host in 0..2 {
                scene.note(Note::Started {
                    host,
                    incarnation: 7.into(),
                });
                scene.note(Note::Opened {
                    session: host,
                    host,
                    agent: 0,
                    scope: tidings::Scope::default(),
                    mailbox_messages_max: 9,
                    drops_oldest: false,
                });
            }
            scene.note(Note::Subscribed {
                session: 1,
                member: member(),
                pattern: "a".parse().unwrap(),
                queue: None,
            });
            scene
        }

        fn note(&mut self, note: Note) {
            self.barrier.note(&note, &self.truth).unwrap();
            self.truth.apply(&note);
        }

        fn confirm(&mut self, since: u64, incarnation: u64) {
            self.note(Note::Everywhere {
                session: 1,
                since,
                members: vec![member()],
                runs: vec![(0, incarnation.into())],
                lacking: Vec::new(),
            });
        }

        fn publish(&mut self, topic: &str, shown: &[MemberId]) {
            self.note(Note::Published {
                session: 0,
                number: 0,
                topic: topic.parse().unwrap(),
                reach: Reach::All,
                shown: shown.to_vec(),
                nodes: shown.len(),
            });
        }

        fn down(&mut self) {
            self.note(Note::NodeDown {
                on: 0,
                host: 1,
                incarnation: 7.into(),
            });
        }

        fn holds(&mut self) -> bool {
            let look = |scene: &mut Self| scene.barrier.counted(0, &Stats::default(), &scene.truth);
            let looks = [look(self), look(self), self.barrier.finish(&self.truth)];
            looks.iter().all(Result::is_ok)
        }
    }

    #[test]
    fn who_is_confirmed_is_shown_from_then_on() {
        let mut scene = Scene::new();
        scene.publish("a", &[]);
        scene.confirm(5, 7);
        scene.publish("a", &[member()]);
        scene.publish("b", &[]);
        assert!(scene.holds());
        scene.publish("a", &[]);
        assert!(!scene.holds());
    }

    #[test]
    fn another_run_of_the_publisher_has_confirmed_nothing() {
        let mut scene = Scene::new();
        scene.confirm(5, 6);
        scene.publish("a", &[]);
        assert!(scene.holds());
    }

    #[test]
    fn who_took_the_subscriber_for_dead_since_the_barrier_began_is_excused() {
        for (since, holds) in [(5, true), (6, false)] {
            let mut scene = Scene::new();
            scene.down();
            scene.confirm(since, 7);
            scene.publish("a", &[]);
            assert_eq!(scene.holds(), holds);
        }
        let mut scene = Scene::new();
        scene.confirm(5, 7);
        scene.publish("a", &[]);
        scene.down();
        assert!(scene.holds(), "it is told a moment later");
    }

    #[test]
    fn a_session_that_was_cut_off_learns_it_when_it_reads_on() {
        let mut scene = Scene::new();
        scene.confirm(5, 7);
        let reading = |reading| Note::Reading {
            session: 1,
            reading,
        };
        scene.note(reading(false));
        scene.publish("a", &[]);
        let looks = |scene: &mut Scene| {
            let mut look = || scene.barrier.counted(0, &Stats::default(), &scene.truth);
            look().and(look()).is_ok()
        };
        assert!(looks(&mut scene));
        scene.note(reading(true));
        assert!(!looks(&mut scene));
        scene.note(Note::Ended {
            session: 1,
            reason: "it was cut off".into(),
            cut_off: true,
        });
        assert!(scene.holds());
    }

    #[test]
    fn a_membership_that_has_ended_is_shown_by_nobody() {
        let mut scene = Scene::new();
        scene.confirm(5, 7);
        scene.note(Note::Unsubscribed {
            session: 1,
            member: member(),
        });
        scene.publish("a", &[]);
        assert!(scene.holds());
    }
}
