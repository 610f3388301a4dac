//! What one who watches the cluster is told, by whatever door.
//!
//! Nothing is queued: the next difference is computed when the last one has been taken. So a reader that
//! stands still costs nothing, and one that is slow is told of more at once.

use std::fmt;
use std::iter::Flatten;
use std::time::Duration;

use tidings::{Event, Joins, Node, Watch, Watched};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::answers::{LiveAnswer, WatchAnswer};
use crate::builder::Builder;

/// A watch, as it is told to one client: first how it is, then what changes.
pub(crate) struct Watching {
    builder: Builder,
    /// Not there while it is looked at elsewhere.
    watch: Option<Watch>,
    /// The nodes of the snapshot, until they are told.
    nodes: Vec<LiveAnswer>,
    /// The memberships of the snapshot that are not told yet; none after the snapshot.
    members: Option<Flatten<Joins>>,
    /// What has changed and is not told yet.
    events: std::vec::IntoIter<Event>,
    /// When the next change is looked for.
    look_at: Instant,
}

impl Watching {
    /// Of this, from now on.
    pub(crate) fn new(node: &Node, watched: Watched, builder: Builder) -> Self {
        let (view, watch) = node.watch_only(watched.clone());
        Self {
            builder,
            nodes: LiveAnswer::all(view.nodes()),
            members: Some(Joins::new(&view, watched).flatten()),
            watch: Some(watch),
            events: Vec::new().into_iter(),
            look_at: Instant::now(),
        }
    }

    /// Of what changes of this, from now on, and not how it is.
    pub(crate) fn changes(node: &Node, watched: Watched, builder: Builder) -> Self {
        Self {
            nodes: Vec::new(),
            members: None,
            ..Self::new(node, watched, builder)
        }
    }

    /// What is to be told next; nothing if there is nothing by the time that a sign of life is due. None
    /// when there will be no more.
    pub(crate) async fn next(&mut self, beat_at: Instant) -> Option<Vec<WatchAnswer>> {
        if let Some(members) = self.members.take() {
            return Some(vec![self.snapshot(members).await?]);
        }
        loop {
            let events = self.events.by_ref().take(EVENTS_MAX);
            let answers: Vec<_> = events.filter_map(WatchAnswer::of).collect();
            if !answers.is_empty() {
                return Some(answers);
            }
            match timeout_at(beat_at, self.changed()).await {
                Ok(true) => self.look().await?,
                Ok(false) => return None,
                Err(_) => return Some(Vec::new()),
            }
        }
    }

    /// The next part of the snapshot.
    async fn snapshot(&mut self, mut members: Flatten<Joins>) -> Option<WatchAnswer> {
        let nodes = std::mem::take(&mut self.nodes);
        let build = move || {
            let joined =
                members.by_ref().take(MEMBERS_MAX).filter_map(|event| {
                    match WatchAnswer::of(event) {
                        Some(WatchAnswer::Joined(membership)) => Some(membership),
                        _ => None,
                    }
                });
            let part: Vec<_> = joined.collect();
            let more = part.len() == MEMBERS_MAX;
            let snapshot = WatchAnswer::Snapshot {
                nodes,
                members: part,
                more,
            };
            (snapshot, more.then_some(members))
        };
        let (snapshot, rest) = self.builder.build_when_free(build).await.ok()?;
        self.members = rest;
        Some(snapshot)
    }

    /// Waits for a change; false if there will be none.
    async fn changed(&mut self) -> bool {
        // Under a storm of changes many are told at once.
        sleep_until(self.look_at).await;
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => false,
        }
    }

    /// Finds out what has changed.
    async fn look(&mut self) -> Option<()> {
        let mut watch = self.watch.take()?;
        let build = move || {
            let events = watch.try_next();
            (watch, events)
        };
        let (watch, events) = self.builder.build_when_free(build).await.ok()?;
        self.watch = Some(watch);
        self.events = events.into_iter();
        self.look_at = Instant::now() + PACE;
        Some(())
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}

/// How many memberships a part of the snapshot has at most.
const MEMBERS_MAX: usize = 1_000;
/// How many events are told at a time.
const EVENTS_MAX: usize = 500;
/// How long after a change the next one is looked for.
const PACE: Duration = Duration::from_millis(10);
