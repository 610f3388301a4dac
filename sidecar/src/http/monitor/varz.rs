use std::thread::available_parallelism;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;

use super::moment::{moment, span};
use crate::gateway::NATS_VERSION;
use crate::http::caller::Overseer;
use crate::http::error::Error;
use crate::http::served::Served;

/// The node in numbers.
pub(super) async fn varz(_: Overseer, State(served): State<Served>) -> Result<Json<Value>, Error> {
    let builder = served.builder.clone();
    Ok(builder.build(move || Json(answer(&served))).await?)
}

/// As the NATS server names it.
#[derive(Debug, Serialize)]
struct Varz<'a> {
    server_id: String,
    server_name: &'a str,
    version: &'static str,
    tidings: &'static str,
    proto: u8,
    go: &'static str,
    host: String,
    port: u16,
    max_connections: usize,
    max_subscriptions: usize,
    ping_interval: u64,
    ping_max: usize,
    http_host: String,
    http_port: u16,
    http_base_path: &'static str,
    https_port: u16,
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Cluster<'a>,
    gateway: Nothing,
    leaf: Nothing,
    mqtt: Nothing,
    websocket: Nothing,
    jetstream: Nothing,
    tls_timeout: f64,
    write_deadline: u64,
    start: String,
    now: String,
    uptime: String,
    mem: u64,
    cores: usize,
    gomaxprocs: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    routes: u64,
    remotes: u64,
    leafnodes: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    slow_consumers: u64,
    subscriptions: usize,
    lame_duck_mode: bool,
    config_load_time: String,
}

#[derive(Debug, Serialize)]
struct Cluster<'a> {
    name: &'a str,
}

/// What there is in the NATS server, and not here.
#[derive(Debug, Serialize)]
struct Nothing {}

fn answer(served: &Served) -> Value {
    let Served {
        node,
        clients,
        usage,
        ..
    } = served;
    let (gateway, limits) = (clients.config(), &node.config().limits);
    let (started, now) = (node.started_unix(), node.unix_time());
    let age = now.saturating_sub(started);
    let totals = clients.totals();
    let stats = node.stats();
    let listens = clients.listens();
    let links = stats.transport.as_ref().map_or(0, |links| links.links);
    let cores = available_parallelism().map_or(1, usize::from);
    let varz = Varz {
        server_id: served.id(),
        server_name: node.name().as_str(),
        version: NATS_VERSION,
        tidings: env!("CARGO_PKG_VERSION"),
        proto: 1,
        go: "none",
        host: listens.map_or_else(String::new, |addr| addr.ip().to_string()),
        port: listens.map_or(0, |addr| addr.port()),
        max_connections: limits.sessions_max.get(),
        max_subscriptions: limits.subscriptions_per_session_max.get(),
        ping_interval: nanoseconds(gateway.ping_interval.get()),
        ping_max: gateway.pings_out_max.get(),
        http_host: served
            .listens
            .map_or_else(String::new, |addr| addr.ip().to_string()),
        http_port: served.listens.map_or(0, |addr| addr.port()),
        http_base_path: "",
        https_port: 0,
        auth_timeout: gateway.connect_timeout.get().as_secs_f64(),
        max_control_line: gateway.line_bytes_max.get(),
        max_payload: limits.payload_bytes_max.get(),
        max_pending: gateway.mailbox.bytes_max.get(),
        cluster: Cluster {
            name: node.cluster().as_str(),
        },
        gateway: Nothing {},
        leaf: Nothing {},
        mqtt: Nothing {},
        websocket: Nothing {},
        jetstream: Nothing {},
        tls_timeout: 0.0,
        write_deadline: 0,
        start: moment(started),
        now: moment(now),
        uptime: span(age),
        mem: usage.memory_bytes(),
        cores,
        gomaxprocs: cores,
        cpu: usage.cpu_percent(age),
        connections: clients.connected(),
        total_connections: totals.connections,
        routes: links,
        remotes: links,
        leafnodes: 0,
        in_msgs: totals.counts.in_msgs,
        out_msgs: totals.counts.out_msgs,
        in_bytes: totals.counts.in_bytes,
        out_bytes: totals.counts.out_bytes,
        slow_consumers: totals.slow_consumers,
        subscriptions: totals.subscriptions,
        lame_duck_mode: clients.is_draining(),
        config_load_time: moment(started),
    };
    serde_json::to_value(varz).unwrap_or_default()
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
