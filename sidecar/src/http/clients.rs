use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::error::Error;
use super::served::Served;
use super::socket::Socket;
use crate::gateway::{Upgrade, WebSocket};

/// Lets a client of the gateway go on by WebSocket.
pub(super) async fn connect(
    State(served): State<Served>,
    mut request: Request,
) -> Result<Response, Error> {
    let Some(gateway) = served.gateway else {
        let problem = "this node serves no clients";
        return Err(Error::new(StatusCode::NOT_FOUND, problem));
    };
    let upgrade = Upgrade::new(&mut request, gateway.origins());
    let upgrade = upgrade.map_err(|refusal| Error::new(refusal.status, refusal.problem))?;
    let (parts, ()) = upgrade.response.into_parts();
    if !gateway.take_in(upgrade.connection, socket) {
        let problem = "too many clients are connected";
        return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, problem));
    }
    Ok(Response::from_parts(parts, Body::empty()).into_response())
}

/// The socket under the server's own, and what the server has read of it.
fn socket(upgraded: Upgraded) -> Option<WebSocket> {
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    let stream = parts.io.into_inner().into_inner();
    Some(WebSocket::plain(stream, parts.read_buf))
}
