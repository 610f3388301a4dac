use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::moment::moment;
use super::part::{Part, flag};
use crate::http::caller::Overseer;
use crate::http::error::Error;
use crate::http::served::Served;

#[derive(Debug, Deserialize)]
pub(super) struct SubszQuery {
    #[serde(flatten)]
    part: Part,
    #[serde(default, deserialize_with = "flag")]
    subs: bool,
}

/// What clients are subscribed to.
pub(super) async fn subsz(
    _: Overseer,
    State(served): State<Served>,
    query: Result<Query<SubszQuery>, QueryRejection>,
) -> Result<Json<Value>, Error> {
    let Query(query) = query.map_err(|error| Error::bad_request(error.body_text()))?;
    let builder = served.builder.clone();
    Ok(builder.build(move || Json(answer(&served, &query))).await?)
}

fn answer(served: &Served, query: &SubszQuery) -> Value {
    let subscriptions = served.clients.totals().subscriptions;
    let recipients = served.node.stats().broadcast_recipients;
    let broadcasts: u64 = recipients.buckets.iter().map(|(_, count)| count).sum();
    let fanout = recipients.sum / (broadcasts.max(1) as f64);
    let mut answer = json!({
        "server_id": served.id(),
        "now": moment(served.node.unix_time()),
        "num_subscriptions": subscriptions,
        "num_cache": 0,
        "num_inserts": 0,
        "num_removes": 0,
        "num_matches": broadcasts,
        "cache_hit_rate": 0.0,
        "max_fanout": 0,
        "avg_fanout": fanout,
    });
    if query.subs {
        let part = query.part.bounded();
        answer["total"] = subscriptions.into();
        answer["offset"] = part.offset.into();
        answer["limit"] = part.limit.into();
        answer["subscriptions_list"] = list(served, part).into();
    }
    answer
}

/// One client after the other, up to those that are wanted.
fn list(served: &Served, part: Part) -> Vec<Value> {
    let open = served.clients.open();
    let all = open.iter().flat_map(|record| {
        let mut patterns = record.patterns();
        patterns.sort();
        let account = record.scope();
        patterns.into_iter().map(move |pattern| {
            json!({
                "account": account,
                "subject": pattern.as_str(),
                "sid": "",
                "msgs": 0,
                "cid": record.id,
            })
        })
    });
    all.skip(part.offset).take(part.limit).collect()
}
