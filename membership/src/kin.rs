use crate::MemberId;
use crate::member_id::{NUMBER_MAX, UNIX_MS_MAX};

/// What most ids in a bucket have in common, so that it need not be told with each of them: the random
/// bits of the run that made them, and a time that none of them is before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kin {
    pub(crate) random: u64,
    pub(crate) unix_ms: u64,
}

/// What tells an id that follows another in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next of the kin is so many milliseconds later, and has this number.
    Kin { later_ms: u64, number: u16 },
    /// An id that is not of the kin.
    Other(MemberId),
}

/// The way through the ids of a topic, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    kin: Option<Kin>,
    unix_ms: u64,
}

impl Kin {
    /// The kin of which this id is the first.
    pub(crate) fn of(first: MemberId) -> Option<Self> {
        let (unix_ms, _, random) = first.parts()?;
        Some(Self { random, unix_ms })
    }

    /// The time and number of an id that is of the kin.
    fn has(&self, member: MemberId) -> Option<(u64, u16)> {
        let (unix_ms, number, random) = member.parts()?;
        (random == self.random && unix_ms >= self.unix_ms).then_some((unix_ms, number))
    }
}

impl Chain {
    /// Begins before the first id of a topic.
    pub(crate) fn new(kin: Option<Kin>) -> Self {
        let unix_ms = kin.map_or(0, |kin| kin.unix_ms);
        Self { kin, unix_ms }
    }

    /// Whether an id moves the chain on.
    pub(crate) fn is_kin(&self, member: MemberId) -> bool {
        self.kin.is_some_and(|kin| kin.has(member).is_some())
    }

    /// Goes on to this id.
    pub(crate) fn step_to(&mut self, member: MemberId) -> Step {
        let Some((unix_ms, number)) = self.kin.and_then(|kin| kin.has(member)) else {
            return Step::Other(member);
        };
        // In order, an id is never earlier than the one before.
        let later_ms = unix_ms.saturating_sub(self.unix_ms);
        self.unix_ms = unix_ms;
        Step::Kin { later_ms, number }
    }

    /// Goes on to the id that a step leads to. None if there is no such.
    pub(crate) fn follow(&mut self, step: Step) -> Option<MemberId> {
        match step {
            Step::Other(member) => Some(member),
            Step::Kin { later_ms, number } => {
                let kin = self.kin?;
                let unix_ms = self.unix_ms.checked_add(later_ms)?;
                if unix_ms > UNIX_MS_MAX || number > NUMBER_MAX {
                    return None;
                }
                self.unix_ms = unix_ms;
                Some(MemberId::from_parts(unix_ms, number, kin.random))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberIds;

    #[test]
    fn a_chain_leads_back_to_the_ids_it_was_made_of() {
        let (mut run, mut other) = (MemberIds::default(), MemberIds::default());
        let mut ids: Vec<_> = [5_000, 5_000, 9_000].map(|ms| run.next(ms)).into();
        let kin = Kin::of(ids[0]);
        ids.extend([other.next(6_000), MemberId::from_bytes([9; 16])]);
        ids.sort();
        let (mut there, mut back) = (Chain::new(kin), Chain::new(kin));
        let steps: Vec<_> = ids.iter().map(|&id| there.step_to(id)).collect();
        let of_kin = |step: &&Step| matches!(step, Step::Kin { .. });
        assert_eq!(steps.iter().filter(of_kin).count(), 3);
        let again: Option<Vec<_>> = steps.iter().map(|&step| back.follow(step)).collect();
        assert_eq!(again, Some(ids));
    }

    #[test]
    fn a_step_that_leads_nowhere_is_noticed() {
        let kin = Kin::of(MemberIds::default().next(5_000));
        let step = |later_ms, number| Step::Kin { later_ms, number };
        assert!(Chain::new(kin).follow(step(1, NUMBER_MAX)).is_some());
        assert!(Chain::new(kin).follow(step(1, NUMBER_MAX + 1)).is_none());
        assert!(Chain::new(kin).follow(step(UNIX_MS_MAX, 0)).is_none());
        assert!(Chain::new(kin).follow(step(u64::MAX, 0)).is_none());
        assert!(Chain::new(None).follow(step(1, 1)).is_none());
    }
}
