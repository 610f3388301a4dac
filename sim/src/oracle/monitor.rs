use std::collections::BTreeMap;

use crate::note::Note;
use crate::oracle::Oracle;
use crate::told;
use crate::truth::Truth;

/// Who watches the view of a node is told of each join and leave, and of each node that comes and
/// goes, exactly once, and of what members say of themselves: what was told adds up to the truth in the
/// end.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Live nodes, memberships and a number for what these say, as the events told so far add up on
    /// each host.
    told: BTreeMap<usize, (usize, usize, u64)>,
}

impl Oracle for Monitor {
    fn note(&mut self, note: &Note, _: &Truth) -> Result<(), String> {
        match note {
            Note::Started { host, .. } => {
                self.told.remove(host);
            }
            Note::View {
                on,
                nodes,
                members,
                said,
            } => {
                self.told.insert(*on, (*nodes, *members, *said));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        let members = truth.members();
        let said = told::said(members.map(|(session, id, _)| (id, truth.metadata(session, id))));
        let expected = (truth.running().count(), truth.members().count(), said);
        for (host, _) in truth.running() {
            let Some(told) = self.told.get(&host) else {
                continue;
            };
            if *told != expected {
                return Err(format!(
                    "monitor: the events on host {host} add up to {told:?} nodes, members and \
                     what these say, there are {expected:?}"
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
        for (members, said, holds) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            let view = Note::View {
                on: 0,
                nodes: 1,
                members,
                said,
            };
            monitor.note(&view, &truth).unwrap();
            assert_eq!(monitor.finish(&truth).is_ok(), holds);
        }
    }
}
