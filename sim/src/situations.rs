//! How rare situations are recognised.

use tidings::{GossipFault, Outcome};

use crate::fault::Event;
use crate::lie::Lie;
use crate::name;
use crate::note::Ending;
use crate::truth::Truth;
use crate::world::World;

impl World {
    /// Looks at an event that is about to happen.
    pub(crate) fn count_before(&mut self, event: &Event) {
        let is_cut = self.site.network.is_cut();
        let runs = |host: &usize| self.hosts[*host].run().is_some();
        let mut occurred = Vec::new();
        match event {
            Event::Crash { host } if is_cut && runs(host) => occurred.push("crash during a split"),
            Event::Leave { host } if is_cut && runs(host) => occurred.push("leave during a split"),
            Event::Split { groups } if groups.iter().filter(|g| !g.is_empty()).count() > 2 => {
                occurred.push("split into three or more");
            }
            Event::Start { host } if !runs(host) && self.is_shown_live(*host) => {
                occurred.push("restart before detection");
            }
            Event::Thaw { host } if self.hosts[*host].is_frozen() && !self.is_shown_live(*host) => {
                occurred.push("host frozen beyond detection");
            }
            _ => {}
        }
        occurred
            .into_iter()
            .for_each(|situation| self.sometimes.add(situation, 1));
    }

    /// Looks at the whole, in the end.
    pub(crate) fn count_situations(&mut self) {
        let seen = self.site.network.sightings();
        self.sometimes
            .add("cut during a handshake", seen.cuts_in_handshake);
        self.sometimes.add("simultaneous dial", seen.crossed_dials);
        let false_deaths = self.site.journal.truth(|truth| truth.false_deaths);
        self.sometimes.add("live node taken for dead", false_deaths);
        let waits = self.site.journal.truth(|truth| truth.waits);
        self.sometimes.add("publisher made to wait", waits);
        let told = self.site.journal.truth(|truth| truth.told);
        self.sometimes.add("listener told of a change", told);
        let updates = self.site.journal.truth(|truth| truth.updates);
        self.sometimes.add("member says something else", updates);
        let (passed, lacked) = self.site.journal.truth(|truth| {
            let passed = truth.sessions.iter().map(|session| session.everywhere);
            (passed.sum(), truth.lacked)
        });
        self.sometimes.add("barrier passed", passed);
        self.sometimes.add("barrier lacked a node", lacked);
        let (missed, cut_off) = self.site.journal.truth(|truth| {
            let missed = truth
                .sessions
                .iter()
                .filter(|session| session.missed > 0)
                .count();
            (missed as u64, truth.cut_off)
        });
        self.sometimes.add("mailbox overflow", missed);
        self.sometimes.add("session cut off", cut_off);
        let omitted = self.site.journal.truth(|truth| {
            let lies = truth.lies.iter();
            let omitted = lies.filter(|((_, lie), _)| *lie == Lie::Omit);
            omitted.map(|(_, times)| times).sum()
        });
        self.sometimes.add("omission told", omitted);
        for (situation, outcome) in [
            ("assured message refused", Outcome::Refused),
            ("assured message timed out", Outcome::TimedOut),
            ("assured message to a node that was lost", Outcome::NodeLost),
            ("assured message to one that died", Outcome::Died),
            ("assured message to one that left", Outcome::Left),
        ] {
            let times = self.site.journal.truth(|truth| {
                let outcomes = truth.outcomes.iter();
                let same = outcomes.filter(|((_, own), _)| *own == outcome);
                same.map(|(_, times)| *times as u64).sum()
            });
            self.sometimes.add(situation, times);
        }
        for situation in [
            "stream aborted",
            "stream followed to its end",
            "stream out of reach",
        ] {
            let told = |truth: &Truth| truth.tellings.get(situation).copied();
            let times = self.site.journal.truth(told).unwrap_or_default();
            self.sometimes.add(situation, times);
        }
        let gathered = self.site.journal.truth(|truth| truth.gathered);
        self.sometimes.add("question put to all members", gathered);
        for (situation, ending) in [
            ("question answered", Ending::Answered),
            ("question that nobody listens to", Ending::NoResponders),
            ("question unanswered", Ending::Unanswered),
        ] {
            let times = self.site.journal.truth(|truth| {
                let endings = truth.endings.iter();
                let same = endings.filter(|((_, own), _)| *own == ending);
                same.map(|(_, times)| *times).sum()
            });
            self.sometimes.add(situation, times);
        }
        let mut counted = [0; 6];
        for host in &self.hosts {
            let Some(run) = host.run() else { continue };
            let stats = run.node.stats();
            let (repeated, known) = (stats.assured_repeated, stats.assured_known);
            self.sometimes.add("assured message sent again", repeated);
            self.sometimes.add("assured message came again", known);
            let situation = "question passed on to another of a queue group";
            self.sometimes.add(situation, stats.passed_on);
            let faults = stats.membership.faults;
            let certificate = faults.of(GossipFault::Certificate);
            let of_parts = [GossipFault::Itself, GossipFault::Room, GossipFault::Pace];
            let left_out = of_parts.map(|fault| faults.of(fault)).iter().sum::<u64>();
            self.sometimes.add("lie left out of a message", left_out);
            let refused = faults.total() - left_out - certificate;
            self.sometimes.add("lie refused", refused);
            let Some(transport) = stats.transport else {
                continue;
            };
            self.sometimes.add("liar paused", transport.violations);
            counted[0] += transport.dropped_link_lost;
            counted[1] += transport.dropped_peer_forgotten;
            counted[2] += transport.dropped_peer_restarted;
            counted[3] += transport.handshakes_refused;
            counted[4] += transport.dropped_outbound_full;
            counted[5] += transport.dropped_congested;
        }
        self.sometimes.add("frames lost with a link", counted[0]);
        self.sometimes
            .add("frames waited for a forgotten peer", counted[1]);
        self.sometimes
            .add("messages to an earlier run dropped", counted[2]);
        self.sometimes.add("queue to a peer full", counted[4]);
        self.sometimes
            .add("message dropped rather than waited for", counted[5]);
        if !self.site.plan.expiring.is_empty() {
            self.sometimes.add("certificate expired", counted[3]);
        }
        let forgotten = self.site.plan.dead_node_grace_s < self.site.plan.chaos_s
            && self
                .site
                .plan
                .event
                .iter()
                .any(|timed| matches!(timed.event, Event::Crash { .. }));
        self.sometimes
            .add("dead node forgotten", u64::from(forgotten));
    }

    /// Whether any other node still takes the one on this host to be running.
    fn is_shown_live(&self, host: usize) -> bool {
        let name = name::of(host);
        let others = self.hosts.iter().filter(|other| other.number != host);
        others.filter_map(|other| other.run()).any(|run| {
            run.node
                .nodes()
                .iter()
                .any(|seen| seen.run.node == name && seen.live)
        })
    }
}
