use std::collections::BTreeMap;

use tidings::{Incarnation, LinkInfo, LinkNumber};

use crate::host::Site;

/// The links that nodes have shown, whenever someone looked.
///
/// A link that is seen twice held in between, because no two links of a pair have the same number. So
/// few looks are enough to know that one held; what it takes is one after the moment in question.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// What each host showed last, by the other end.
    newest: BTreeMap<usize, BTreeMap<usize, LinkEnd>>,
    /// The step at which an end was seen last.
    seen: BTreeMap<LinkEnd, u64>,
}

/// A link as the node at one of its ends knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkEnd {
    /// Where that node is.
    pub(crate) on: usize,
    /// Where the other one is.
    pub(crate) to: usize,
    /// The run of the other.
    pub(crate) incarnation: Incarnation,
    /// Which of their links it is.
    pub(crate) number: LinkNumber,
}

impl Links {
    /// Takes in what a host shows at this step.
    pub(crate) fn look(&mut self, on: usize, links: &[LinkInfo], step: u64) {
        let end = |link: &LinkInfo| {
            let end = LinkEnd {
                on,
                to: Site::host_of(link.peer.as_str())?,
                incarnation: link.incarnation,
                number: link.number,
            };
            Some((end.to, end))
        };
        let ends: BTreeMap<usize, LinkEnd> = links.iter().filter_map(end).collect();
        self.seen.extend(ends.values().map(|end| (*end, step)));
        self.newest.insert(on, ends);
    }

    /// The link that a host showed last to this other one.
    pub(crate) fn newest(&self, on: usize, to: usize) -> Option<LinkEnd> {
        self.newest.get(&on)?.get(&to).copied()
    }

    /// Whether a link that was up before still was at this step.
    pub(crate) fn held_until(&self, end: LinkEnd, step: u64) -> bool {
        self.seen.get(&end).is_some_and(|seen| *seen >= step)
    }
}
