//! What the tools of NATS read: the names and types of fields are those of its server, the facts are this
//! node's. What a node does not have is left out, or stands there empty where a tool would miss it.
//!
//! Lists come in parts, of at most 1,024 items. They are made like other long answers, few at a
//! time, and take the lock of the clients only to copy who is there.

mod connz;
mod moment;
mod part;
mod routez;
mod subsz;
mod varz;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::served::Served;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/varz", get(varz::varz))
        .route("/connz", get(connz::connz))
        .route("/subsz", get(subsz::subsz))
        .route("/subscriptionsz", get(subsz::subsz))
        .route("/routez", get(routez::routez))
        .route("/healthz", get(healthz))
}

/// Whether clients are served. A node that looks for peers serves them.
async fn healthz(State(served): State<Served>) -> Response {
    let problem = if served.node.leaving().is_cancelled() {
        "the node is leaving"
    } else if served.clients.is_draining() {
        "the node is draining"
    } else {
        return Json(json!({ "status": "ok" })).into_response();
    };
    let body = Json(json!({ "status": "unavailable", "error": problem }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}
