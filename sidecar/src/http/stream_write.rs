//! A stream from the body of a request, as it comes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings::{Node, Scope, Session, StreamError, StreamOptions, StreamWriter};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error::Error;
use super::served::Served;
use super::server::Lasting;
use crate::caller::Caller;

#[derive(Debug, Deserialize)]
pub(super) struct WriteQuery {
    scope: Option<Scope>,
}

/// Begins a stream, whose name the head of the answer says at once, and pushes the body of the request as it
/// comes. The rest of the answer comes when the body has ended. If it does not, the stream has aborted.
pub(super) async fn write(
    State(served): State<Served>,
    caller: Caller,
    query: Result<Query<WriteQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, Error> {
    let Query(WriteQuery { scope }) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let scope = caller.scope(scope)?;
    let place = served.watchers.place()?;
    let session = served.publishers.session(&caller.access, &scope)?;
    let writer = session.stream(StreamOptions::default()).map_err(refusal)?;
    let id = writer.id().to_string();
    let writing = Writing {
        node: served.node.clone(),
        writer,
        _session: session,
        _place: place,
    };
    // The body of the answer is what reads that of the request: both end with the connection.
    let answer = futures::stream::once(async move {
        let answer = writing.write(body.into_data_stream()).await;
        Ok::<_, Infallible>(Bytes::from(format!("{answer}\n")))
    });
    let headers = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (LOCATION, format!("/v1/streams/{id}")),
        (CONNECTION, "close".to_owned()),
    ];
    let own = [(STREAM, id)];
    let body = Body::from_stream(answer);
    let mut response = (StatusCode::CREATED, own, headers, body).into_response();
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

struct Writing {
    node: Node,
    writer: StreamWriter,
    /// Of which the stream is.
    _session: Arc<Session>,
    _place: OwnedSemaphorePermit,
}

impl Writing {
    /// Pushes all of the body, and tells what came of it.
    async fn write(mut self, mut body: BodyDataStream) -> Value {
        let id = self.writer.id().to_string();
        match self.push_all(&mut body).await {
            Ok(()) => json!({ "stream": id, "chunks": self.writer.finish(), "state": "complete" }),
            Err(error) => json!({ "stream": id, "state": "aborted", "error": error }),
        }
    }

    async fn push_all(&mut self, body: &mut BodyDataStream) -> Result<(), String> {
        let leaving = self.node.leaving().clone();
        let mut rest = BytesMut::new();
        loop {
            let part = leaving.run_until_cancelled(timeout(PAUSE_MAX, body.next()));
            let part = part.await.ok_or("the node leaves")?;
            let part = part.map_err(|_| {
                let minutes = PAUSE_MAX.as_secs() / 60;
                format!("nothing came of the body for {minutes} min")
            })?;
            let Some(part) = part else {
                return self.push(rest.freeze());
            };
            rest.extend_from_slice(&part.map_err(|e| format!("the body has no end: {e}"))?);
            let chunk = rest.split_to(whole(&rest));
            self.push(chunk.freeze())?;
        }
    }

    fn push(&mut self, chunk: Bytes) -> Result<(), String> {
        let pushed = self.writer.push(chunk);
        pushed.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// How much of this there is without a character at the end of which only a part has come.
fn whole(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3)..bytes.len();
    let mut begins = tail
        .rev()
        .filter(|at| bytes[*at] & 0b1100_0000 != 0b1000_0000);
    let Some(at) = begins.next() else {
        return bytes.len();
    };
    let length = match bytes[at] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if at + length > bytes.len() {
        at
    } else {
        bytes.len()
    }
}

fn refusal(error: StreamError) -> Error {
    let status = match error {
        StreamError::Denied(_) => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Error::new(status, error.to_string())
}

/// The header that says what the stream is called.
const STREAM: &str = "tidings-stream";
/// How long a caller may pause within a body: whoever follows waits with it.
const PAUSE_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_of_which_a_part_has_come_waits_for_the_rest() {
        let text = "a€😀é";
        for end in 0..=text.len() {
            let bytes = &text.as_bytes()[..end];
            let valid = match str::from_utf8(bytes) {
                Ok(_) => end,
                Err(error) => error.valid_up_to(),
            };
            assert_eq!(whole(bytes), valid, "{bytes:?}");
        }
        assert_eq!(
            whole(b"\xff\x80\x80\x80"),
            4,
            "what is no text does not wait"
        );
        assert_eq!(whole(b"a\xff"), 2);
    }
}
