use crate::oracle::Oracle;
use crate::truth::Truth;
use tidings::Stats;

/// Nodes find nothing wrong with each other's gossip.
#[derive(Debug, Default)]
pub struct Gossip;

impl Oracle for Gossip {
    fn counted(&mut self, host: usize, stats: &Stats, _: &Truth) -> Result<(), String> {
        let (faults, values) = (stats.membership.faults, stats.membership.values_malformed);
        if faults.total() + values > 0 {
            return Err(format!(
                "gossip: host {host} found {faults:?} in messages of others, and {values} values \
                 that it cannot read"
            ));
        }
        Ok(())
    }
}
