use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use tidings::{AssuredOptions, BroadcastError, Headers, Message, Scope, Time, Topic};
use tokio::time::timeout;

use super::served::Served;
use super::server::Asking;
use super::{body, error::Error};
use crate::answers::{AssuredAnswer, ReceiptAnswer};
use crate::caller::Caller;
use crate::gateway::SERVICE_PREFIX;
use crate::reach::Reach;

#[derive(Debug, Deserialize)]
pub(super) struct PublishQuery {
    scope: Option<Scope>,
    reach: Option<String>,
    node: Option<String>,
    member: Option<String>,
    /// How long to wait for what becomes of it.
    assured: Option<Time<1, 600_000>>,
}

/// Publishes the body of the request, and answers when the next message may follow, or when it is known
/// what has become of this one.
pub(super) async fn publish(
    State(served): State<Served>,
    Extension(asking): Extension<Asking>,
    caller: Caller,
    topic: Result<Path<Topic>, PathRejection>,
    query: Result<Query<PublishQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let Path(topic) = topic.map_err(|e| Error::bad_request(e.body_text()))?;
    if topic.as_str().starts_with(SERVICE_PREFIX) {
        let problem = format!("topics that begin with {SERVICE_PREFIX} are the node's own");
        return Err(Error::bad_request(problem));
    }
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let PublishQuery {
        scope,
        reach,
        node,
        member,
        assured,
    } = query;
    let headers = message_headers(&headers).map_err(Error::bad_request)?;
    let reach = match (reach.as_deref(), node.as_deref(), member.as_deref()) {
        (None, None, None) => Reach::of(&headers),
        (reach, node, member) => Reach::from_parts(reach, node, member),
    };
    let reach = reach.map_err(|e| Error::bad_request(e.to_string()))?;
    if assured.is_some() && reach != Reach::Everywhere {
        let problem = "an assured message is for all members of its topic";
        return Err(Error::bad_request(problem.to_owned()));
    }
    let scope = caller.scope(scope)?;
    let session = served.publishers.session(&caller.access, &scope)?;
    let limits = &served.node.config().limits;
    let bytes_max = limits.payload_bytes_max.get();
    let (payload, held) = body::read(&asking, session.hold(), body, bytes_max).await?;
    let message = Message::new(topic, payload).with_headers(headers);
    if let Some(timeout) = assured {
        let options = AssuredOptions {
            timeout,
            ..AssuredOptions::default()
        };
        let outcomes = session
            .broadcast_assured(message, options)
            .map_err(refusal)?;
        // It counts where it waits.
        drop(held);
        return Ok(Json(AssuredAnswer::from(outcomes.await)).into_response());
    }
    let published = reach.publish(&session, message, true);
    let receipt = published.map_err(refusal)?;
    drop(held);
    if receipt.pressing {
        // So it is bounded however many there are to wait for.
        let _ = timeout(limits.publish_wait_max.get(), session.room()).await;
    }
    Ok(Json(ReceiptAnswer::from(receipt)).into_response())
}

/// What goes along with the message: what kind of content it is, and headers of ours.
fn message_headers(headers: &HeaderMap) -> Result<Headers, String> {
    let is_carried = |name: &HeaderName| name == CONTENT_TYPE || name.as_str().starts_with(OURS);
    let mut carried = Headers::default();
    for (name, value) in headers.iter().filter(|(name, _)| is_carried(name)) {
        let value = str::from_utf8(value.as_bytes())
            .map_err(|_| format!("the value of header {name} is not text in UTF-8"))?;
        // What curl says if it is told nothing says nothing.
        if value != "application/x-www-form-urlencoded" {
            carried = carried
                .with(name.as_str(), value)
                .map_err(|e| e.to_string())?;
        }
    }
    Ok(carried)
}

fn refusal(error: BroadcastError) -> Error {
    let status = match error {
        BroadcastError::Denied(_) => StatusCode::FORBIDDEN,
        BroadcastError::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BroadcastError::UnknownNode { .. } | BroadcastError::UnknownMember { .. } => {
            StatusCode::NOT_FOUND
        }
        BroadcastError::Ended
        | BroadcastError::TooManyAssured { .. }
        | BroadcastError::TooManyMembers { .. }
        | BroadcastError::TooManyGroups { .. }
        | BroadcastError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    Error::new(status, error.to_string())
}

/// How the names of our own headers begin.
const OURS: &str = "tidings-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_ours_and_the_kind_of_content_go_along() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "h"),
            ("content-type", "application/json"),
            ("tidings-trace", "größe"),
            ("tidings-trace", "2"),
        ] {
            let value = axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let carried = message_headers(&headers).unwrap();
        let carried: Vec<_> = carried.iter().collect();
        let expected = [
            ("content-type", "application/json"),
            ("tidings-trace", "größe"),
            ("tidings-trace", "2"),
        ];
        assert_eq!(carried, expected);
        let form = "application/x-www-form-urlencoded".parse().unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, form)]);
        assert!(message_headers(&headers).unwrap().is_empty());
    }
}
