use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_membership::MemberId;

/// The members of this node whose sessions have ended, the last of them: so that who asks for a member
/// that is not there can be told whether it left or died.
#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<Died>);

#[derive(Debug, Default)]
struct Died {
    members: HashSet<MemberId>,
    order: VecDeque<MemberId>,
}

impl Departed {
    /// A session has ended that had these memberships.
    pub(crate) fn add(&self, members: impl Iterator<Item = MemberId>) {
        let mut died = self.lock();
        for member in members {
            if died.order.len() == DIED_MAX
                && let Some(oldest) = died.order.pop_front()
            {
                died.members.remove(&oldest);
            }
            died.order.push_back(member);
            died.members.insert(member);
        }
    }

    /// Whether the session of this member has ended, as far as is remembered.
    pub(crate) fn has_died(&self, member: MemberId) -> bool {
        self.lock().members.contains(&member)
    }

    fn lock(&self) -> MutexGuard<'_, Died> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many memberships are remembered: some 3 MiB.
const DIED_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_die_are_remembered() {
        let member = |number: u32| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            MemberId::from_bytes(bytes)
        };
        let departed = Departed::default();
        let all = DIED_MAX as u32 + 10;
        departed.add((0..all).map(member));
        assert!(!departed.has_died(member(9)) && departed.has_died(member(10)));
        assert!(departed.has_died(member(all - 1)) && !departed.has_died(member(all)));
        assert_eq!(departed.lock().members.len(), DIED_MAX);
    }
}
