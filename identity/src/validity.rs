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
}
