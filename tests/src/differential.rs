//! The same scripts against the NATS server and against nodes of Tidings, and what every client saw.
//!
//! A script is what some raw clients send, step by step ([`Script`]). It is run against the NATS server
//! first; what each client was told in each step is what a node has to say, too, byte for byte, but for what
//! the protocol leaves open ([`Told`]): which fields INFO has besides those that clients decide by, when a server says PING, and the
//! order of messages of different subscriptions among each other and among other operations of a step.

mod heard;
mod raw;
mod run;
mod script;
mod site;

pub use heard::Told;
pub use run::{Cut, Seen, run};
pub use script::{Deed, Deviation, Script, Setting, Step, deviations, scripts};
pub use site::Site;
