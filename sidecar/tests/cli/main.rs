//! The binary as a process: what it prints, what it exits with, how it takes signals.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod certificates;
mod clusters;
mod draining;
mod identities;
mod messages;
mod nodes;
mod process;
mod settings;
mod walls;
