#![doc = include_str!("../README.md")]

mod change;
mod hub;
mod notifier;
mod promised;
mod recent;
mod server_name;
mod untold;

pub use change::{Change, MalformedChange, URI_BYTES_MAX, Uri, UriError};
pub use notifier::{Notifier, NotifierOptions, NotifierStats, NotifyError, StartError};
pub use server_name::{SERVER_NAME_BYTES_MAX, ServerName, ServerNameError};
