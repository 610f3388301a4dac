//! What nodes say in their logs of peers that broke the protocol. Nothing else tells whom a node blames.

use std::cell::RefCell;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// A peer that a node blames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blame {
    /// The name of the peer.
    pub node: String,
    /// What it did.
    pub why: String,
}

/// Reads the log of all nodes on this thread.
#[derive(Debug, Clone, Copy)]
pub struct BlameLayer;

thread_local! {
    static FOUND: RefCell<Vec<Blame>> = const { RefCell::new(Vec::new()) };
}

/// All of whom nodes on this thread have told since this was asked last. Nodes name a peer at once when
/// it breaks the protocol for the first time in a while.
pub(crate) fn take() -> Vec<Blame> {
    FOUND.take()
}

impl<S: Subscriber> Layer<S> for BlameLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::WARN {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        if said.message.starts_with(MESSAGE) {
            FOUND.with_borrow_mut(|found| found.push(said.blame));
        }
    }
}

#[derive(Default)]
struct Said {
    message: String,
    blame: Blame,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "peer" => self.blame.node = format!("{value:?}"),
            "error" => self.blame.why = format!("{value:?}"),
            _ => {}
        }
    }
}

/// How such a line of the log begins. Were it another, violations would be counted and nobody named,
/// which the `gossip` oracle finds.
const MESSAGE: &str = "a peer broke the protocol";
