//! A Tidings node with doors: the [client gateway](gateway) and [HTTP](http), as the `tidings`
//! program runs it beside agents.
//!
//! Everything here goes through the public API of the library [`tidings`]; whoever wants another
//! door can build it in the same way.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nothing can be written"
)]

mod acceptor;
pub mod answers;
mod builder;
mod caller;
mod config;
pub mod descriptors;
mod file_mode;
pub mod gateway;
pub mod http;
pub mod identities;
pub mod log;
mod mailbox;
mod mcp;
mod publishers;
mod reach;
mod sidecar;
mod tls_config;
mod tls_dir;
mod watchers;
mod watching;

pub use config::{Config, GatewayConfig, HttpConfig};
pub use file_mode::FileMode;
pub use mcp::McpConfig;
pub use sidecar::{Sidecar, SidecarError};
pub use tls_config::TlsConfig;
pub use tls_dir::ReloadError;
