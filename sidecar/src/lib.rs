//! A Tidings node with doors: the [client gateway](gateway) and [HTTP](http), as the `tidings`
//! program runs it beside agents.
//!
//! Everything here goes through the public API of the library [`tidings`]; whoever wants another
//! door can build it in the same way.

pub mod answers;
mod config;
pub mod gateway;
pub mod http;
mod sidecar;

pub use config::{Config, GatewayConfig};
pub use sidecar::{Sidecar, SidecarError};
