use std::time::Duration;

use clap::Args;
use tidings::{Net, SystemNet, Validity, ValidityError};

/// How long a certificate is good for.
#[derive(Debug, Args)]
pub(crate) struct ValidityArgs {
    /// How many days it is valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    valid_days: u32,
    /// The same more finely, such as `12h` or `90s`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "valid_days")]
    valid_for: Option<Duration>,
}

impl ValidityArgs {
    /// Beginning now, by the system's clock.
    pub(crate) fn validity(&self) -> Result<Validity, ValidityError> {
        let days = Duration::from_secs(u64::from(self.valid_days) * 86_400);
        Validity::starting(SystemNet.unix_time(), self.valid_for.unwrap_or(days))
    }
}
