use crate::name;
use crate::note::Note;
use crate::oracle::Oracle;
use crate::truth::Truth;
use tidings::{GossipFault, Stats};

/// Honest nodes find nothing wrong with each other's gossip, nor with anything else on their links.
///
/// Where there are liars, they find much wrong with these, and blame nobody else for it, whatever the
/// liars have told them.
#[derive(Debug, Default)]
pub struct Gossip {
    is_anyone_blamed: bool,
}

impl Oracle for Gossip {
    fn note(&mut self, note: &Note, _: &Truth) -> Result<(), String> {
        let Note::Blamed { node, why } = note else {
            return Ok(());
        };
        self.is_anyone_blamed = true;
        if name::is_liar(node) {
            return Ok(());
        }
        Err(format!("gossip: {node}, which is honest, is blamed: {why}"))
    }

    fn counted(&mut self, host: usize, stats: &Stats, truth: &Truth) -> Result<(), String> {
        let (faults, values) = (stats.membership.faults, stats.membership.values_malformed);
        // Certificates end here, and who passes on what their nodes said cannot help it.
        let others = faults.total() - faults.of(GossipFault::Certificate);
        if others > 0 && truth.liars == 0 || values > 0 {
            return Err(format!(
                "gossip: host {host} found {faults:?} in messages of others, and {values} values \
                 that it cannot read"
            ));
        }
        let violations = stats.transport.map_or(0, |transport| transport.violations);
        if violations > 0 && !(truth.liars > 0 && self.is_anyone_blamed) {
            return Err(format!(
                "gossip: peers of host {host} broke the protocol on {violations} links"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_liars_may_be_blamed() {
        let blamed = |node: &str| Note::Blamed {
            node: node.into(),
            why: String::new(),
        };
        let judge = |node| Gossip::default().note(&blamed(node), &Truth::new(2));
        assert!(judge("liar0").is_ok());
        assert!(judge("n1").is_err());
    }
}
