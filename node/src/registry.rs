use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Tells the sessions of one run of a node apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(u64);

/// The sessions that are open, up to a number, each found by its id.
#[derive(Debug)]
pub(crate) struct Registry<S> {
    sessions: Mutex<Sessions<S>>,
    max: usize,
    /// Set once the node leaves: no session is opened and nothing broadcast from then on.
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Sessions<S> {
    last: u64,
    open: HashMap<SessionId, Weak<S>>,
}

/// Why a session was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The limit `sessions_max` is reached.
    #[error("the node has {max} sessions open already, its limit (sessions_max)")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// As many sessions are open as may share an [`Access`](crate::Access).
    #[error("the identity has {max} sessions open already, its limit (sessions_max)")]
    TooManyOfIdentity {
        /// The limit.
        max: usize,
    },
    /// The access was withdrawn.
    #[error("nothing is allowed to the identity any more")]
    Withdrawn,
    /// The node is leaving or has left.
    #[error("the node has stopped")]
    NodeStopped,
}

impl SessionId {
    /// The session that goes by this number.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    /// What it goes by on lanes and at other nodes.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl<S> Registry<S> {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            sessions: Mutex::new(Sessions {
                last: 0,
                open: HashMap::new(),
            }),
            max,
            stopped: AtomicBool::new(false),
        }
    }

    /// Makes a session and takes it in. It stays until it is removed.
    pub(crate) fn open(&self, make: impl FnOnce(SessionId) -> S) -> Result<Arc<S>, OpenError> {
        let mut sessions = self.lock();
        // Under the lock, so that stopping finds every session that was opened before.
        if self.is_stopped() {
            return Err(OpenError::NodeStopped);
        }
        if sessions.open.len() >= self.max {
            return Err(OpenError::TooMany { max: self.max });
        }
        sessions.last += 1;
        let id = SessionId(sessions.last);
        let session = Arc::new(make(id));
        sessions.open.insert(id, Arc::downgrade(&session));
        Ok(session)
    }

    /// The open session of this id.
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<S>> {
        self.lock().open.get(&id)?.upgrade()
    }

    /// Makes room for another session.
    pub(crate) fn remove(&self, id: SessionId) {
        self.lock().open.remove(&id);
    }

    /// How many sessions are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Opens no session any more, and returns those that are open.
    pub(crate) fn stop(&self) -> Vec<Arc<S>> {
        let sessions = self.lock();
        self.stopped.store(true, Relaxed);
        sessions.open.values().filter_map(Weak::upgrade).collect()
    }

    /// Whether the node leaves.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Sessions<S>> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
