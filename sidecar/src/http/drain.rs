use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::caller::Overseer;
use super::error::Error;
use super::served::Served;
use super::source::Source;
use crate::answers::DrainAnswer;

/// Whether clients are being sent to other nodes.
pub(super) async fn state(_: Overseer, State(served): State<Served>) -> Json<DrainAnswer> {
    let is_draining = served.clients.is_draining();
    Json(answer(&served, is_draining))
}

/// Asks for clients to be sent to other nodes, and for the node to leave then. The one who may is on
/// this machine: nobody who was let in to look should end a node.
pub(super) async fn drain(
    _: Overseer,
    State(served): State<Served>,
    Extension(Source(source)): Extension<Source>,
) -> Result<(StatusCode, Json<DrainAnswer>), Error> {
    if !source.ip().to_canonical().is_loopback() {
        let problem = "a node is drained from its own machine, over loopback";
        return Err(Error::new(StatusCode::FORBIDDEN, problem));
    }
    served.clients.ask_to_drain();
    Ok((StatusCode::ACCEPTED, Json(answer(&served, true))))
}

fn answer(served: &Served, draining: bool) -> DrainAnswer {
    DrainAnswer {
        node: served.node.name().clone(),
        draining,
        clients: served.clients.connected(),
    }
}
