use std::collections::{BTreeMap, BTreeSet};

use tidings::{Incarnation, MemberId, Topic};

use crate::links::Carriage;
use crate::note::{Note, Reach, SessionNumber};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// Of every message that did not get to a node where somebody had subscribed to it, that node was told
/// a gap, and so was the publisher's, as far as they live; and what was told is what was counted.
///
/// What is published by a node that was taken for dead, and then dies, nobody can tell: the others were
/// told of a gap when they took it for dead.
///
/// Which subscribers a node ought to know is not asked, only what it knew: those that its view has
/// shown. That a subscriber is not shown is no excuse when its node was taken for dead.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Whose memberships these are.
    owners: BTreeMap<MemberId, SessionNumber>,
    /// Who has been shown by a run of a host, ever.
    known: BTreeSet<(usize, Incarnation, MemberId)>,
    /// Which run of a host another one takes to be there: by the one that says so, and the other.
    up: BTreeMap<(usize, usize), Incarnation>,
    /// What has not got to all nodes yet, by publisher and number.
    messages: BTreeMap<(SessionNumber, u64), Message>,
    /// By where it was told, and between whom.
    told: BTreeMap<(usize, usize, usize), Told>,
    /// What a host counts as missing from another, ever since it started.
    counted: BTreeMap<(usize, usize), u64>,
}

#[derive(Debug)]
struct Message {
    step: u64,
    topic: Topic,
    /// On which hosts it is to arrive, of whom there.
    waiting: BTreeMap<usize, Vec<(SessionNumber, MemberId)>>,
    /// The hosts that took the publisher's node to be there.
    heard: BTreeSet<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Told {
    frames: u64,
    /// The step at which it was last told that it is not known how many.
    unknown: Option<u64>,
}

impl Oracle for Gaps {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::Started { host, .. } => {
                self.told.retain(|(on, ..), _| on != host);
                self.up.retain(|(on, _), _| on != host);
                self.counted.retain(|(on, _), _| on != host);
            }
            Note::Subscribed {
                session, member, ..
            } => {
                self.owners.insert(*member, *session);
            }
            Note::NodeUp {
                on,
                host,
                incarnation,
            } => {
                self.up.insert((*on, *host), *incarnation);
            }
            Note::NodeDown { on, host, .. } => {
                self.up.remove(&(*on, *host));
            }
            Note::Published { .. } => self.published(note, truth),
            Note::Delivered {
                session,
                from,
                number,
                ..
            } => {
                if let Some(message) = self.messages.get_mut(&(*from, *number)) {
                    message.waiting.remove(&truth.sessions[*session].host);
                    if message.waiting.is_empty() {
                        self.messages.remove(&(*from, *number));
                    }
                }
            }
            Note::Gap {
                on,
                from,
                to,
                frames,
            } => {
                let told = self.told.entry((*on, *from, *to)).or_default();
                match frames {
                    Some(frames) => told.frames += frames,
                    None => told.unknown = Some(truth.step + 1),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn carried(&mut self, host: usize, links: &[Carriage], _: &Truth) -> Result<(), String> {
        // Of a peer that is gone nothing is counted any more, and what was told last may be newer than that.
        self.counted.retain(|(on, _), _| *on != host);
        let counted = links.iter().map(|link| ((host, link.end.to), link.missing));
        self.counted.extend(counted);
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        for ((host, from), counted) in &self.counted {
            let told = self.told.get(&(*host, *from, *host));
            let told = told.copied().unwrap_or_default();
            let runs = truth.hosts[*host].running.is_some();
            if runs && (told.frames > *counted || told.unknown.is_none() && told.frames < *counted)
            {
                return Err(format!(
                    "gaps: host {host} counts {counted} messages from host {from} as missing, and \
                     told {}",
                    told.frames
                ));
            }
        }
        let mut lost: BTreeMap<(usize, Incarnation, usize), Vec<&Message>> = BTreeMap::new();
        for ((from, _), message) in &self.messages {
            let publisher = &truth.sessions[*from];
            let runs = truth.hosts[publisher.host].running == Some(publisher.incarnation);
            let waiting = message.waiting.iter();
            for (host, members) in waiting.filter(|(host, _)| runs || message.heard.contains(host))
            {
                let is_there = |(session, member): &(SessionNumber, MemberId)| {
                    let receiver = &truth.sessions[*session];
                    let membership = receiver.members.get(member);
                    let ended = membership.is_none_or(|member| member.until.is_some());
                    // What a mailbox has lost is told by the mailbox.
                    truth.is_open(receiver) && !ended && receiver.missed == 0
                };
                if members.iter().any(is_there) {
                    let between = (publisher.host, publisher.incarnation, *host);
                    lost.entry(between).or_default().push(message);
                }
            }
        }
        for ((from, run, to), messages) in lost {
            self.is_told(from, to, to, &messages)?;
            if truth.hosts[from].running == Some(run) {
                self.is_told(from, to, from, &messages)?;
            }
        }
        Ok(())
    }
}

impl Gaps {
    fn published(&mut self, note: &Note, truth: &Truth) {
        let Note::Published {
            session: from,
            number,
            topic,
            reach,
            shown,
            ..
        } = note
        else {
            return;
        };
        let publisher = &truth.sessions[*from];
        let (host, run) = (publisher.host, publisher.incarnation);
        let shown: BTreeSet<MemberId> = shown.iter().copied().collect();
        let known = shown.iter().map(|member| (host, run, *member));
        self.known.extend(known);
        if matches!(reach, Reach::Local) {
            return;
        }
        let mut waiting: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (session, member, pattern) in truth.members() {
            let receiver = &truth.sessions[session];
            let is_meant = receiver.host != host
                && pattern.matches(topic)
                && truth.is_meant(*from, session, *reach);
            let is_up = self.up.get(&(host, receiver.host)) == Some(&receiver.incarnation);
            let is_away = !is_up && self.known.contains(&(host, run, member));
            if is_meant && (shown.contains(&member) || is_away) {
                let members = waiting.entry(receiver.host).or_default();
                members.push((session, member));
            }
        }
        if !waiting.is_empty() {
            let ups = self.up.iter();
            let heard = ups.filter(|((_, by), up)| *by == host && **up == run);
            let message = Message {
                heard: heard.map(|((on, _), _)| *on).collect(),
                step: truth.step + 1,
                topic: topic.clone(),
                waiting,
            };
            self.messages.insert((*from, *number), message);
        }
    }

    fn is_told(&self, from: usize, to: usize, on: usize, lost: &[&Message]) -> Result<(), String> {
        let told = self.told.get(&(on, from, to)).copied().unwrap_or_default();
        // Who takes a node for dead is told at once, and goes on to lose messages; who is taken for
        // dead is told when it is back.
        let is_covered = |message: &&&Message| {
            told.unknown
                .is_some_and(|unknown| on == from || unknown > message.step)
        };
        let uncovered: Vec<_> = lost.iter().filter(|message| !is_covered(message)).collect();
        match uncovered.first() {
            Some(first) if uncovered.len() as u64 > told.frames => Err(format!(
                "gaps: {} messages from host {from} did not get to host {to}, the first on {} at step \
                 {}, and host {on} was told of {}",
                uncovered.len(),
                first.topic,
                first.step,
                told.frames
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberId {
        MemberId::from_bytes([1; 16])
    }

    /// Two hosts: session 0 publishes on host 0, session 1 is on host 1 and has the one membership.
    fn scene(notes: &[Note]) -> bool {
        let (mut truth, mut gaps) = (Truth::new(2), Gaps::default());
        let mut note = |note: &Note| {
            gaps.note(note, &truth).unwrap();
            truth.apply(note);
        };
        for host in 0..2 {
            let incarnation = 7.into();
            note(&Note::Started { host, incarnation });
            note(&Note::Opened {
                session: host,
                host,
                agent: 0,
                scope: tidings::Scope::default(),
                mailbox_messages_max: 9,
                drops_oldest: false,
            });
        }
        note(&Note::Subscribed {
            session: 1,
            member: member(),
            pattern: "a".parse().unwrap(),
            queue: None,
        });
        for (on, host) in [(0, 1), (1, 0)] {
            let incarnation = 7.into();
            note(&Note::NodeUp {
                on,
                host,
                incarnation,
            });
        }
        notes.iter().for_each(note);
        gaps.finish(&truth).is_ok()
    }

    fn published(number: u64, shown: &[MemberId]) -> Note {
        Note::Published {
            session: 0,
            number,
            topic: "a".parse().unwrap(),
            reach: Reach::All,
            shown: shown.to_vec(),
            nodes: 1,
        }
    }

    fn delivered(number: u64) -> Note {
        Note::Delivered {
            session: 1,
            member: member(),
            from: 0,
            number,
            topic: "a".parse().unwrap(),
        }
    }

    fn gap(on: usize, frames: Option<u64>) -> Note {
        let (from, to) = (0, 1);
        Note::Gap {
            on,
            from,
            to,
            frames,
        }
    }

    #[test]
    fn what_does_not_arrive_is_told_at_both_ends() {
        let one = || published(0, &[member()]);
        assert!(scene(&[one(), delivered(0)]));
        assert!(!scene(&[one()]));
        assert!(!scene(&[one(), gap(0, Some(1))]));
        assert!(!scene(&[one(), gap(1, Some(1))]));
        assert!(scene(&[one(), gap(1, Some(1)), gap(0, Some(1))]));
        let two = published(1, &[member()]);
        assert!(!scene(&[
            one(),
            two.clone(),
            gap(0, Some(2)),
            gap(1, Some(1))
        ]));
        assert!(scene(&[one(), two, gap(0, Some(2)), gap(1, None)]));
        assert!(
            scene(&[one(), Note::Crashed { host: 1 }]),
            "nobody is left to be told"
        );
        assert!(!scene(&[one(), Note::Crashed { host: 0 }]));
    }

    #[test]
    fn a_subscriber_on_a_node_taken_for_dead_is_told_afterwards() {
        let down = Note::NodeDown {
            on: 0,
            host: 1,
            incarnation: 7.into(),
        };
        let before = [published(0, &[member()]), delivered(0), down, gap(0, None)];
        let after = |rest: &[Note]| scene(&[&before[..], &[published(1, &[])], rest].concat());
        assert!(!after(&[]));
        assert!(after(&[gap(1, None)]));
        assert!(scene(&before), "nothing was published");
        assert!(!scene(
            &[&before[..], &[gap(1, None), published(1, &[])]].concat()
        ));
        assert!(scene(&[published(0, &[])]), "it was never known");
    }
}
