use std::collections::BTreeMap;

use tidings::{Carried, Incarnation, LinkInfo, LinkNumber};

use crate::name;

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
pub struct LinkEnd {
    /// Where that node is.
    pub on: usize,
    /// Where the other one is.
    pub to: usize,
    /// The run of the other.
    pub incarnation: Incarnation,
    /// Which of their links it is.
    pub number: LinkNumber,
}

/// What went over the links of a pair, as the node at one end counts it.
#[derive(Debug, Clone, Copy)]
pub struct Carriage {
    /// The link that is up.
    pub end: LinkEnd,
    /// Between the present runs of the two.
    pub in_run: Carried,
    /// Messages from the other that are missing here, ever since this node started.
    pub missing: u64,
}

impl Carriage {
    /// Of the links that are up, of those that the node on this host shows.
    pub fn all_of(on: usize, links: &[LinkInfo]) -> Vec<Self> {
        // Liars are nobody whose links are judged.
        let is_shown = |link: &&LinkInfo| link.up.is_some() && name::host(&link.peer).is_some();
        let up = links.iter().filter(is_shown);
        let ends = LinkEnd::all_of(on, links);
        let carriage = |(end, link): (LinkEnd, &LinkInfo)| Self {
            end,
            in_run: link.carried,
            missing: link.lost_frames + link.dropped_frames_there,
        };
        ends.into_iter().zip(up).map(carriage).collect()
    }
}

impl LinkEnd {
    /// The links that are up, of those that the node on this host shows.
    pub fn all_of(on: usize, links: &[LinkInfo]) -> Vec<Self> {
        let end = |link: &LinkInfo| {
            let up = link.up.as_ref()?;
            Some(Self {
                on,
                to: name::host(&link.peer)?,
                incarnation: up.incarnation,
                number: up.number,
            })
        };
        links.iter().filter_map(end).collect()
    }
}

impl Links {
    /// Takes in the links that a host shows at this step.
    pub(crate) fn look(&mut self, on: usize, ends: &[LinkEnd], step: u64) {
        let ends: BTreeMap<usize, LinkEnd> = ends.iter().map(|end| (end.to, *end)).collect();
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
