use std::fmt;

use serde::{Deserialize, Serialize};

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Count<const MIN: usize, const MAX: usize>(usize);

/// A number is out of its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not within {min} to {max}")]
pub struct CountError {
    /// The number.
    pub value: u64,
    /// The least it may be.
    pub min: usize,
    /// The most it may be.
    pub max: usize,
}

impl<const MIN: usize, const MAX: usize> Count<MIN, MAX> {
    /// The least there is.
    pub const MIN: Self = Self(MIN);
    /// The most there is.
    pub const MAX: Self = Self(MAX);

    /// A number that is known to be within bounds when the program is compiled.
    pub const fn of<const VALUE: usize>() -> Self {
        const {
            assert!(
                MIN <= VALUE && VALUE <= MAX,
                "the number is out of its bounds"
            )
        };
        Self(VALUE)
    }

    /// The number.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<usize> for Count<MIN, MAX> {
    type Error = CountError;

    fn try_from(value: usize) -> Result<Self, CountError> {
        if (MIN..=MAX).contains(&value) {
            return Ok(Self(value));
        }
        Err(CountError {
            value: value as u64,
            min: MIN,
            max: MAX,
        })
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<u64> for Count<MIN, MAX> {
    type Error = CountError;

    fn try_from(value: u64) -> Result<Self, CountError> {
        let (min, max) = (MIN, MAX);
        match usize::try_from(value) {
            Ok(value) => Self::try_from(value),
            Err(_) => Err(CountError { value, min, max }),
        }
    }
}

impl<const MIN: usize, const MAX: usize> From<Count<MIN, MAX>> for u64 {
    fn from(count: Count<MIN, MAX>) -> Self {
        count.0 as u64
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_is_a_count_for_each_number_within_bounds_and_no_other(value in 0usize..40) {
            let count = Count::<10, 20>::try_from(value);
            prop_assert_eq!(count.is_ok(), (10..=20).contains(&value));
            let read: Result<Count<10, 20>, _> = serde_json::from_str(&value.to_string());
            prop_assert_eq!(read.ok(), count.ok());
            if let Ok(count) = count {
                prop_assert_eq!(serde_json::to_string(&count).unwrap(), value.to_string());
            }
        }
    }

    #[test]
    fn an_error_tells_the_bounds() {
        let error = Count::<1, 16>::try_from(17_usize).unwrap_err();
        assert_eq!(error.to_string(), "17 is not within 1 to 16");
        let error = serde_json::from_str::<Count<1, 16>>("0").unwrap_err();
        assert_eq!(error.to_string(), "0 is not within 1 to 16");
    }
}
