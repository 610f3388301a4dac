use std::collections::BTreeMap;

use crate::note::Note;
use crate::oracle::Oracle;
use crate::truth::Truth;

/// Who watches the view of a node is told of each join and leave, and of each node that comes and
/// goes, exactly once: what was told adds up to the truth in the end.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Live nodes and memberships, as the events told so far add up on each host.
    told: BTreeMap<usize, (usize, usize)>,
}

impl Oracle for Monitor {
    fn note(&mut self, note: &Note, _: &Truth) -> Result<(), String> {
        match note {
            Note::Started { host, .. } => {
                self.told.remove(host);
            }
            Note::View { on, nodes, members } => {
                self.told.insert(*on, (*nodes, *members));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        let expected = (truth.running().count(), truth.members().count());
        for (host, _) in truth.running() {
            let Some(told) = self.told.get(&host) else {
                continue;
            };
            if *told != expected {
                return Err(format!(
                    "monitor: the events on host {host} add up to {told:?} nodes and members, \
                     there are {expected:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_too_many_is_found() {
        let mut truth = Truth::new(1);
        let mut monitor = Monitor::default();
        let started = Note::Started {
            host: 0,
            incarnation: 1.into(),
        };
        truth.apply(&started);
        for (members, holds) in [(0, true), (1, false)] {
            let view = Note::View {
                on: 0,
                nodes: 1,
                members,
            };
            monitor.note(&view, &truth).unwrap();
            assert_eq!(monitor.finish(&truth).is_ok(), holds);
        }
    }
}
