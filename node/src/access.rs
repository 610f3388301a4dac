//! Who may do what: the permissions of sessions, whoever opens them.

mod denied;
mod grant;
mod handle;
mod looks;
mod permissions;
mod replies;
mod rulebook;

pub use denied::Denied;
pub use grant::Disallowed;
pub(crate) use grant::Grant;
pub use handle::Access;
pub(crate) use handle::{Holder, Seat, SeatError};
pub use permissions::{Permissions, Responses, RuleError, Rules, Sight, SubscribeRule};
