use tidings_identity::Incarnation;

use crate::LinkNumber;
use crate::opening::{Opening, Withheld};

/// The receiving end of a lane: how far it has been received.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The peer's run that the numbers belong to.
    incarnation: Incarnation,
    /// The link that the lane is read from.
    link: LinkNumber,
    next: u64,
    received: u64,
    lost: u64,
    withheld: Withheld,
    state: CursorState,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum CursorState {
    /// Nothing has been read yet, or more may come.
    #[default]
    Open,
    /// The peer said that there will be nothing more.
    Finished,
    /// The link ended before that.
    Cut,
}

/// What is missing before a lane goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lack {
    /// Frames that were lost with the link before.
    pub(crate) lost: u64,
    /// Frames that the peer withheld.
    pub(crate) withheld: u64,
    /// Besides, there may be more, and nobody knows how many.
    pub(crate) unknown: bool,
}

impl Cursor {
    /// The lane goes on over `link`. Returns what is missing before it, or `None` when a later link
    /// already carries the lane.
    pub(crate) fn open(
        &mut self,
        incarnation: Incarnation,
        link: LinkNumber,
        opening: &Opening,
    ) -> Option<Lack> {
        if link < self.link {
            return None;
        }
        let mut lack = Lack::default();
        if incarnation != self.incarnation {
            let is_first = self.incarnation == Incarnation::default();
            lack.unknown = !is_first && self.state != CursorState::Finished;
            *self = Self {
                incarnation,
                ..Self::default()
            };
        }
        self.link = link;
        self.state = CursorState::Open;
        lack.lost = opening.first.saturating_sub(self.next);
        self.next = self.next.max(opening.first);
        self.lost = self.lost.saturating_add(lack.lost);
        let Withheld { frames, absences } = opening.withheld;
        lack.withheld = frames.saturating_sub(self.withheld.frames);
        lack.unknown |= absences > self.withheld.absences;
        self.withheld = opening.withheld;
        Some(lack)
    }

    /// The peer has withheld so many more frames, or, if 0, an unknown number.
    pub(crate) fn withheld(&mut self, frames: u32) {
        // A peer may say anything.
        let Withheld {
            frames: all,
            absences,
        } = &mut self.withheld;
        *all = all.saturating_add(frames.into());
        *absences = absences.saturating_add(u64::from(frames == 0));
    }

    /// The peer will send nothing more over `link`.
    pub(crate) fn finish(&mut self, link: LinkNumber) {
        if self.is_read_from(link) {
            self.state = CursorState::Finished;
        }
    }

    /// `link` has ended, and there was more to come. True if it still carried the lane.
    pub(crate) fn cut(&mut self, link: LinkNumber) -> bool {
        let cut = self.is_read_from(link);
        if cut {
            self.state = CursorState::Cut;
        }
        cut
    }

    /// Whether more may have been to come of this run of the peer, and is not being read.
    pub(crate) fn is_cut(&self, incarnation: Incarnation) -> bool {
        self.incarnation != incarnation || self.state == CursorState::Cut
    }

    /// How many frames of this run of the peer have been received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// How many frames of this run of the peer were lost with links.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether `link` still carries the lane.
    pub(crate) fn is_read_from(&self, link: LinkNumber) -> bool {
        self.link == link
    }

    /// Whether frame `number` is to be delivered; if it is, it counts as received.
    pub(crate) fn admit(&mut self, number: u64) -> bool {
        let new = number >= self.next;
        if new {
            // A peer may say that it has sent any number of frames.
            self.next = number.saturating_add(1);
            self.received += 1;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(counter: u64) -> LinkNumber {
        LinkNumber::new(1.into(), counter)
    }

    fn opening(first: u64, frames: u64, absences: u64) -> Opening {
        Opening {
            lane: 0,
            first,
            withheld: Withheld { frames, absences },
        }
    }

    fn lack(lost: u64, withheld: u64, unknown: bool) -> Option<Lack> {
        Some(Lack {
            lost,
            withheld,
            unknown,
        })
    }

    #[test]
    fn a_gap_between_links_is_what_was_lost() {
        let mut cursor = Cursor::default();
        assert_eq!(
            cursor.open(7.into(), number(1), &opening(0, 0, 0)),
            lack(0, 0, false)
        );
        assert!(cursor.admit(0) && cursor.admit(1));
        assert_eq!(
            cursor.open(7.into(), number(2), &opening(5, 0, 0)),
            lack(3, 0, false)
        );
        assert!(!cursor.is_read_from(number(1)));
        assert_eq!(cursor.open(7.into(), number(1), &opening(2, 0, 0)), None);
        assert!(!cursor.admit(4));
        assert!(cursor.admit(5));
        assert_eq!(cursor.lost(), 3);
    }

    #[test]
    fn what_a_peer_withholds_is_told_once() {
        let mut cursor = Cursor::default();
        assert_eq!(
            cursor.open(7.into(), number(1), &opening(0, 2, 0)),
            lack(0, 2, false)
        );
        cursor.withheld(3);
        assert_eq!(
            cursor.open(7.into(), number(2), &opening(0, 6, 0)),
            lack(0, 1, false)
        );
        assert_eq!(
            cursor.open(7.into(), number(3), &opening(0, 6, 1)),
            lack(0, 0, true)
        );
        cursor.withheld(0);
        assert_eq!(
            cursor.open(7.into(), number(4), &opening(0, 6, 2)),
            lack(0, 0, false)
        );
    }

    #[test]
    fn nobody_knows_what_is_missing_of_a_run_that_did_not_finish() {
        let mut cursor = Cursor::default();
        assert_eq!(
            cursor.open(7.into(), number(1), &opening(0, 0, 0)),
            lack(0, 0, false)
        );
        assert!(!cursor.is_cut(7.into()) && cursor.is_cut(8.into()));
        assert!(cursor.cut(number(1)) && cursor.is_cut(7.into()));
        assert_eq!(
            cursor.open(8.into(), number(2), &opening(0, 0, 0)),
            lack(0, 0, true)
        );
        assert!(!cursor.cut(number(1)), "another link carries the lane");
        cursor.finish(number(2));
        assert_eq!(
            cursor.open(9.into(), number(3), &opening(4, 0, 0)),
            lack(4, 0, false)
        );
    }

    #[test]
    fn a_peer_that_counts_to_the_end_of_the_numbers_ends_nothing() {
        let mut cursor = Cursor::default();
        cursor.open(7.into(), number(1), &opening(u64::MAX, u64::MAX, u64::MAX));
        assert!(cursor.admit(u64::MAX));
        cursor.withheld(1);
        cursor.withheld(0);
        cursor.open(7.into(), number(2), &opening(u64::MAX, 0, 0));
    }
}
