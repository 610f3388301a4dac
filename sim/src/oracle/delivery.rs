use std::collections::{BTreeMap, BTreeSet};

use tidings::{Incarnation, MemberId, Stats, Topic};

use crate::links::{LinkEnd, Links};
use crate::note::{Note, Phase, Reach, SessionNumber};
use crate::oracle::Oracle;
use crate::progress::{Passed, Progress};
use crate::truth::{SessionTruth, Truth};

/// Every message reached every member that the publisher's node showed when it was published, if the
/// link between the two nodes held from then until it was delivered; and every member on the
/// publisher's own node. (That it came once, `order` sees.)
///
/// A link cannot be said to have held until what never happened. But frames of one publisher arrive
/// in their order: when a later one has arrived over the link that was up, an earlier one must have,
/// too, whatever became of the link afterwards. And when the link still holds in the end, everything
/// must have arrived. Likewise within a node: what reached a mailbox is received, or told as missed,
/// before what came after.
///
/// So these may lack a message: who ended the membership before it must have been there; whose
/// session ended without having received a later one; who had been told, by then, of so many missed;
/// and the members on as many nodes as the publisher's node refused to send to and counted.
#[derive(Debug, Default)]
pub struct Delivery {
    links: Links,
    /// Whose memberships these are.
    owners: BTreeMap<MemberId, SessionNumber>,
    /// What has not reached everybody yet, by publisher and number.
    messages: BTreeMap<(SessionNumber, u64), Message>,
    /// What a host has from a publisher.
    on_host: BTreeMap<(usize, SessionNumber), Progress>,
    /// What a session has from a publisher.
    in_session: BTreeMap<(SessionNumber, SessionNumber), Progress>,
    /// The step at which a run of a host ended.
    gone: BTreeMap<(usize, Incarnation), u64>,
    /// How many frames a run of a host must have counted as refused.
    refused: BTreeMap<(usize, Incarnation), u64>,
    /// What each host has counted so far.
    counted: BTreeMap<usize, Stats>,
}

/// A message on its way.
#[derive(Debug)]
struct Message {
    step: u64,
    phase: Phase,
    topic: Topic,
    /// Who is to receive it and has not, and on which way.
    waiting: BTreeMap<(SessionNumber, MemberId), Way>,
    /// To how many nodes with members it was not sent.
    refused: usize,
    /// The hosts on which somebody received it.
    arrived: BTreeSet<usize>,
}

/// How a message gets to a member.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is on the same node.
    Local,
    /// Over this link.
    Over(LinkEnd),
    /// Over the next link, since there is none.
    Away,
}

/// Somebody should have received a message and has not.
#[derive(Debug)]
struct Lack {
    session: SessionNumber,
    from: SessionNumber,
    number: u64,
    /// Of how many missed messages the session had been told when this one was due.
    told: u64,
}

impl Oracle for Delivery {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        let step = truth.step + 1;
        match note {
            Note::Subscribed {
                session, member, ..
            } => {
                self.owners.insert(*member, *session);
            }
            Note::Crashed { host } | Note::Leaving { host } => {
                let run = truth.hosts[*host].running.unwrap_or_default();
                self.gone.insert((*host, run), step);
            }
            Note::Published { .. } => self.published(note, truth),
            Note::Delivered {
                session,
                member,
                from,
                number,
                ..
            } => {
                let receiver = &truth.sessions[*session];
                if let Some(message) = self.messages.get_mut(&(*from, *number)) {
                    message.waiting.remove(&(*session, *member));
                    message.arrived.insert(receiver.host);
                    if message.waiting.is_empty() {
                        self.messages.remove(&(*from, *number));
                    }
                }
                let passed = Passed {
                    number: *number,
                    step,
                    told: receiver.missed,
                };
                let on_host = self.on_host.entry((receiver.host, *from)).or_default();
                on_host.add(passed);
                let in_session = self.in_session.entry((*session, *from)).or_default();
                in_session.add(passed);
            }
            _ => {}
        }
        Ok(())
    }

    fn linked(&mut self, host: usize, links: &[LinkEnd], truth: &Truth) -> Result<(), String> {
        self.links.look(host, links, truth.step);
        Ok(())
    }

    fn counted(&mut self, host: usize, stats: &Stats, truth: &Truth) -> Result<(), String> {
        let Some(run) = truth.hosts[host].running else {
            return Ok(());
        };
        let refused = self.refused.get(&(host, run)).copied().unwrap_or_default();
        let counted = refused_by(&stats.transport.unwrap_or_default());
        if refused > counted {
            return Err(format!(
                "delivery: {refused} times host {host} did not send a message to a node whose \
                 members it showed, and it counted {counted} as dropped"
            ));
        }
        self.counted.insert(host, stats.clone());
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        let mut lacks: BTreeMap<SessionNumber, Vec<Lack>> = BTreeMap::new();
        for ((from, number), message) in &self.messages {
            for lack in self.lacks((*from, *number), message, truth) {
                lacks.entry(lack.session).or_default().push(lack);
            }
        }
        for lacks in lacks.values_mut() {
            lacks.sort_by_key(|lack| lack.told);
            let mut counted = (1..).zip(lacks);
            if let Some((_, lack)) = counted.find(|(count, lack)| *count > lack.told) {
                return Err(self.describe(lack, truth));
            }
        }
        self.losses_are_counted(truth)
    }
}

impl Delivery {
    fn published(&mut self, note: &Note, truth: &Truth) {
        let Note::Published {
            session: from,
            number,
            topic,
            reach,
            shown,
            nodes,
        } = note
        else {
            return;
        };
        let publisher = &truth.sessions[*from];
        let is_meant = |session: SessionNumber| truth.is_meant(*from, session, *reach);
        let shown = shown.iter().filter_map(|member| {
            let session = *self.owners.get(member)?;
            Some((session, *member))
        });
        let remote: Vec<(SessionNumber, MemberId)> = shown
            .filter(|(s, _)| truth.sessions[*s].host != publisher.host && is_meant(*s))
            .collect();
        let mut hosts: BTreeSet<usize> = remote
            .iter()
            .map(|(session, _)| truth.sessions[*session].host)
            .collect();
        if let Reach::Direct(host) = reach
            && *host != publisher.host
        {
            hosts.insert(*host);
        }
        let refused = hosts.len().saturating_sub(*nodes);
        let run = (publisher.host, publisher.incarnation);
        *self.refused.entry(run).or_default() += refused as u64;

        let way = |session: SessionNumber| {
            let receiver = &truth.sessions[session];
            match self.links.newest(publisher.host, receiver.host) {
                Some(link) if link.incarnation == receiver.incarnation => Way::Over(link),
                _ => Way::Away,
            }
        };
        let remote = remote
            .into_iter()
            .map(|(session, member)| ((session, member), way(session)));
        let local = truth.members().filter(|(session, _, pattern)| {
            truth.sessions[*session].host == publisher.host
                && is_meant(*session)
                && pattern.matches(topic)
        });
        let local = local.map(|(session, member, _)| ((session, member), Way::Local));
        let waiting: BTreeMap<_, _> = local.chain(remote).collect();
        if !waiting.is_empty() {
            let message = Message {
                step: truth.step + 1,
                phase: truth.phase,
                topic: topic.clone(),
                waiting,
                refused,
                arrived: BTreeSet::new(),
            };
            self.messages.insert((*from, *number), message);
        }
    }

    /// Who should have this message and does not.
    fn lacks(
        &self,
        (from, number): (SessionNumber, u64),
        message: &Message,
        truth: &Truth,
    ) -> Vec<Lack> {
        let waiting = message.waiting.iter();
        let lacks = waiting.filter_map(|((session, member), way)| {
            let there = self.there((from, number), message, (*session, *way), truth)?;
            let receiver = &truth.sessions[*session];
            let ended = receiver.members.get(member)?.until;
            let gone = self
                .gone
                .get(&(receiver.host, receiver.incarnation))
                .copied();
            if ended.into_iter().chain(gone).any(|end| end <= there) {
                return None;
            }
            let in_session = self.in_session.get(&(*session, from));
            let told = match in_session.and_then(|progress| progress.after(number)) {
                Some(later) => later.told,
                None if truth.is_open(receiver) => receiver.missed,
                None => return None,
            };
            Some(Lack {
                session: *session,
                from,
                number,
                told,
            })
        });
        let mut lacks: Vec<Lack> = lacks.collect();
        // A frame that was not sent reached nobody on its node. Which nodes these were is not known,
        // only how many; a node whose members were told of missed messages may be one or not.
        let host = |lack: &Lack| truth.sessions[lack.session].host;
        let reached = |lack: &Lack| message.arrived.contains(&host(lack));
        let unreached = lacks.iter().filter(|lack| !reached(lack) && lack.told == 0);
        let hosts: BTreeSet<usize> = unreached.map(host).collect();
        if hosts.len() <= message.refused {
            lacks.retain(|lack| message.refused == 0 || reached(lack));
        }
        lacks
    }

    /// By which step the message must have been on the receiver's node, if it must.
    fn there(
        &self,
        (from, number): (SessionNumber, u64),
        message: &Message,
        (session, way): (SessionNumber, Way),
        truth: &Truth,
    ) -> Option<u64> {
        let link = match way {
            Way::Local => return Some(message.step),
            Way::Over(link) => link,
            Way::Away => return None,
        };
        let on_host = self.on_host.get(&(truth.sessions[session].host, from));
        match on_host.and_then(|progress| progress.after(number)) {
            Some(later) if self.links.held_until(link, later.step) => Some(later.step),
            _ => self
                .links
                .held_until(link, truth.step)
                .then_some(truth.step),
        }
    }

    /// Whatever became of its links: what a node accepted for another, while neither died, was
    /// received there, or is counted by one of the two.
    fn losses_are_counted(&self, truth: &Truth) -> Result<(), String> {
        // The frames that did not get to each host, for certain, and who sent them.
        let mut lost: BTreeMap<usize, BTreeSet<(SessionNumber, u64)>> = BTreeMap::new();
        let mut publishers: BTreeSet<usize> = BTreeSet::new();
        for ((from, number), message) in &self.messages {
            let publisher = &truth.sessions[*from];
            let runs = |session: &SessionTruth| {
                truth.hosts[session.host].running == Some(session.incarnation)
            };
            for ((session, member), way) in &message.waiting {
                let receiver = &truth.sessions[*session];
                let membership = receiver.members.get(member);
                let is_there = membership.is_some_and(|membership| membership.until.is_none());
                // With no mailbox in the way, it is the frame that never came.
                let is_certain = is_there && truth.is_open(receiver) && receiver.missed == 0;
                if is_certain && !matches!(way, Way::Local) && runs(publisher) {
                    publishers.insert(publisher.host);
                    lost.entry(receiver.host)
                        .or_default()
                        .insert((*from, *number));
                }
            }
        }
        let transport = |host: &usize| {
            let stats = self.counted.get(host);
            stats.and_then(|stats| stats.transport).unwrap_or_default()
        };
        let dropped = |host: &usize| {
            let stats = transport(host);
            refused_by(&stats) + stats.dropped_peer_restarted
        };
        let dropped: u64 = publishers.iter().map(dropped).sum();
        let uncounted = lost.iter().map(|(host, frames)| {
            (frames.len() as u64).saturating_sub(transport(host).dropped_link_lost)
        });
        let uncounted: u64 = uncounted.sum();
        if uncounted > dropped {
            return Err(format!(
                "delivery: {uncounted} messages were lost between nodes that live, beyond those \
                 that the receiving nodes count as lost with a link, and the sending ones count \
                 {dropped} as dropped"
            ));
        }
        Ok(())
    }

    fn describe(&self, lack: &Lack, truth: &Truth) -> String {
        let Lack {
            session,
            from,
            number,
            told,
        } = lack;
        let host = |session: SessionNumber| truth.sessions[session].host;
        let message = self.messages.get(&(*from, *number));
        let about = message.map_or_else(String::new, |message| {
            let refused = match message.refused {
                0 => String::new(),
                refused => format!(" and not handed over to {refused} of the nodes"),
            };
            format!(
                "published on {} while {:?}{refused}",
                message.topic, message.phase
            )
        });
        let (on, publisher) = (host(*session), host(*from));
        format!(
            "delivery: session {session} on host {on} never received message {number} of session \
             {from} on host {publisher}, {about}, and was told of {told} missed"
        )
    }
}

/// What a node dropped instead of handing it over, or afterwards, when the peer was forgotten.
fn refused_by(stats: &tidings_transport::Stats) -> u64 {
    stats.dropped_outbound_full
        + stats.dropped_too_large
        + stats.dropped_congested
        + stats.dropped_peer_forgotten
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> MemberId {
        MemberId::from_bytes([1; 16])
    }

    /// Two hosts: session 0 publishes on host 0, session 1 is on host 1 and has the one membership.
    struct Scene {
        truth: Truth,
        delivery: Delivery,
        published: u64,
    }

    impl Scene {
        fn new() -> Self {
            let mut scene = Self {
                truth: Truth::new(2),
                delivery: Delivery::default(),
                published: 0,
            };
            for host in 0..2 {
                let incarnation = 7;
                scene.note(Note::Started {
                    host,
                    incarnation: incarnation.into(),
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
            scene.link(1);
            scene
        }

        fn note(&mut self, note: Note) {
            self.delivery.note(&note, &self.truth).unwrap();
            self.truth.apply(&note);
        }

        /// Host 0 shows this link to host 1.
        fn link(&mut self, counter: u64) {
            let number = serde_json::json!({ "incarnation": 7, "counter": counter });
            let link = LinkEnd {
                on: 0,
                to: 1,
                incarnation: 7.into(),
                number: serde_json::from_value(number).unwrap(),
            };
            self.delivery.linked(0, &[link], &self.truth).unwrap();
        }

        fn publish(&mut self, shown: &[MemberId], nodes: usize) {
            self.note(Note::Published {
                session: 0,
                number: self.published,
                topic: "a".parse().unwrap(),
                reach: Reach::All,
                shown: shown.to_vec(),
                nodes,
            });
            self.published += 1;
        }

        fn deliver(&mut self, number: u64) {
            self.note(Note::Delivered {
                session: 1,
                member: member(),
                from: 0,
                number,
                topic: "a".parse().unwrap(),
            });
        }

        /// Host 1 has counted so many frames as lost with links.
        fn count_lost(&mut self, dropped_link_lost: u64) {
            let mut stats = Stats::default();
            let mut transport = tidings_transport::Stats::default();
            transport.dropped_link_lost = dropped_link_lost;
            stats.transport = Some(transport);
            self.delivery.counted(1, &stats, &self.truth).unwrap();
        }

        fn holds(mut self) -> bool {
            self.delivery.finish(&self.truth).is_ok()
        }
    }

    /// Two messages for the member.
    fn two() -> Scene {
        let mut scene = Scene::new();
        (0..2).for_each(|_| scene.publish(&[member()], 1));
        scene
    }

    #[test]
    fn an_earlier_message_is_owed_once_a_later_one_came_over_a_link_that_held() {
        let mut scene = two();
        scene.deliver(1);
        scene.link(1);
        scene.link(2);
        assert!(!scene.holds());
        let mut scene = two();
        scene.deliver(0);
        scene.deliver(1);
        scene.link(2);
        assert!(scene.holds());
    }

    #[test]
    fn what_is_lost_with_a_link_is_not_owed() {
        let mut scene = two();
        scene.link(2);
        scene.deliver(1);
        scene.link(2);
        scene.count_lost(1);
        assert!(
            scene.holds(),
            "it broke after the first and before the second arrived"
        );
    }

    #[test]
    fn everything_is_owed_if_the_link_holds_in_the_end() {
        let mut scene = two();
        scene.link(1);
        assert!(!scene.holds());
        let mut scene = two();
        scene.link(2);
        scene.count_lost(2);
        assert!(scene.holds());
    }

    #[test]
    fn a_member_that_the_publishers_node_does_not_show_is_owed_nothing() {
        let mut scene = Scene::new();
        scene.publish(&[], 0);
        scene.publish(&[member()], 1);
        scene.deliver(1);
        scene.link(1);
        assert!(scene.holds());
    }

    #[test]
    fn a_message_may_lack_if_the_subscriber_was_told_before_the_next() {
        for (is_before, holds) in [(true, true), (false, false)] {
            let mut scene = two();
            let missed = Note::Missed {
                session: 1,
                count: 1,
            };
            if is_before {
                scene.note(missed.clone());
            }
            scene.deliver(1);
            if !is_before {
                scene.note(missed);
            }
            scene.link(1);
            assert_eq!(scene.holds(), holds);
        }
    }

    #[test]
    fn a_membership_that_ended_before_the_message_was_there_is_owed_nothing() {
        for (is_before, holds) in [(true, true), (false, false)] {
            let mut scene = two();
            let ended = Note::Unsubscribed {
                session: 1,
                member: member(),
            };
            if is_before {
                scene.note(ended.clone());
            }
            // Another membership of the same session.
            scene.deliver(1);
            if !is_before {
                scene.note(ended);
            }
            scene.link(1);
            assert_eq!(scene.holds(), holds);
        }
    }

    #[test]
    fn a_message_that_was_refused_and_counted_is_not_owed() {
        let mut scene = Scene::new();
        scene.publish(&[member()], 0);
        scene.publish(&[member()], 1);
        scene.deliver(1);
        scene.link(1);
        let mut stats = Stats::default();
        assert!(scene.delivery.counted(0, &stats, &scene.truth).is_err());
        let mut transport = tidings_transport::Stats::default();
        transport.dropped_outbound_full = 1;
        stats.transport = Some(transport);
        assert!(scene.delivery.counted(0, &stats, &scene.truth).is_ok());
        assert!(scene.holds());
    }

    #[test]
    fn what_is_lost_with_a_link_is_counted_by_a_node_that_lives() {
        for (lost, holds) in [(1, false), (2, true)] {
            let mut scene = two();
            scene.link(2);
            scene.count_lost(lost);
            assert_eq!(scene.holds(), holds);
        }
        let mut scene = two();
        scene.note(Note::Crashed { host: 0 });
        assert!(scene.holds(), "nobody is left to count");
    }

    #[test]
    fn a_member_on_the_publishers_own_node_is_owed_everything() {
        let mut scene = Scene::new();
        scene.note(Note::Subscribed {
            session: 0,
            member: MemberId::from_bytes([2; 16]),
            pattern: "a".parse().unwrap(),
            queue: None,
        });
        scene.publish(&[], 0);
        assert!(!scene.holds());
    }
}
