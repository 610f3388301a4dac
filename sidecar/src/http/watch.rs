//! Server-sent events of what changes in the cluster.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::unfold;
use serde::Deserialize;
use tidings::{Node, Pattern, Scope, Watched};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::error::Error;
use super::served::Served;
use super::server::Lasting;
use crate::answers::WatchAnswer;
use crate::builder::Builder;
use crate::caller::Caller;
use crate::watching::Watching;

#[derive(Debug, Deserialize)]
pub(super) struct WatchQuery {
    topic: Option<Pattern>,
    scope: Option<Scope>,
    #[serde(default)]
    nodes: bool,
}

pub(super) async fn watch(
    State(served): State<Served>,
    caller: Caller,
    query: Result<Query<WatchQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let watched = query.watched(&caller)?;
    let place = served.watchers.place()?;
    let told = Told::new(caller, &served.node, watched, served.builder, place);
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
    /// What is to be told, of what the caller may see.
    fn watched(self, caller: &Caller) -> Result<Watched, Error> {
        let watched = match self {
            Self {
                topic: None,
                scope: None,
                nodes,
            } if nodes => {
                caller.seen(None)?;
                return Ok(Watched::Nodes);
            }
            Self { nodes: true, .. } => {
                let problem = "nodes: who watches nodes watches no topic and no scope";
                return Err(Error::bad_request(problem));
            }
            Self {
                topic: Some(topic),
                scope,
                ..
            } => Watched::Topic(caller.seen(scope)?, topic),
            Self { scope, .. } => match caller.seen_or_all(scope)? {
                Some(scope) => Watched::Scope(scope),
                None => Watched::Everything,
            },
        };
        Ok(watched)
    }
}

/// What one client is told.
struct Told {
    caller: Caller,
    /// In which scope it sees what it is told.
    scope: Option<Scope>,
    node: Node,
    watching: Watching,
    _place: OwnedSemaphorePermit,
}

impl Told {
    fn new(
        caller: Caller,
        node: &Node,
        watched: Watched,
        builder: Builder,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let scope = match &watched {
            Watched::Topic(scope, _) | Watched::Scope(scope) => Some(scope.clone()),
            Watched::Nodes => caller.seen(None).ok(),
            _ => None,
        };
        Self {
            caller,
            scope,
            node: node.clone(),
            watching: Watching::new(node, watched, builder),
            _place: place,
        }
    }

    /// What is to be sent next; none when the node leaves, or the caller may not see any more what it watches.
    async fn next(&mut self) -> Option<Bytes> {
        let leaving = self.node.leaving().clone();
        let told = self.watching.next(Instant::now() + BEAT);
        let answers = leaving.run_until_cancelled(told).await??;
        self.caller.sees(self.scope.as_ref()).ok()?;
        if answers.is_empty() {
            return Some(BEAT_TEXT.into());
        }
        let mut text = String::new();
        answers.iter().for_each(|answer| add(&mut text, answer));
        Some(text.into())
    }
}

/// Adds a server-sent event.
fn add(text: &mut String, answer: &WatchAnswer) {
    let data = serde_json::to_string(answer).expect("names and numbers always serialise");
    // Writing to a text does not fail.
    let _ = write!(text, "event: {}\ndata: {data}\n\n", answer.name());
}

/// How long it is silent at most.
const BEAT: Duration = Duration::from_secs(10);
/// A comment, which whoever reads passes over.
const BEAT_TEXT: &str = ":\n\n";
