use std::collections::{BTreeMap, BTreeSet};

use crate::links::{Carriage, LinkEnd};
use crate::note::Note;
use crate::oracle::Oracle;
use crate::truth::Truth;
use tidings::{Incarnation, Stats};

/// Every message that was accepted is delivered, or counted as dropped.
///
/// At any time nothing is counted twice: what is delivered or dropped was sent before. In the end
/// nothing is missing either: of each node that lived to the end, what was put into its mailboxes;
/// of the frames between each two of them, whatever became of others; and, if none died, of the frames
/// between all nodes. (What is lost with a node that dies, nobody is left to count.)
#[derive(Debug, Default)]
pub struct Accounting {
    /// The newest counts of each run of a node.
    counted: BTreeMap<(usize, Incarnation), Stats>,
    /// What each host has exchanged with each other one, as it said last.
    carried: BTreeMap<(usize, usize), Carriage>,
    /// Whether a node has crashed or left.
    any_gone: bool,
    /// Hosts where replicas receive, too, and tell nobody what they missed.
    replicas: BTreeSet<usize>,
}

impl Oracle for Accounting {
    fn note(&mut self, note: &Note, _: &Truth) -> Result<(), String> {
        if let Note::Listening { host, .. } = note {
            self.replicas.insert(*host);
        }
        self.any_gone |= matches!(note, Note::Crashed { .. } | Note::Leaving { .. });
        Ok(())
    }

    fn counted(&mut self, host: usize, stats: &Stats, truth: &Truth) -> Result<(), String> {
        let Some(incarnation) = truth.hosts[host].running else {
            return Ok(());
        };
        self.counted.insert((host, incarnation), stats.clone());
        let done = stats.delivered + dropped_local(stats);
        if done > stats.sent_local {
            return Err(format!(
                "accounting: host {host} put {} messages into mailboxes, and {done} came out",
                stats.sent_local
            ));
        }
        let taken = frames_taken(stats);
        if taken > stats.sent_remote {
            return Err(format!(
                "accounting: host {host} handed over {} frames, and {taken} were sent or dropped",
                stats.sent_remote
            ));
        }
        Ok(())
    }

    fn carried(&mut self, host: usize, links: &[Carriage], _: &Truth) -> Result<(), String> {
        let links = links.iter().map(|link| ((host, link.end.to), *link));
        self.carried.extend(links);
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        self.pairs_agree(truth)?;
        for ((host, incarnation), stats) in &self.counted {
            let runs = truth.hosts[*host].running == Some(*incarnation);
            let done = stats.delivered + dropped_local(stats);
            if runs && done != stats.sent_local {
                return Err(format!(
                    "accounting: host {host} put {} messages into mailboxes, of which {} were \
                     received and {} counted as dropped",
                    stats.sent_local,
                    stats.delivered,
                    dropped_local(stats),
                ));
            }
            let mine = |session: &&crate::truth::SessionTruth| {
                (session.host, session.incarnation) == (*host, *incarnation)
            };
            let sessions = || truth.sessions.iter().filter(mine);
            let told: u64 = sessions().map(|session| session.missed).sum();
            let is_known = sessions().all(|s| s.open) && !self.replicas.contains(host);
            if runs && is_known && told != stats.dropped_mailbox_full {
                return Err(format!(
                    "accounting: the sessions of host {host} were told of {told} missed messages, \
                     and {} were counted",
                    stats.dropped_mailbox_full
                ));
            }
        }
        if self.any_gone {
            return Ok(());
        }
        let sum = |count: fn(&Stats) -> u64| self.counted.values().map(count).sum::<u64>();
        let (sent, received) = (sum(|s| s.sent_remote), sum(|s| s.received));
        let dropped = sum(dropped_between);
        if sent != received + dropped {
            return Err(format!(
                "accounting: {sent} frames were sent among all nodes, of which {received} arrived \
                 and {dropped} were counted as dropped"
            ));
        }
        Ok(())
    }
}

impl Accounting {
    /// What one node sent to another, that one received or counts as lost, as long as both live.
    fn pairs_agree(&self, truth: &Truth) -> Result<(), String> {
        for ((host, to), sender) in &self.carried {
            let Some(receiver) = self.carried.get(&(*to, *host)) else {
                continue;
            };
            let runs = |end: &LinkEnd| truth.hosts[end.to].running == Some(end.incarnation);
            let same_link = sender.end.number == receiver.end.number;
            if !same_link || !runs(&sender.end) || !runs(&receiver.end) {
                continue;
            }
            let (sent, there) = (sender.in_run.sent, receiver.in_run);
            if sent != there.received + there.lost {
                return Err(format!(
                    "accounting: host {host} sent {sent} frames to host {to}, which received {} \
                     and counts {} as lost",
                    there.received, there.lost
                ));
            }
        }
        Ok(())
    }
}

fn dropped_local(stats: &Stats) -> u64 {
    stats.dropped_mailbox_full
        + stats.dropped_slow_subscriber
        + stats.dropped_session_ended
        + stats.handed_over
}

/// Frames that do not wait any more.
fn frames_taken(stats: &Stats) -> u64 {
    let Some(transport) = &stats.transport else {
        return 0;
    };
    transport.frames_sent
        + transport.dropped_outbound_full
        + transport.dropped_too_large
        + transport.dropped_congested
        + transport.dropped_peer_forgotten
        + transport.dropped_peer_restarted
}

fn dropped_between(stats: &Stats) -> u64 {
    let Some(transport) = &stats.transport else {
        return 0;
    };
    transport.dropped_outbound_full
        + transport.dropped_too_large
        + transport.dropped_congested
        + transport.dropped_peer_forgotten
        + transport.dropped_peer_restarted
        + transport.dropped_link_lost
}
