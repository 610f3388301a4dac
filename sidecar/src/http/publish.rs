use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::Deserialize;
use tidings::{AssuredOptions, BroadcastError, Headers, Message, Scope, Session, Time, Topic};
use tokio::time::timeout;

use super::caller::Caller;
use super::error::Error;
use super::served::Served;
use super::server::Asking;
use crate::answers::{AssuredAnswer, ReceiptAnswer};
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
    let payload = payload(&asking, &session, body, limits.payload_bytes_max.get()).await?;
    let message = Message::new(topic, payload).with_headers(headers);
    if let Some(timeout) = assured {
        let options = AssuredOptions {
            timeout,
            ..AssuredOptions::default()
        };
        let outcomes = session
            .broadcast_assured(message, options)
            .map_err(refusal)?;
        return Ok(Json(AssuredAnswer::from(outcomes.await)).into_response());
    }
    let published = reach.publish(&session, message, true);
    let receipt = published.map_err(refusal)?;
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

/// Reads the body, within what may wait on the node. A caller that takes its time holds up nobody:
/// its connection may be closed for that of another.
async fn payload(
    asking: &Asking,
    session: &Session,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, Error> {
    let mut held = session.hold();
    let mut payload = BytesMut::new();
    let mut parts = body.into_data_stream();
    while let Some(part) = asking
        .idle(timeout(PAUSE_MAX, parts.next()))
        .await
        .map_err(|_| {
            let problem = format!("nothing came of the body for {} s", PAUSE_MAX.as_secs());
            Error::new(StatusCode::REQUEST_TIMEOUT, problem)
        })?
    {
        let part = part.map_err(|e| Error::bad_request(format!("the body has no end: {e}")))?;
        let bytes = payload.len() + part.len();
        if bytes > bytes_max {
            let problem =
                format!("the body is larger than the limit (payload_bytes_max), {bytes_max}");
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
        }
        if bytes > UNCOUNTED_BYTES_MAX && !held.admits(part.len()) {
            return Err(Error::unavailable("too much waits on this node already"));
        }
        payload.extend_from_slice(&part);
        held.set(payload.capacity());
    }
    Ok(payload.freeze())
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
/// How long a caller may pause within a body.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A small body is read however much waits.
const UNCOUNTED_BYTES_MAX: usize = 64 << 10;

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
