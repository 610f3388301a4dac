#![doc = include_str!("../README.md")]

mod change;
#[cfg(feature = "rmcp")]
mod handler;
mod hearing;
mod hub;
mod listening;
mod notifier;
#[cfg(feature = "rmcp")]
mod progress;
#[cfg(feature = "rmcp")]
mod promised;
mod recent;
mod server_name;
#[cfg(feature = "rmcp")]
mod sessions;
#[cfg(feature = "rmcp")]
mod subscribing;
mod untold;

pub use change::{Change, MalformedChange, URI_BYTES_MAX, Uri, UriError};
pub use notifier::{
    ListenError, Listener, Notifier, NotifierOptions, NotifierStats, NotifyError, Promise,
    StartError,
};
#[cfg(feature = "rmcp")]
pub use progress::with_progress;
pub use server_name::{SERVER_NAME_BYTES_MAX, ServerName, ServerNameError};
