use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One membership of one topic: a subscription as the cluster sees it.
///
/// A UUIDv7: the time it was made, in milliseconds, a number among those of that millisecond, and 62
/// random bits, which are those of the run of its node. Ids made one after the other on one node sort
/// in that order ([`MemberIds`] sees to it). It is no secret: who knows one can guess others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(Uuid);

/// Makes the member ids of one run of a node, each greater than the one before.
///
/// They differ in time and number only, so that gossip tells one in a few bytes. Those of another run,
/// or of another node, have other random bits.
#[derive(Debug)]
pub struct MemberIds {
    random: u64,
    unix_ms: u64,
    number: u16,
}

/// A text is not a member id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a member id is a UUID")]
pub struct MemberIdError(#[source] uuid::Error);

impl MemberId {
    /// The 16 bytes of the id, in the order in which ids sort.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The id of these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The id of this time, the number in its millisecond, and the random bits behind the variant.
    /// What is too much of each is left out.
    pub(crate) fn from_parts(unix_ms: u64, number: u16, random: u64) -> Self {
        let time = u128::from(unix_ms & UNIX_MS_MAX) << 80;
        let number = u128::from(number & NUMBER_MAX) << 64;
        let random = u128::from(random & RANDOM_MAX);
        Self(Uuid::from_u128(time | VERSION | number | VARIANT | random))
    }

    /// The time, number and random bits of an id; None if it is no UUIDv7.
    pub(crate) fn parts(self) -> Option<(u64, u16, u64)> {
        let id = self.0.as_u128();
        let unix_ms = (id >> 80) as u64;
        let number = (id >> 64) as u16 & NUMBER_MAX;
        let random = id as u64 & RANDOM_MAX;
        let is_of_parts = Self::from_parts(unix_ms, number, random) == self;
        is_of_parts.then_some((unix_ms, number, random))
    }
}

/// The greatest time that an id has room for, number in one millisecond, and random bits.
pub(crate) const UNIX_MS_MAX: u64 = (1 << 48) - 1;
pub(crate) const NUMBER_MAX: u16 = (1 << 12) - 1;
const RANDOM_MAX: u64 = (1 << 62) - 1;
/// What all UUIDv7 have.
const VERSION: u128 = 7 << 76;
const VARIANT: u128 = 0b10 << 62;

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MemberId {
    type Err = MemberIdError;

    fn from_str(text: &str) -> Result<Self, MemberIdError> {
        text.parse().map(Self).map_err(MemberIdError)
    }
}

impl TryFrom<&str> for MemberId {
    type Error = MemberIdError;

    fn try_from(text: &str) -> Result<Self, MemberIdError> {
        text.parse()
    }
}

impl Default for MemberIds {
    /// Those of a new run: the random bits are drawn here.
    fn default() -> Self {
        Self {
            random: rand::random(),
            unix_ms: 0,
            number: NUMBER_MAX,
        }
    }
}

impl MemberIds {
    /// The next id, made at this wall-clock time, in milliseconds since the Unix epoch. Should the
    /// clock stand still or step back, the id is the one before plus a little.
    pub fn next(&mut self, unix_ms: u64) -> MemberId {
        (self.unix_ms, self.number) = if unix_ms > self.unix_ms {
            (unix_ms, 0)
        } else if self.number < NUMBER_MAX {
            (self.unix_ms, self.number + 1)
        } else {
            (self.unix_ms + 1, 0)
        };
        MemberId::from_parts(self.unix_ms, self.number, self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_when_the_clock_steps_back() {
        let mut ids = MemberIds::default();
        let times = [5_000, 5_000, 5_001, 4_000, 4_001, 9_000];
        let made: Vec<_> = times.iter().map(|&t| ids.next(t)).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
        assert_eq!(made[0].0.get_version_num(), 7);
        assert_eq!(MemberId::from_bytes(made[0].to_bytes()), made[0]);
    }

    #[test]
    fn ids_of_one_run_differ_in_time_and_number_and_those_of_another_in_the_rest() {
        let (mut one, mut other) = (MemberIds::default(), MemberIds::default());
        let made: Vec<_> = (0..10_000).map(|_| one.next(5_000)).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        let parts: Vec<_> = made.iter().map(|id| id.parts().unwrap()).collect();
        assert!(parts.iter().all(|(_, _, random)| *random == parts[0].2));
        // A millisecond has 4,096 of them.
        assert_eq!((parts[0].0, parts[9_999].0), (5_000, 5_002));
        assert_ne!(other.next(5_000).parts().unwrap().2, parts[0].2);
    }

    #[test]
    fn only_a_version_7_has_parts() {
        let id = MemberId::from_parts(1_700_000_000_000, 77, 12);
        assert_eq!(id.parts(), Some((1_700_000_000_000, 77, 12)));
        assert_eq!(MemberId::from_bytes([1; 16]).parts(), None);
        assert_eq!(MemberId::from_bytes([0x77; 16]).parts(), None);
    }

    #[test]
    fn an_id_can_be_read_from_what_it_is_shown_as() {
        let id = MemberIds::default().next(5_000);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(MemberId::try_from(id.to_string().as_str()), Ok(id));
        assert!("5000".parse::<MemberId>().is_err());
    }
}
