//! Server-sent events of what changes in the cluster.
//!
//! Nothing is queued for who watches: the next difference is computed when the last one has been
//! taken. So a reader that stands still costs nothing, and one that is slow is told of more at once.

use std::convert::Infallible;
use std::fmt::Write;
use std::iter::Flatten;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::unfold;
use serde::Deserialize;
use tidings::{Event, Joins, Node, Pattern, Scope, Watch, Watched};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::builder::Builder;
use super::error::Error;
use super::served::Served;
use super::server::Lasting;
use crate::answers::{LiveAnswer, WatchAnswer};

#[derive(Debug, Deserialize)]
pub(super) struct WatchQuery {
    topic: Option<Pattern>,
    scope: Option<Scope>,
    #[serde(default)]
    nodes: bool,
}

pub(super) async fn watch(
    State(served): State<Served>,
    query: Result<Query<WatchQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let watched = query.watched()?;
    let place = served.watchers.place()?;
    let told = Told::new(&served.node, watched, served.builder, place);
    let stream = unfold(told, async |mut told| {
        let text = told.next().await?;
        Some((Ok::<_, Infallible>(text), told))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // What ends is over: the client may have fallen behind, or the node leaves.
        (CONNECTION, "close"),
    ];
    let mut response = (headers, Body::from_stream(stream)).into_response();
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

impl WatchQuery {
    fn watched(self) -> Result<Watched, Error> {
        match self {
            Self {
                topic: None,
                scope: None,
                nodes,
            } if nodes => Ok(Watched::Nodes),
            Self { nodes: true, .. } => {
                let problem = "nodes: who watches nodes watches no topic and no scope";
                Err(Error::bad_request(problem))
            }
            Self {
                topic: Some(topic),
                scope,
                ..
            } => Ok(Watched::Topic(scope.unwrap_or_default(), topic)),
            Self {
                scope: Some(scope), ..
            } => Ok(Watched::Scope(scope)),
            Self { .. } => Ok(Watched::Everything),
        }
    }
}

/// What one client is told.
struct Told {
    node: Node,
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
    /// When a sign of life is due.
    beat_at: Instant,
    _place: OwnedSemaphorePermit,
}

impl Told {
    fn new(node: &Node, watched: Watched, builder: Builder, place: OwnedSemaphorePermit) -> Self {
        let (view, watch) = node.watch_only(watched.clone());
        Self {
            node: node.clone(),
            builder,
            nodes: LiveAnswer::all(view.nodes()),
            members: Some(Joins::new(&view, watched).flatten()),
            watch: Some(watch),
            events: Vec::new().into_iter(),
            look_at: Instant::now(),
            beat_at: Instant::now() + BEAT,
            _place: place,
        }
    }

    /// What is to be sent next; none when the node leaves.
    async fn next(&mut self) -> Option<Bytes> {
        let leaving = self.node.leaving().clone();
        let text = leaving.run_until_cancelled(self.text()).await??;
        self.beat_at = Instant::now() + BEAT;
        Some(text.into())
    }

    async fn text(&mut self) -> Option<String> {
        if let Some(members) = self.members.take() {
            return self.snapshot(members).await;
        }
        loop {
            let mut text = String::new();
            let events = self.events.by_ref().take(EVENTS_MAX);
            for answer in events.filter_map(WatchAnswer::of) {
                add(&mut text, &answer);
            }
            if !text.is_empty() {
                return Some(text);
            }
            match timeout_at(self.beat_at, self.changed()).await {
                Ok(true) => self.look().await?,
                Ok(false) => return None,
                Err(_) => return Some(BEAT_TEXT.into()),
            }
        }
    }

    /// The next part of the snapshot.
    async fn snapshot(&mut self, mut members: Flatten<Joins>) -> Option<String> {
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
            let mut text = String::new();
            let snapshot = WatchAnswer::Snapshot {
                nodes,
                members: part,
                more,
            };
            add(&mut text, &snapshot);
            (text, more.then_some(members))
        };
        let (text, rest) = self.builder.build_when_free(build).await.ok()?;
        self.members = rest;
        Some(text)
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

/// Adds a server-sent event.
fn add(text: &mut String, answer: &WatchAnswer) {
    let data = serde_json::to_string(answer).expect("names and numbers always serialise");
    // Writing to a text does not fail.
    let _ = write!(text, "event: {}\ndata: {data}\n\n", answer.name());
}

/// How many memberships a part of the snapshot has at most.
const MEMBERS_MAX: usize = 1_000;
/// How many events are made into text at a time.
const EVENTS_MAX: usize = 500;
/// How long it is silent at most.
const BEAT: Duration = Duration::from_secs(10);
/// A comment, which whoever reads passes over.
const BEAT_TEXT: &str = ":\n\n";
/// How long after a change the next one is looked for.
const PACE: Duration = Duration::from_millis(10);
