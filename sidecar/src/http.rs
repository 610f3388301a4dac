//! HTTP: what the node knows, for people, scripts and monitoring.
//!
//! Answers are JSON, errors `{"error": "…"}`; `/metrics` is the text format of OpenMetrics, which
//! Prometheus reads. Everything is read from published snapshots, so that no request, however
//! frequent, holds up the node.

mod exposition;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::warn;

use crate::answers::{ErrorAnswer, MemberAnswer, NodeAnswer, TopicAnswer};
use exposition::Exposition;
use tidings::{Node, Pattern, Scope};

/// Serves HTTP on this listener, until the node stops.
///
/// - `GET /v1/nodes`, `/v1/topics`, `/v1/topics/{topic}/members` (`?scope=`): the view of this node.
/// - `GET /livez`: whether the node runs; `/readyz`: whether it has found the cluster.
/// - `GET /metrics`: what it has done.
///
/// Like the client gateway, this keeps the node going: it ends with [`Node::leave`] or when its
/// token is cancelled.
pub fn serve(node: &Node, listener: TcpListener) {
    let token = node.token().clone();
    let app = router(node.clone());
    node.spawn(async move {
        // The server's own tasks end with the signal, whether or not this one is still there.
        let server = axum::serve(listener, app);
        let stopped = server.with_graceful_shutdown(token.cancelled_owned()).await;
        if let Err(error) = stopped {
            warn!(%error, "HTTP is no longer served");
        }
    });
}

fn router(node: Node) -> Router {
    Router::new()
        .route("/v1/nodes", get(nodes))
        .route("/v1/topics", get(topics))
        .route("/v1/topics/{topic}/members", get(members))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .merge(
            Router::new()
                .route("/metrics", get(metrics))
                .with_state(Arc::new(Exposition::new(node.clone()))),
        )
        .fallback(async || Error::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Error::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here")
        })
        .with_state(node)
}

async fn nodes(State(node): State<Node>) -> Json<Vec<NodeAnswer>> {
    Json(NodeAnswer::all(&node))
}

async fn topics(State(node): State<Node>) -> Json<Vec<TopicAnswer>> {
    Json(node.topics().into_iter().map(TopicAnswer::from).collect())
}

#[derive(Debug, Deserialize)]
struct InScope {
    #[serde(default)]
    scope: Scope,
}

async fn members(
    State(node): State<Node>,
    topic: Result<Path<Pattern>, PathRejection>,
    scope: Result<Query<InScope>, QueryRejection>,
) -> Result<Json<Vec<MemberAnswer>>, Error> {
    let Path(pattern) = topic.map_err(|e| Error::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let Query(InScope { scope }) =
        scope.map_err(|e| Error::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let members = node.members(&scope, &pattern);
    Ok(Json(members.into_iter().map(MemberAnswer::from).collect()))
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

async fn ready(State(node): State<Node>) -> Result<Json<Value>, Error> {
    let unready = |reason: &str| Error::new(StatusCode::SERVICE_UNAVAILABLE, reason);
    if node.leaving().is_cancelled() {
        Err(unready("the node is leaving"))
    } else if !node.is_ready() {
        Err(unready("the node has seeds and has not found a live peer"))
    } else {
        Ok(Json(json!({ "status": "ready" })))
    }
}

async fn metrics(State(exposition): State<Arc<Exposition>>) -> Result<Response, Error> {
    match exposition.text() {
        Ok(text) => Ok(([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()),
        Err(_) => {
            let problem = "the metrics cannot be written";
            Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, problem))
        }
    }
}

/// An answer that says why there is no other.
#[derive(Debug)]
struct Error {
    status: StatusCode,
    problem: String,
}

impl Error {
    fn new(status: StatusCode, problem: impl Into<String>) -> Self {
        Self {
            status,
            problem: problem.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(ErrorAnswer {
                error: self.problem,
            }),
        )
            .into_response()
    }
}
