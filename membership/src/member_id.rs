use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One membership of one topic: a subscription as the cluster sees it.
///
/// A UUIDv7: the time it was made, in milliseconds, and 74 random bits. Ids made one after the
/// other on one node sort in that order ([`MemberIds`] sees to it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(Uuid);

/// Makes the member ids of one node, each greater than the one before.
#[derive(Debug, Default)]
pub struct MemberIds {
    last: u128,
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
}

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

impl MemberIds {
    /// The next id, made at this wall-clock time, in milliseconds since the Unix epoch. Should the
    /// clock stand still or step back, the id is the one before plus a little.
    pub fn next(&mut self, unix_ms: u64) -> MemberId {
        let fresh = uuid::Builder::from_unix_timestamp_millis(unix_ms, &rand::random()).into_uuid();
        let id = match fresh.as_u128() {
            id if id > self.last => fresh,
            _ => uuid::Builder::from_unix_timestamp_millis(
                (self.last >> 80) as u64 + 1,
                &rand::random(),
            )
            .into_uuid(),
        };
        self.last = id.as_u128();
        MemberId(id)
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
    fn an_id_can_be_read_from_what_it_is_shown_as() {
        let id = MemberIds::default().next(5_000);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(MemberId::try_from(id.to_string().as_str()), Ok(id));
        assert!("5000".parse::<MemberId>().is_err());
    }
}
