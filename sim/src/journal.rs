use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings::{LinkInfo, Stats};
use tokio::time::Instant;

use crate::links::{Carriage, LinkEnd};
use crate::note::Note;
use crate::oracle::{self, Oracle};
use crate::seed;
use crate::truth::Truth;

/// Where everything that happens in a run is told to: from here it goes into the trace, to the
/// oracles, and into the truth, in that order.
///
/// Cheap to clone; all clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    state: Arc<Mutex<State>>,
    began: Instant,
}

/// A line of the trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// When it happened, in milliseconds since the run began.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub note: Note,
}

struct State {
    truth: Truth,
    oracles: Vec<Box<dyn Oracle>>,
    hash: TraceHash,
    /// None unless someone wants to read it.
    lines: Option<Vec<Line>>,
    violation: Option<String>,
}

impl Journal {
    /// The journal of a run that begins now, on so many hosts, beside so many liars. Lines are kept only if wanted.
    pub fn new(hosts: usize, liars: usize, keep_lines: bool) -> Self {
        let state = State {
            truth: Truth {
                liars,
                ..Truth::new(hosts)
            },
            oracles: oracle::all(),
            hash: TraceHash(0),
            lines: keep_lines.then(Vec::new),
            violation: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            began: Instant::now(),
        }
    }

    /// Something happened.
    pub fn note(&self, note: Note) {
        let at = self.began.elapsed();
        self.lock().note(at, note);
    }

    /// A node's counters were read.
    pub fn counted(&self, host: usize, stats: &Stats) {
        let at = self.began.elapsed();
        let mut state = self.lock();
        let State { oracles, truth, .. } = &mut *state;
        let found = oracles
            .iter_mut()
            .find_map(|o| o.counted(host, stats, truth).err());
        state.violate(at, found);
    }

    /// A node's links were looked at.
    pub fn linked(&self, host: usize, links: &[LinkInfo]) {
        let at = self.began.elapsed();
        let mut state = self.lock();
        let State { oracles, truth, .. } = &mut *state;
        let ends = LinkEnd::all_of(host, links);
        let carriages = Carriage::all_of(host, links);
        let found = oracles.iter_mut().find_map(|o| {
            let linked = o.linked(host, &ends, truth);
            linked.and(o.carried(host, &carriages, truth)).err()
        });
        state.violate(at, found);
    }

    /// An invariant that is judged elsewhere does not hold.
    pub fn violate(&self, text: String) {
        let at = self.began.elapsed();
        self.lock().violate(at, Some(text));
    }

    /// Lets the oracles judge the whole.
    pub fn finish(&self) {
        let at = self.began.elapsed();
        let mut state = self.lock();
        state.truth.at = at;
        let State { oracles, truth, .. } = &mut *state;
        let found = oracles
            .iter_mut()
            .find_map(|oracle| oracle.finish(truth).err());
        state.violate(at, found);
    }

    /// The first invariant that was found not to hold.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// Reads how everything really is.
    pub fn truth<T>(&self, read: impl FnOnce(&Truth) -> T) -> T {
        read(&self.lock().truth)
    }

    /// The time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A hash over all notes so far with their times, and `more`.
    pub fn hash(&self, more: u64) -> u64 {
        seed::mix(self.lock().hash.0 ^ seed::mix(more))
    }

    /// Takes out the lines that were kept.
    pub fn take_lines(&self) -> Vec<Line> {
        self.lock().lines.take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // An oracle that panics ends the run.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, at: Duration, note: Note) {
        (at.as_nanos() as u64).hash(&mut self.hash);
        note.hash(&mut self.hash);
        if let Some(lines) = &mut self.lines {
            lines.push(Line {
                at_ms: at.as_millis() as u64,
                note: note.clone(),
            });
        }
        self.truth.at = at;
        let truth = &self.truth;
        let found = self
            .oracles
            .iter_mut()
            .find_map(|oracle| oracle.note(&note, truth).err());
        self.truth.apply(&note);
        self.violate(at, found);
    }

    fn violate(&mut self, at: Duration, found: Option<String>) {
        let Some(text) = found else { return };
        if self.violation.is_none() {
            self.violation = Some(text.clone());
            self.note(at, Note::Violation { text });
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}

/// The running hash of a trace. Unlike std's default it is the same in every process.
#[derive(Debug)]
struct TraceHash(u64);

impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.0 = seed::mix(self.0.rotate_left(29) ^ word);
        }
    }
}
