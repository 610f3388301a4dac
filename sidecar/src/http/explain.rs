use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use tidings::{Pattern, Scope, Time};

use super::error::Error;
use super::served::Served;
use crate::answers::ExplainAnswer;
use crate::caller::Caller;

#[derive(Debug, Deserialize)]
pub(super) struct ExplainQuery {
    scope: Option<Scope>,
    /// How long the other nodes have to answer.
    #[serde(default = "timeout")]
    timeout: Timeout,
}

/// What the node knows of a topic and how, and what the others answer. A few at a time are asked for, as
/// each costs all nodes something.
pub(super) async fn explain(
    State(served): State<Served>,
    caller: Caller,
    topic: Result<Path<Pattern>, PathRejection>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Json<ExplainAnswer>, Error> {
    let Path(topic) = topic.map_err(|e| Error::bad_request(e.body_text()))?;
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let ExplainQuery { scope, timeout } = query;
    let scope = caller.seen(scope)?;
    let _place = served.explainer.place().await?;
    let explained = served
        .node
        .explain(scope.clone(), topic.clone(), timeout.get());
    let answer = ExplainAnswer::new(scope, topic, explained.await);
    Ok(Json(answer))
}

fn timeout() -> Timeout {
    Time::of_ms::<2_000>()
}

type Timeout = Time<1, 8_000>;
