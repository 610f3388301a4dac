use crate::oracle::Oracle;
use crate::truth::Truth;
use tidings::{GossipFault, Stats};

/// Nodes find nothing wrong with each other's gossip, nor with anything else on their links.
#[derive(Debug, Default)]
pub struct Gossip;

impl Oracle for Gossip {
    fn counted(&mut self, host: usize, stats: &Stats, _: &Truth) -> Result<(), String> {
        let (faults, values) = (stats.membership.faults, stats.membership.values_malformed);
        // Certificates end here, and who passes on what their nodes said cannot help it.
        let others = faults.total() - faults.of(GossipFault::Certificate);
        if others + values > 0 {
            return Err(format!(
                "gossip: host {host} found {faults:?} in messages of others, and {values} values \
                 that it cannot read"
            ));
        }
        let violations = stats.transport.map_or(0, |transport| transport.violations);
        if violations > 0 {
            return Err(format!(
                "gossip: peers of host {host} broke the protocol on {violations} links"
            ));
        }
        Ok(())
    }
}
