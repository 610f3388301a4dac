//! What must hold: one invariant a file.
//!
//! *Always*, judged with everything that happens: [`order`], [`stranger`], [`mailbox`],
//! [`accounting`], [`gossip`], [`barrier`], [`assurance`],
//! [`questions`], [`streams`]. *Eventually*, once the network is whole: [`views`],
//! [`detection`], [`links`] and [`false_death`]. *Finally*: [`delivery`], [`gaps`], [`monitor`], and [`accounting`],
//! [`assurance`], [`questions`] and [`streams`] once more, and [`changes`].

use tidings::Stats;

pub(crate) use self::all::all;
use crate::links::{Carriage, LinkEnd};
use crate::note::Note;
use crate::truth::Truth;

/// What was accepted is accounted for.
pub mod accounting;
mod all;
/// What publishers of assured messages are told is the truth.
pub mod assurance;
/// Who is told that all have its subscriptions can rely on it.
pub mod barrier;
/// Who listens is told of changes.
pub mod changes;
/// What was published arrives.
pub mod delivery;
/// How long things may take.
pub mod detection;
/// The living are not taken for dead.
pub mod false_death;
/// What is lost is told.
pub mod gaps;
/// What one node says another takes.
pub mod gossip;
/// Links hold.
pub mod links;
/// Mailboxes are bounded.
pub mod mailbox;
/// Watches tell everything once.
pub mod monitor;
/// Order is kept, and nothing comes twice.
pub mod order;
/// Nobody waits for ever.
pub mod progress;
/// A question is answered, or it is said why not.
pub mod questions;
/// Only members receive.
pub mod stranger;
/// Streams are followed as they were written.
pub mod streams;
/// Views are the truth.
pub mod views;

/// An invariant, and what it remembers in order to judge. An error says in what way it does not
/// hold.
pub trait Oracle: Send {
    /// Judges what happens. The truth is that of just before.
    fn note(&mut self, _note: &Note, _truth: &Truth) -> Result<(), String> {
        Ok(())
    }

    /// Judges what a node has counted since it started.
    fn counted(&mut self, _host: usize, _stats: &Stats, _truth: &Truth) -> Result<(), String> {
        Ok(())
    }

    /// Judges the links that a node shows at this moment.
    fn linked(&mut self, _host: usize, _links: &[LinkEnd], _truth: &Truth) -> Result<(), String> {
        Ok(())
    }

    /// Judges what went over the links that a node shows at this moment.
    fn carried(&mut self, _host: usize, _links: &[Carriage], _truth: &Truth) -> Result<(), String> {
        Ok(())
    }

    /// Judges the whole, when all messages have had time to arrive.
    fn finish(&mut self, _truth: &Truth) -> Result<(), String> {
        Ok(())
    }
}
