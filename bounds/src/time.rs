use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time from `MIN` to `MAX` milliseconds, both included. Written as `250ms`, `1m 30s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time<const MIN: u64, const MAX: u64>(Duration);

/// A text or duration is not a time within its bounds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TimeError {
    /// It is too short or too long.
    #[error("{} is not within {} to {}", human(.value), human(.min), human(.max))]
    OutOfBounds {
        /// The time.
        value: Duration,
        /// The shortest it may be.
        min: Duration,
        /// The longest it may be.
        max: Duration,
    },
    /// The text is no time.
    #[error("{0:?} is not a time, such as 250ms or 1m 30s")]
    Text(String, #[source] humantime::DurationError),
}

impl<const MIN: u64, const MAX: u64> Time<MIN, MAX> {
    /// A time that is known to be within bounds when the program is compiled, in milliseconds.
    pub const fn of_ms<const MS: u64>() -> Self {
        const { assert!(MIN <= MS && MS <= MAX, "the time is out of its bounds") };
        Self(Duration::from_millis(MS))
    }

    /// The time.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<Duration> for Time<MIN, MAX> {
    type Error = TimeError;

    fn try_from(value: Duration) -> Result<Self, TimeError> {
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        if min <= value && value <= max {
            return Ok(Self(value));
        }
        Err(TimeError::OutOfBounds { value, min, max })
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Time<MIN, MAX> {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match humantime::parse_duration(text) {
            Ok(value) => value.try_into(),
            Err(source) => Err(TimeError::Text(text.into(), source)),
        }
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<String> for Time<MIN, MAX> {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl<const MIN: u64, const MAX: u64> From<Time<MIN, MAX>> for String {
    fn from(time: Time<MIN, MAX>) -> Self {
        time.to_string()
    }
}

impl<const MIN: u64, const MAX: u64> From<Time<MIN, MAX>> for Duration {
    fn from(time: Time<MIN, MAX>) -> Self {
        time.0
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Time<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&human(&self.0), f)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Debug for Time<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&human(&self.0), f)
    }
}

fn human(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(*duration)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_is_a_time_for_each_duration_within_bounds_and_no_other(us in 0u64..40_000) {
            let duration = Duration::from_micros(us);
            let time = Time::<10, 20>::try_from(duration);
            prop_assert_eq!(time.is_ok(), (10_000..=20_000).contains(&us));
            if let Ok(time) = time {
                prop_assert_eq!(time.to_string().parse(), Ok(time));
                let text = serde_json::to_string(&time).unwrap();
                prop_assert_eq!(serde_json::from_str::<Time<10, 20>>(&text).unwrap(), time);
            }
        }
    }

    #[test]
    fn an_error_tells_the_bounds() {
        let refused = |text: &str| text.parse::<Time<10, 10_000>>().unwrap_err().to_string();
        assert_eq!(refused("11s"), "11s is not within 10ms to 10s");
        assert_eq!(
            refused("soon"),
            "\"soon\" is not a time, such as 250ms or 1m 30s"
        );
    }
}
