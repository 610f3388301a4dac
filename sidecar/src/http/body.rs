use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tidings::Held;
use tokio::time::timeout;

use super::error::Error;
use super::server::Asking;

/// Reads the body, within what may wait on the node, and returns what it holds of that. A caller that takes its
/// time holds up nobody: its connection may be closed for that of another.
pub(super) async fn read(
    asking: &Asking,
    mut held: Held,
    body: Body,
    bytes_max: usize,
) -> Result<(Bytes, Held), Error> {
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
                format!("the body has more than {bytes_max} bytes, which payload_bytes_max allows");
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
        }
        admit(&held, part.len(), bytes)?;
        payload.extend_from_slice(&part);
        held.set(payload.capacity());
    }
    Ok((payload.freeze(), held))
}

/// Makes sure that there is room for so many bytes more, of so many in all.
pub(super) fn admit(held: &Held, more: usize, all: usize) -> Result<(), Error> {
    if all > UNCOUNTED_BYTES_MAX && !held.admits(more) {
        return Err(Error::unavailable("too much waits on this node already"));
    }
    Ok(())
}

/// How long a caller may pause within a body.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A small body is read however much waits.
const UNCOUNTED_BYTES_MAX: usize = 64 << 10;
