//! One topic: what is told of it, and how that is changed.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};
use serde::Deserialize;
use tidings::{DescribeError, Pattern, SchemaError, Scope, Topic};

use super::error::Error;
use super::publish::publish;
use super::served::Served;
use crate::answers::{DescribeRequest, TopicAnswer};
use crate::caller::Caller;

/// `GET`, `PUT` and `POST` of one topic. What changes something is of a method and a content type that no
/// page of another site can use without being let.
pub(super) fn routes() -> MethodRouter<Served> {
    get(show)
        .put(describe)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .post(publish)
}

#[derive(Debug, Deserialize)]
struct TopicQuery {
    scope: Option<Scope>,
}

async fn show(
    State(Served { node, .. }): State<Served>,
    caller: Caller,
    topic: Result<Path<Pattern>, PathRejection>,
    query: Result<Query<TopicQuery>, QueryRejection>,
) -> Result<Json<TopicAnswer>, Error> {
    let Path(pattern) = topic.map_err(|e| bad_request(e.body_text()))?;
    let Query(TopicQuery { scope }) = query.map_err(|e| bad_request(e.body_text()))?;
    let scope = caller.seen(scope)?;
    let view = node.view();
    Ok(Json(TopicAnswer::new(view.topic(&scope, &pattern), &view)))
}

async fn describe(
    State(Served { node, .. }): State<Served>,
    caller: Caller,
    topic: Result<Path<Topic>, PathRejection>,
    query: Result<Query<TopicQuery>, QueryRejection>,
    body: Result<Json<DescribeRequest>, JsonRejection>,
) -> Result<Json<TopicAnswer>, Error> {
    let Path(topic) = topic.map_err(|e| bad_request(e.body_text()))?;
    let Query(TopicQuery { scope }) = query.map_err(|e| bad_request(e.body_text()))?;
    caller.describes(&topic)?;
    // What is answered is seen.
    let scope = caller.seen(Some(caller.scope(scope)?))?;
    let Json(request) = body.map_err(|e| Error::new(e.status(), e.body_text()))?;
    let info = request.try_into();
    let info = info.map_err(|error: SchemaError| bad_request(error.to_string()))?;
    let described = node.describe_topic(&scope, &topic, info);
    described.map_err(|error| Error::new(status(&error), error.to_string()))?;
    let view = node.view();
    let summary = view.topic(&scope, &Pattern::from(&topic));
    Ok(Json(TopicAnswer::new(summary, &view)))
}

fn status(error: &DescribeError) -> StatusCode {
    match error {
        DescribeError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn bad_request(problem: String) -> Error {
    Error::new(StatusCode::BAD_REQUEST, problem)
}

/// More than can be told of a topic, each character of a schema escaped.
const REQUEST_BYTES_MAX: usize = 64 << 10;
