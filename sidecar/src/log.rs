//! The log of a process: where its lines go, and how many there may be.
//!
//! A log is there to help, and so must not be what ends a node: one that cannot be written, or
//! whose reader stands still, loses lines and nothing else. What others can cause a line with, they
//! can cause a million with: of one kind, which is one place in the code, only a few lines a
//! minute are written. What was left out is counted, and said in the log as well.

mod limit;
mod writer;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

pub use limit::LogLimit;
pub use writer::LogWriter;

/// Lines that this process has not written, since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// There had been enough of their kind.
    pub limited: u64,
    /// The log could not be written, or not fast enough.
    pub unwritten: u64,
}

impl LostLines {
    /// Those up to now.
    pub fn now() -> Self {
        Self {
            limited: LIMITED.load(Relaxed),
            unwritten: UNWRITTEN.load(Relaxed),
        }
    }
}

// Of the process, as its log is.
static LIMITED: AtomicU64 = AtomicU64::new(0);
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);
