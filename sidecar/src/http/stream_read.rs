//! Server-sent events of what is written to a stream.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use tidings::{FollowError, Followed, Following, Node, Scope, Session, StreamEnd, StreamId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::Error;
use super::served::Served;
use super::server::Lasting;
use crate::caller::Caller;

#[derive(Debug, Deserialize)]
pub(super) struct FollowQuery {
    scope: Option<Scope>,
    #[serde(default)]
    from: u64,
}

/// Tells what is written to a stream, from where the query says or where the browser was, and then how it
/// ended.
pub(super) async fn follow(
    State(served): State<Served>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<FollowQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Path(id) = id.map_err(|e| Error::bad_request(e.body_text()))?;
    let id = StreamId::parse(&id).map_err(|e| Error::bad_request(e.to_string()))?;
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let from = match headers.get(LAST_EVENT_ID).map(|last| last.to_str()) {
        None => query.from,
        // It comes again by itself after the end, and this is what keeps it away.
        Some(Ok(END)) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Some(last) => last
            .ok()
            .and_then(|last| last.parse().ok())
            .ok_or_else(|| Error::bad_request("Last-Event-ID is none of this stream"))?,
    };
    let scope = caller.scope(query.scope)?;
    let place = served.watchers.place()?;
    let session = served.publishers.session(&caller.access, &scope)?;
    let following = session.follow(&id, from).map_err(refusal)?;
    let mut told = Told {
        node: served.node.clone(),
        following,
        is_over: false,
        _session: session,
        _place: place,
    };
    // What there is not is best said with a status; what takes longer is told as it comes.
    let first = match timeout(FIRST_MAX, told.following.next()).await {
        Ok(first) => told.text(first.map_err(refusal)?),
        Err(_) => BEAT_TEXT.to_owned(),
    };
    let first = futures::stream::once(async move { Ok(Bytes::from(first)) });
    let rest = unfold(told, async |mut told| {
        let text = told.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), told))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // What ends is over: the stream has, or the node leaves.
        (CONNECTION, "close"),
    ];
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    let mut response = (headers, body).into_response();
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

/// What one caller is told.
struct Told {
    node: Node,
    following: Following,
    is_over: bool,
    /// Of which the stream is followed.
    _session: Arc<Session>,
    _place: OwnedSemaphorePermit,
}

impl Told {
    /// What is to be sent next; none once all was, or when the node leaves.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let leaving = self.node.leaving().clone();
        let next = timeout(BEAT, self.following.next());
        Some(match leaving.run_until_cancelled(next).await? {
            Ok(Ok(followed)) => self.text(followed),
            Ok(Err(error)) => {
                self.is_over = !matches!(error, FollowError::Unreachable { .. });
                let error = json!({ "error": error.to_string() });
                format!("event: error\ndata: {error}\n\n")
            }
            Err(_) => BEAT_TEXT.to_owned(),
        })
    }

    fn text(&mut self, followed: Followed) -> String {
        self.is_over = matches!(followed, Followed::End(_));
        event(&followed, self.following.offset())
    }
}

/// A server-sent event, by whose id the stream goes on after it.
fn event(followed: &Followed, offset: u64) -> String {
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = match followed {
        Followed::Chunk { bytes, .. } => match str::from_utf8(bytes) {
            // A carriage return would come out as the end of a line.
            Ok(chunk) if !chunk.contains('\r') => {
                chunk
                    .split('\n')
                    .for_each(|line| text.extend(["data: ", line, "\n"]));
                writeln!(text, "id: {offset}\n")
            }
            _ => {
                let data = STANDARD.encode(bytes);
                writeln!(text, "event: binary\ndata: {data}\nid: {offset}\n")
            }
        },
        Followed::Missed { from, to } => {
            let data = json!({ "from": from, "to": to });
            writeln!(text, "event: missed\ndata: {data}\nid: {offset}\n")
        }
        Followed::End(end) => {
            let data = end_answer(end, offset);
            writeln!(text, "event: end\ndata: {data}\nid: {END}\n")
        }
    };
    text
}

/// How a stream has ended, after so many chunks.
pub(super) fn end_answer(end: &StreamEnd, offset: u64) -> serde_json::Value {
    match end {
        StreamEnd::Failed(reason) => {
            json!({ "state": end.name(), "offset": offset, "error": reason })
        }
        _ => json!({ "state": end.name(), "offset": offset }),
    }
}

fn refusal(error: FollowError) -> Error {
    let status = match error {
        FollowError::NoSuchStream { .. } => StatusCode::NOT_FOUND,
        FollowError::Denied(_) => StatusCode::FORBIDDEN,
        FollowError::NotUnderstood { .. } => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Error::new(status, error.to_string())
}

/// What a browser that comes again has had last.
const LAST_EVENT_ID: &str = "last-event-id";
/// The id of the end.
const END: &str = "end";
/// How long the status of the answer may wait for the first event.
const FIRST_MAX: Duration = Duration::from_millis(250);
/// How long it is silent at most.
const BEAT: Duration = Duration::from_secs(10);
/// A comment, which whoever reads passes over.
const BEAT_TEXT: &str = ":\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_through_events_as_they_are() {
        let chunk = |bytes: &'static [u8]| {
            let bytes = Bytes::from_static(bytes);
            event(&Followed::Chunk { offset: 6, bytes }, 7)
        };
        assert_eq!(chunk(b" it is"), "data:  it is\nid: 7\n\n");
        assert_eq!(chunk(b"\n"), "data: \ndata: \nid: 7\n\n");
        assert_eq!(chunk(b"a\nb: c"), "data: a\ndata: b: c\nid: 7\n\n");
        for odd in [&b"a\r\n"[..], b"\xff"] {
            let data = STANDARD.encode(odd);
            let expected = format!("event: binary\ndata: {data}\nid: 7\n\n");
            assert_eq!(chunk(odd), expected);
        }
        let missed = event(&Followed::Missed { from: 0, to: 7 }, 7);
        assert_eq!(
            missed,
            "event: missed\ndata: {\"from\":0,\"to\":7}\nid: 7\n\n"
        );
        let end = event(&Followed::End(StreamEnd::Failed("no\nmodel".into())), 7);
        let data = r#"{"error":"no\nmodel","offset":7,"state":"failed"}"#;
        assert_eq!(end, format!("event: end\ndata: {data}\nid: end\n\n"));
    }
}
