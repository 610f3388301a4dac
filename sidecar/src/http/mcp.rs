use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;

use super::body;
use super::error::Error;
use super::served::Served;
use super::server::{Asking, Lasting};
use crate::caller::Caller;

/// Answers a request of MCP. It may wait for as long as it asks for, within places for those who wait.
pub(super) async fn serve(
    State(Served {
        node,
        mcp,
        publishers,
        ..
    }): State<Served>,
    Extension(asking): Extension<Asking>,
    caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    if node.leaving().is_cancelled() && is_listening(&parts.headers) {
        // Its client would come again and again, and have the final result each time.
        return Err(Error::unavailable(
            "this node is leaving the cluster: listen at another one",
        ));
    }
    let session = publishers.session(&caller.access, &caller.scope(None)?)?;
    let (content, mut held) = match parts.method {
        Method::POST => {
            let bytes_max = mcp.body_bytes_max();
            body::read(&asking, session.hold(), body, bytes_max).await?
        }
        // There is none to be read.
        _ => (Bytes::new(), session.hold()),
    };
    let more = mcp.read_bytes(&content)?;
    body::admit(&held, more, content.len() + more)?;
    held.set(held.bytes() + more);
    drop(session);
    let (kept, under_way) = (asking.keep(), mcp.under_way());
    let answer = mcp
        .answer(caller, Request::from_parts(parts, content))
        .await;
    let (head, body) = answer.into_parts();
    let is_stream = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|own| own == "text/event-stream");
    if !is_stream {
        return Ok(Response::from_parts(head, body));
    }
    let parts = body.into_data_stream().map(move |part| {
        let _ = (&kept, &under_way, &held);
        part
    });
    let mut response = (head, Body::from_stream(parts)).into_response();
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

/// Whether this is of a request to listen: the protocol has each say so.
fn is_listening(headers: &HeaderMap) -> bool {
    let method = headers.get("mcp-method");
    method.is_some_and(|method| method == "subscriptions/listen")
}
