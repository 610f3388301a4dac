//! Numbers and times that cannot be out of their bounds.
//!
//! A setting's bounds are part of the type of its field. Whoever makes a value, in code or by
//! reading a file, learns at once when it is out of bounds, and whoever is given one need not
//! look again.
//!
//! ```
//! use tidings_bounds::{Count, Time};
//!
//! struct Settings {
//!     /// How many, 1 to 16.
//!     lanes: Count<1, 16>,
//!     /// How often, 10 ms to 10 s.
//!     interval: Time<10, 10_000>,
//! }
//!
//! let mut settings = Settings { lanes: Count::of::<4>(), interval: Time::of_ms::<250>() };
//! settings.lanes = 8_usize.try_into()?;
//! assert_eq!(settings.lanes.get(), 8);
//! assert_eq!("11s".parse(), Err::<Time<10, 10_000>, _>(tidings_bounds::TimeError::OutOfBounds {
//!     value: std::time::Duration::from_secs(11),
//!     min: std::time::Duration::from_millis(10),
//!     max: std::time::Duration::from_secs(10),
//! }));
//! # Ok::<(), tidings_bounds::CountError>(())
//! ```

mod count;
mod time;

pub use count::{Count, CountError};
pub use time::{Time, TimeError};

/// Runs the program in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
