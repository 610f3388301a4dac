use std::time::Duration;

use x509_parser::time::ASN1Time;

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub(crate) not_before: ASN1Time,
    pub(crate) not_after: ASN1Time,
}

/// The time lies beyond what a certificate can say, which is the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the validity ends after the year 9999, which a certificate cannot say")]
pub struct ValidityError;

impl Validity {
    /// Valid for `lasting` from `unix_time` on, a time since the Unix epoch. It begins an hour
    /// earlier, so that nodes whose clocks are a little behind accept it at once.
    ///
    /// # Errors
    /// When the end lies beyond the year 9999.
    pub fn starting(unix_time: Duration, lasting: Duration) -> Result<Self, ValidityError> {
        let end = unix_time.checked_add(lasting).ok_or(ValidityError)?;
        Self::between(unix_time.saturating_sub(CLOCK_SKEW), end)
    }

    /// Valid from `not_before` until `not_after`, times since the Unix epoch.
    ///
    /// # Errors
    /// When the end lies beyond the year 9999.
    pub fn between(not_before: Duration, not_after: Duration) -> Result<Self, ValidityError> {
        let date = |unix_time: Duration| {
            let seconds = i64::try_from(unix_time.as_secs()).ok()?;
            ASN1Time::from_timestamp(seconds).ok()
        };
        Ok(Self {
            not_before: date(not_before).ok_or(ValidityError)?,
            not_after: date(not_after).ok_or(ValidityError)?,
        })
    }

    /// The same, but beginning after `unix_time`, since the Unix epoch: what a node needs that was
    /// revoked at that time. Nothing changes if it does so anyway.
    ///
    /// # Errors
    /// When the time lies beyond the year 9999.
    pub fn beginning_after(self, unix_time: Duration) -> Result<Self, ValidityError> {
        let next = unix_time.saturating_add(Duration::from_secs(1));
        let later = Self::between(next, next)?;
        Ok(Self {
            not_before: self.not_before.max(later.not_before),
            ..self
        })
    }

    /// When it begins, since the Unix epoch, to the second. What began before that began then.
    pub fn not_before(&self) -> Duration {
        since_epoch(self.not_before)
    }

    /// The last second of it, since the Unix epoch.
    pub fn not_after(&self) -> Duration {
        since_epoch(self.not_after)
    }

    /// Whether it is over at `unix_time`, since the Unix epoch.
    pub fn is_over(&self, unix_time: Duration) -> bool {
        unix_time.as_secs() > self.not_after().as_secs()
    }
}

fn since_epoch(time: ASN1Time) -> Duration {
    Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

/// How far the clocks of nodes may be behind that of whoever makes certificates.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_that_cannot_be_written_is_refused() {
        let day = Duration::from_secs(86_400);
        assert!(Validity::starting(day, day).is_ok());
        assert_eq!(Validity::starting(day, 3_000_000 * day), Err(ValidityError));
        assert_eq!(Validity::starting(Duration::MAX, day), Err(ValidityError));
    }

    #[test]
    fn it_is_over_with_the_second_after_its_last() {
        let s = Duration::from_secs;
        let validity = Validity::between(s(10), s(20)).unwrap();
        assert_eq!(
            [validity.not_before(), validity.not_after()],
            [s(10), s(20)]
        );
        assert!(!validity.is_over(s(20)) && !validity.is_over(Duration::from_millis(20_999)));
        assert!(validity.is_over(s(21)));
    }

    #[test]
    fn one_for_a_revoked_node_begins_after_its_revocation() {
        let s = Duration::from_secs;
        let validity = Validity::starting(s(100_000), s(3600)).unwrap();
        let after = |moment| validity.beginning_after(s(moment)).unwrap().not_before();
        assert_eq!(after(99_999), s(100_000));
        assert_eq!(after(1), validity.not_before());
        assert!(validity.beginning_after(Duration::MAX).is_err());
    }
}
