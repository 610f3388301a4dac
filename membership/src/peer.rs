//! What gossip says of one node.
//!
//! A node's state in gossip is a few keys: `buckets`, how many buckets it has, written first and
//! once; `b/<index in hex>`, the text of a bucket; `a/<index in hex>`, a page of the names of its
//! agents; `t/<number in hex>`, what it tells of a topic; `clients`, where its clients connect; and
//! `left`, when it has said goodbye. No key is ever deleted, because what a deletion covers can come
//! back after a long partition.

use std::sync::Arc;
use std::time::Duration;

use tidings_identity::NodeRun;
use tokio::time::Instant;
use tracing::warn;

use crate::client_door::{ClientDoor, ClientDoorError};
use crate::config::{BUCKET_BYTES_MAX, BUCKETS_MAX};
use crate::liveness::Liveness;
use crate::names::{Names, PageError};
use crate::node_view::NodeView;
use crate::packed::{UnpackError, unpack};
use crate::peer_state::PeerState;
use crate::records::{self, RECORDS_MAX, RecordError};
use crate::sighting::Sighting;

/// The newest incarnation of another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) run: NodeRun,
    /// The version up to which its state is known.
    pub(crate) version: u64,
    pub(crate) liveness: Liveness,
    is_live: bool,
    pub(crate) left: bool,
    /// None until the number of buckets is known.
    view: Option<Arc<NodeView>>,
    /// What the names of its agents are called in its buckets.
    names: Names,
    /// Whether a malformed value of it was in the log.
    warned: bool,
}

/// Why a value in gossip was not taken.
#[derive(Debug, thiserror::Error)]
enum ValueError {
    #[error("the number of buckets is {0:?}")]
    Buckets(String),
    #[error("there is no bucket {0:?}")]
    Index(String),
    #[error("bucket {0:x} cannot be read")]
    Bucket(usize, #[source] UnpackError),
    #[error("the names {0:?} cannot be found")]
    Page(String),
    #[error("the names {0:?} cannot be read")]
    Names(String, #[source] PageError),
    #[error("record {0:x} of a topic cannot be read")]
    Record(usize, #[source] RecordError),
    #[error("where its clients connect cannot be read")]
    Clients(#[source] ClientDoorError),
    #[error("where its clients connect is told before its buckets")]
    Early,
}

impl Peer {
    /// A node that is heard of for the first time.
    pub(crate) fn new(seen: &Sighting, now: Instant) -> Self {
        Self {
            run: seen.run.clone(),
            version: 0,
            liveness: Liveness::new(seen.heartbeat, seen.detected, now),
            is_live: false,
            left: false,
            view: None,
            names: Names::default(),
            warned: false,
        }
    }

    /// Takes in its heartbeat; tells whether it went up or down.
    pub(crate) fn update_liveness(
        &mut self,
        seen: &Sighting,
        now: Instant,
        silence_min: Duration,
    ) -> bool {
        if let Some(at) = seen.heard {
            self.liveness.heard(at);
        }
        let (heartbeat, detected) = (seen.heartbeat, seen.detected);
        let beats = self.liveness.observe(heartbeat, detected, now, silence_min);
        let was_live =
            std::mem::replace(&mut self.is_live, beats && !self.left && !seen.is_revoked);
        was_live != self.is_live
    }

    /// How it stands with it.
    pub(crate) fn state(&self) -> PeerState {
        match (self.left, self.is_live) {
            (true, _) => PeerState::Left,
            (false, true) => PeerState::Live,
            (false, false) => PeerState::Down,
        }
    }

    /// Where its clients connect, as it said last.
    pub(crate) fn door(&self) -> Arc<ClientDoor> {
        let view = self.view.as_ref();
        view.map(|view| Arc::clone(&view.door)).unwrap_or_default()
    }

    /// What the view shows of it: nothing while it is not live.
    pub(crate) fn live_view(&self) -> Option<&Arc<NodeView>> {
        self.view.as_ref().filter(|_| self.is_live)
    }

    /// Takes in changed values; returns how many could not be read, which leave things as they
    /// were.
    pub(crate) fn apply(&mut self, changes: &[(String, String)]) -> u64 {
        let mut malformed = 0;
        // In whatever order they are listed, the number of buckets comes first, and names before who has
        // them.
        let mut changes: Vec<_> = changes.iter().collect();
        changes.sort_by_key(|(key, _)| (key != BUCKETS_KEY, !key.starts_with(NAMES_PREFIX)));
        for (key, value) in changes {
            let Err(error) = self.apply_one(key, value) else {
                continue;
            };
            malformed += 1;
            if !self.warned {
                self.warned = true;
                let error: &dyn std::error::Error = &error;
                warn!(
                    node = %self.run.node, incarnation = %self.run.incarnation, error,
                    "a peer's gossip cannot be read; what was known before is kept"
                );
            }
        }
        malformed
    }

    /// What is shown of it is its state at this version, unless a part of that could not be read.
    pub(crate) fn show_version(&mut self, now: Instant) {
        if let Some(view) = self.view.as_mut().filter(|_| !self.warned) {
            let view = Arc::make_mut(view);
            (view.version, view.shown_since) = (self.version, Some(now));
        }
    }

    fn apply_one(&mut self, key: &str, value: &str) -> Result<(), ValueError> {
        if key == LEFT_KEY {
            self.left |= value == "1";
        } else if key == BUCKETS_KEY {
            let buckets = value.parse().ok().filter(|n| (1..=BUCKETS_MAX).contains(n));
            let fits = |view: &Arc<NodeView>| buckets == Some(view.buckets().len());
            let Some(count) = buckets.filter(|_| self.view.as_ref().is_none_or(fits)) else {
                return Err(ValueError::Buckets(value.into()));
            };
            if self.view.is_none() {
                self.view = Some(Arc::new(NodeView::new(self.run.clone(), count)));
            }
        } else if let Some(index) = key.strip_prefix(NAMES_PREFIX) {
            let page = usize::from_str_radix(index, 16);
            let page = page.map_err(|_| ValueError::Page(index.into()))?;
            let unreadable = |error| ValueError::Names(index.into(), error);
            self.names.set_page(page, value).map_err(unreadable)?;
        } else if let Some(index) = key.strip_prefix(BUCKET_PREFIX) {
            let no_bucket = || ValueError::Index(index.into());
            let at = usize::from_str_radix(index, 16).map_err(|_| no_bucket())?;
            let view = self.view.as_mut().ok_or_else(no_bucket)?;
            let buckets = view.buckets().len();
            if at >= buckets {
                return Err(no_bucket());
            }
            let bucket = unpack(value, BUCKET_BYTES_MAX, at, buckets, &self.names)
                .map_err(|error| ValueError::Bucket(at, error))?;
            Arc::make_mut(view).replace(at, bucket);
        } else if let Some(number) = key.strip_prefix(RECORD_PREFIX) {
            let no_record = || ValueError::Index(number.into());
            let at = usize::from_str_radix(number, 16).map_err(|_| no_record())?;
            let view = self.view.as_mut().filter(|_| at < RECORDS_MAX);
            let view = view.ok_or_else(no_record)?;
            let record = records::read(value).map_err(|error| ValueError::Record(at, error))?;
            let records = &mut Arc::make_mut(view).records;
            Arc::make_mut(records).replace(at, record);
        } else if key == CLIENTS_KEY {
            let view = self.view.as_mut().ok_or(ValueError::Early)?;
            let door = ClientDoor::read(value).map_err(ValueError::Clients)?;
            Arc::make_mut(view).door = Arc::new(door);
        }
        // Any other key is that of a newer version of this software.
        Ok(())
    }
}

/// The key of the bucket at this index.
pub(crate) fn bucket_key(index: usize) -> String {
    format!("{BUCKET_PREFIX}{index:x}")
}

/// The key of this page of names.
pub(crate) fn names_key(page: usize) -> String {
    format!("{NAMES_PREFIX}{page:x}")
}

/// The key of the record of this number.
pub(crate) fn record_key(number: usize) -> String {
    format!("{RECORD_PREFIX}{number:x}")
}

/// The key of the certificate.
pub(crate) const CERTIFICATE_KEY: &str = "cert";
/// The key of the anchors by which heartbeats are checked.
pub(crate) const PULSE_KEY: &str = "pulse";
/// The key of the number of buckets.
pub(crate) const BUCKETS_KEY: &str = "buckets";
/// The key of where the node's clients connect.
pub(crate) const CLIENTS_KEY: &str = "clients";
/// The key that is set to `1` when a node leaves.
pub(crate) const LEFT_KEY: &str = "left";
pub(crate) const BUCKET_PREFIX: &str = "b/";
pub(crate) const RECORD_PREFIX: &str = "t/";
pub(crate) const NAMES_PREFIX: &str = "a/";
