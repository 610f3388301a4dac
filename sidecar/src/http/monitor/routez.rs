use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::moment::moment;
use crate::http::caller::Overseer;
use crate::http::served::Served;

/// The links to other nodes that are up.
pub(super) async fn routez(_: Overseer, State(served): State<Served>) -> Json<Value> {
    let links = served.node.links();
    let routes: Vec<_> = (1_u64..)
        .zip(&links)
        .filter_map(|(number, link)| {
            let up = link.up.as_ref()?;
            Some(json!({
                "rid": number,
                "remote_id": format!("{}-{}", link.peer, up.incarnation),
                "remote_name": link.peer.as_str(),
                "did_solicit": up.dialled,
                "is_configured": false,
                "ip": up.remote.ip().to_string(),
                "port": up.remote.port(),
                "rtt": format!("{}µs", up.round_trip.as_micros()),
                "pending_size": link.queued_bytes,
                "in_msgs": link.carried.received,
                "out_msgs": link.carried.sent,
            }))
        })
        .collect();
    Json(json!({
        "server_id": served.id(),
        "server_name": served.node.name().as_str(),
        "now": moment(served.node.unix_time()),
        "num_routes": routes.len(),
        "routes": routes,
    }))
}
