use std::cmp::Reverse;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::moment::{moment, span};
use super::part::{Part, flag, number};
use crate::gateway::Facts;
use crate::http::caller::Overseer;
use crate::http::error::Error;
use crate::http::served::Served;

#[derive(Debug, Deserialize)]
pub(super) struct ConnzQuery {
    #[serde(default)]
    sort: Sort,
    #[serde(flatten)]
    part: Part,
    #[serde(default)]
    state: Which,
    #[serde(default, deserialize_with = "flag")]
    subs: bool,
    #[serde(default, deserialize_with = "one")]
    cid: Option<u64>,
}

fn one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

/// By what connections are sorted: those with most of it come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// By their numbers, as they came.
    #[default]
    Cid,
    /// The same.
    Start,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    /// Those first that did something last.
    Last,
    /// Those first that have not done anything for longest.
    Idle,
    Uptime,
    /// Those first that went first.
    Stop,
    Reason,
    Rtt,
}

/// Which connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Which {
    #[default]
    Open,
    Closed,
    #[serde(alias = "all")]
    Any,
}

#[derive(Debug, Serialize)]
struct Connection {
    cid: u64,
    kind: &'static str,
    r#type: &'static str,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<String>,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Box<str>>,
    /// The scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<String>>,
}

/// Who is connected.
pub(super) async fn connz(
    _: Overseer,
    State(served): State<Served>,
    query: Result<Query<ConnzQuery>, QueryRejection>,
) -> Result<Json<Value>, Error> {
    let Query(query) = query.map_err(|error| Error::bad_request(error.body_text()))?;
    let is_of_gone = matches!(query.sort, Sort::Stop | Sort::Reason);
    if is_of_gone && query.state != Which::Closed {
        return Err(Error::bad_request(
            "sort by stop or reason only with state=closed",
        ));
    }
    let builder = served.builder.clone();
    Ok(builder.build(move || Json(answer(&served, &query))).await?)
}

fn answer(served: &Served, query: &ConnzQuery) -> Value {
    let now = served.node.unix_time();
    let mut all: Vec<Facts> = Vec::new();
    if query.state != Which::Closed {
        all.extend(served.clients.open().iter().map(|record| record.facts()));
    }
    if query.state != Which::Open {
        all.extend(served.clients.gone());
    }
    all.retain(|facts| query.cid.is_none_or(|cid| facts.id == cid));
    let total = all.len();
    sort(&mut all, query.sort);
    let part = query.part.bounded();
    let open = if query.subs {
        served.clients.open()
    } else {
        Vec::new()
    };
    let connections = part.of(all).into_iter().map(|facts| {
        let record = open.iter().find(|record| record.id == facts.id);
        let patterns = record.map(|record| {
            let patterns = record.patterns().into_iter().take(SUBSCRIPTIONS_MAX);
            patterns.map(|pattern| pattern.to_string()).collect()
        });
        Connection::new(facts, patterns, now)
    });
    let connections: Vec<_> = connections.collect();
    json!({
        "server_id": served.id(),
        "now": moment(now),
        "num_connections": connections.len(),
        "total": total,
        "offset": part.offset,
        "limit": part.limit,
        "connections": connections,
    })
}

fn sort(all: &mut [Facts], by: Sort) {
    all.sort_by_key(|facts| facts.id);
    let mut most = |of: fn(&Facts) -> u64| all.sort_by_key(|facts| Reverse(of(facts)));
    match by {
        Sort::Cid | Sort::Start => {}
        Sort::Subs => most(|facts| facts.subscriptions as u64),
        Sort::Pending => most(|facts| facts.pending_bytes as u64),
        Sort::MsgsTo => most(|facts| facts.counts.out_msgs),
        Sort::MsgsFrom => most(|facts| facts.counts.in_msgs),
        Sort::BytesTo => most(|facts| facts.counts.out_bytes),
        Sort::BytesFrom => most(|facts| facts.counts.in_bytes),
        Sort::Rtt => all.sort_by_key(|facts| Reverse(facts.round_trip)),
        Sort::Last => all.sort_by_key(|facts| Reverse(facts.active)),
        Sort::Idle => all.sort_by_key(|facts| facts.active),
        Sort::Uptime => all.sort_by_key(|facts| facts.started),
        Sort::Stop => all.sort_by_key(|facts| facts.stopped),
        Sort::Reason => all.sort_by_key(|facts| facts.reason),
    }
}

impl Connection {
    fn new(facts: Facts, subscriptions: Option<Vec<String>>, now: Duration) -> Self {
        let end = facts.stopped.unwrap_or(now);
        Self {
            cid: facts.id,
            kind: "Client",
            r#type: "nats",
            ip: facts.peer.ip().to_canonical().to_string(),
            port: facts.peer.port(),
            start: moment(facts.started),
            last_activity: moment(facts.active),
            stop: facts.stopped.map(moment),
            reason: facts.reason,
            rtt: facts
                .round_trip
                .map(|time| format!("{}µs", time.as_micros())),
            uptime: span(end.saturating_sub(facts.started)),
            idle: span(end.saturating_sub(facts.active)),
            pending_bytes: facts.pending_bytes,
            in_msgs: facts.counts.in_msgs,
            out_msgs: facts.counts.out_msgs,
            in_bytes: facts.counts.in_bytes,
            out_bytes: facts.counts.out_bytes,
            subscriptions: facts.subscriptions,
            name: facts.name,
            lang: facts.lang,
            version: facts.version,
            account: facts.scope.map(|scope| scope.to_string()),
            subscriptions_list: subscriptions.filter(|list| !list.is_empty()),
        }
    }
}

/// How many subscriptions of one connection are listed.
const SUBSCRIPTIONS_MAX: usize = 1_024;
