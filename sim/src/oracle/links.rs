use std::collections::BTreeMap;

use tidings::LinkNumber;

use crate::links::LinkEnd;
use crate::note::{Note, Phase};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// In a quiet network every two nodes have a link, both the same, and it holds.
#[derive(Debug, Default)]
pub struct Links {
    /// The link of each pair of hosts, the lower one first.
    pairs: BTreeMap<(usize, usize), LinkNumber>,
}

impl Oracle for Links {
    fn note(&mut self, note: &Note, _: &Truth) -> Result<(), String> {
        if matches!(note, Note::Phase { .. }) {
            self.pairs.clear();
        }
        Ok(())
    }

    fn linked(&mut self, host: usize, links: &[LinkEnd], truth: &Truth) -> Result<(), String> {
        if truth.phase != Phase::Quiet {
            return Ok(());
        }
        let links: BTreeMap<usize, &LinkEnd> = links.iter().map(|link| (link.to, link)).collect();
        for (other, run) in truth.running().filter(|(other, _)| *other != host) {
            let link = links.get(&other).filter(|link| link.incarnation == run);
            let Some(link) = link else {
                return Err(format!("links: host {host} has none to host {other}"));
            };
            let pair = (host.min(other), host.max(other));
            if *self.pairs.entry(pair).or_insert(link.number) != link.number {
                return Err(format!(
                    "links: host {host} has another to host {other} than was there before, or than \
                     is there"
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
    fn a_link_that_is_missing_or_another_is_found_in_quiet() {
        let link = |to: usize, counter: u64| LinkEnd {
            on: 1 - to,
            to,
            incarnation: 7.into(),
            number: serde_json::from_value(
                serde_json::json!({ "incarnation": 7, "counter": counter }),
            )
            .unwrap(),
        };
        for (phase, ends, holds) in [
            (Phase::Quiet, [vec![link(1, 3)], vec![link(0, 3)]], true),
            (Phase::Quiet, [vec![link(1, 3)], vec![link(0, 2)]], false),
            (Phase::Quiet, [vec![link(1, 3)], vec![]], false),
            (Phase::Healing, [vec![link(1, 3)], vec![]], true),
        ] {
            let (mut truth, mut links) = (Truth::new(2), Links::default());
            for host in 0..2 {
                let incarnation = 7;
                truth.apply(&Note::Started {
                    host,
                    incarnation: incarnation.into(),
                });
            }
            truth.apply(&Note::Phase { phase });
            let found = (0..2).find_map(|host| links.linked(host, &ends[host], &truth).err());
            assert_eq!(found.is_none(), holds, "{found:?}");
        }
    }
}
