//! HTTP: what the node knows, for people, scripts and monitoring.
//!
//! Answers are JSON, errors `{"error": "…"}`; `/metrics` is the text format of OpenMetrics, which
//! Prometheus reads. Everything is read from published snapshots. Answers that can be long are
//! given in pages and built by threads of their own, few at a time; connections are bounded in
//! number and in time. So no request, however frequent, holds up the node, and no caller keeps
//! others out. Those who watch what changes are told of it on connections of their own, half of all at
//! most; who publishes hands its message to a session.

mod body;
mod caller;
mod clients;
mod drain;
mod error;
mod explain;
mod exposition;
mod hosts;
mod mcp;
mod monitor;
mod page;
mod publish;
mod served;
mod server;
mod socket;
mod source;
mod stream_read;
mod stream_write;
mod topic;
mod usage;
mod watch;

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::acceptor::{self, Acceptor};
use crate::answers::{MemberAnswer, NodeAnswer, TopicAnswer};
use crate::caller::Caller;
use crate::gateway::{Clients, Gateway};
use crate::{HttpConfig, descriptors};
use caller::Overseer;
use error::Error;
use hosts::Hosts;
use page::{After, PAGE_ITEMS, Page, PageItems};
use served::Served;
use tidings::{MemberId, Node, NodeId, Pattern, Scope};

/// Serves HTTP on this listener, until the node stops.
///
/// - `GET /v1/nodes`, `/v1/topics`, `/v1/topics/{topic}/members` (`?scope=`): the view of this node.
///   `/v1/topics?described=true` lists the topics of which something is told, with or without members.
/// - `GET /v1/topics/{topic}` (`?scope=`): how many members it has, and what is told of it; `PUT` changes that.
/// - `GET /v1/watch` (`?topic=`, `?scope=`, `?nodes=true`): what changes, as server-sent events.
/// - `POST /v1/streams` (`?scope=`): a stream of the body, as it comes. `GET /v1/streams/{id}` (`?scope=`, `?from=`):
///   what is written to a stream, as server-sent events.
/// - `POST /v1/topics/{topic}` (`?scope=`, `?reach=local`, `?node=`): publishes the body.
/// - `GET /livez`: whether the node runs; `/readyz`: whether it has found the cluster.
/// - `GET /metrics`: what it has done.
/// - `GET /varz`, `/connz`, `/subsz`, `/routez`, `/healthz`: what the tools of NATS read, as far as it makes
///   sense here.
/// - `POST /mcp`: an MCP server, through which agents publish, subscribe and receive.
/// - `GET /v1/drain`: whether clients are being sent to other nodes; `POST` from this machine asks for it.
///
/// Topics and members come in pages, of `?limit=` items (default 1,000, at most 10,000). The header
/// `Link` of an answer has the address of the next page, with `rel="next"`; the last page has none.
/// Each page is true when it is given: what comes and goes in between may be missed.
///
/// It tells of these clients. Like the client gateway, this keeps the node going: it ends with [`Node::leave`] or when its
/// token is cancelled.
pub fn serve(node: &Node, listener: TcpListener, config: HttpConfig, clients: &Clients) {
    serve_all(node, listener, config, clients, None);
}

/// The same, and clients of this gateway connect by WebSocket under `/nats`. They count among those of
/// the gateway and no longer among the connections of HTTP.
pub fn serve_with_gateway(
    node: &Node,
    listener: TcpListener,
    config: HttpConfig,
    gateway: &Gateway,
) {
    let clients = gateway.clients();
    serve_all(node, listener, config, clients, Some(gateway.clone()));
}

fn serve_all(
    node: &Node,
    listener: TcpListener,
    config: HttpConfig,
    clients: &Clients,
    gateway: Option<Gateway>,
) {
    let listens = listener.local_addr().ok();
    let hosts = Hosts::new(listens.map(|addr| addr.ip()), config.http_hosts);
    let slots = descriptors::http_slots(config.http_connections_max.get());
    let acceptor = Acceptor::new(listener, acceptor::slots(slots));
    node.spawn(server::run(
        node.clone(),
        acceptor,
        router(Served::new(
            (node.clone(), slots),
            (clients.clone(), gateway),
            listens,
            (config.identities, config.scope),
            config.mcp,
        )),
        hosts,
    ));
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/v1/nodes", get(nodes))
        .route("/v1/topics", get(topics))
        .route("/v1/topics/{topic}", topic::routes())
        .route("/v1/topics/{topic}/members", get(members))
        .route("/v1/topics/{topic}/explain", get(explain::explain))
        .route("/v1/watch", get(watch::watch))
        .route(hosts::MCP, any(mcp::serve))
        .route("/v1/streams", post(stream_write::write))
        .route("/v1/streams/{id}", get(stream_read::follow))
        .route("/v1/drain", get(drain::state).post(drain::drain))
        .merge(monitor::routes())
        .route(hosts::CLIENTS, get(clients::connect))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || Error::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            let problem = "this method is not served here; `Allow` says which is";
            Error::new(StatusCode::METHOD_NOT_ALLOWED, problem)
        })
        .with_state(served)
}

async fn nodes(
    State(served): State<Served>,
    caller: Caller,
) -> Result<Json<Vec<NodeAnswer>>, Error> {
    // They are of no scope: who sees its own sees them.
    caller.seen(None)?;
    Ok(Json(NodeAnswer::all(&served.node)))
}

#[derive(Debug, Deserialize)]
struct TopicsQuery {
    scope: Option<Scope>,
    #[serde(default = "page_items")]
    limit: PageItems,
    after: Option<After<Scope, Pattern>>,
    #[serde(default)]
    described: bool,
}

async fn topics(
    State(served): State<Served>,
    caller: Caller,
    query: Result<Query<TopicsQuery>, QueryRejection>,
) -> Result<Page, Error> {
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let TopicsQuery {
        scope,
        limit,
        after,
        described,
    } = query;
    let scope = caller.seen_or_all(scope)?;
    let view = served.node.view();
    let build = move || {
        let after = after.as_ref().map(|After(scope, topic)| (scope, topic));
        let count_max = limit.get() + 1;
        let topics = match &scope {
            _ if described => view.described_after(scope.as_ref(), after, count_max),
            Some(scope) => view.topics_in(scope, after.map(|(_, topic)| topic), count_max),
            None => view.topics_after(after, count_max),
        };
        let answer = |topic| TopicAnswer::new(topic, &view);
        let answers = topics.into_iter().map(answer).collect();
        Page::new("/v1/topics", answers, limit, |last| {
            let after = ("after", format!("{}/{}", last.scope, last.topic));
            let scope = scope.map(|scope| ("scope", scope.to_string()));
            let described = described.then(|| ("described", "true".to_owned()));
            scope.into_iter().chain(described).chain([after]).collect()
        })
    };
    Ok(served.builder.build(build).await?)
}

#[derive(Debug, Deserialize)]
struct MembersQuery {
    scope: Option<Scope>,
    #[serde(default = "page_items")]
    limit: PageItems,
    after: Option<After<NodeId, MemberId>>,
}

async fn members(
    State(served): State<Served>,
    caller: Caller,
    topic: Result<Path<Pattern>, PathRejection>,
    query: Result<Query<MembersQuery>, QueryRejection>,
) -> Result<Page, Error> {
    let Path(pattern) = topic.map_err(|e| Error::bad_request(e.body_text()))?;
    let Query(query) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let MembersQuery {
        scope,
        limit,
        after,
    } = query;
    let scope = caller.seen(scope)?;
    let view = served.node.view();
    let build = move || {
        let mut members = view.members(&scope, &pattern);
        if let Some(After(node, member)) = after {
            members.retain(|one| (&one.node, one.member) > (&node, member));
        }
        members.sort_unstable_by(|a, b| (&a.node, a.member).cmp(&(&b.node, b.member)));
        members.truncate(limit.get() + 1);
        let path = format!("/v1/topics/{}/members", page::encoded(pattern.as_str()));
        let answers = members.into_iter().map(MemberAnswer::from).collect();
        Page::new(&path, answers, limit, |last| {
            let after = format!("{}/{}", last.node, last.member);
            vec![("scope", scope.to_string()), ("after", after)]
        })
    };
    Ok(served.builder.build(build).await?)
}

fn page_items() -> PageItems {
    PAGE_ITEMS
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

async fn ready(State(served): State<Served>) -> Result<Json<Value>, Error> {
    let node = &served.node;
    let unready = |reason: &str| Error::new(StatusCode::SERVICE_UNAVAILABLE, reason);
    if node.leaving().is_cancelled() {
        Err(unready("the node is leaving"))
    } else if served.clients.is_draining() {
        Err(unready("the node is draining"))
    } else if !node.is_ready() {
        Err(unready("the node has seeds and has not found a live peer"))
    } else {
        Ok(Json(json!({ "status": "ready" })))
    }
}

async fn metrics(_: Overseer, State(served): State<Served>) -> Result<Response, Error> {
    let exposition = Arc::clone(&served.exposition);
    match served.builder.build(move || exposition.text()).await? {
        Ok(text) => Ok(([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()),
        Err(_) => {
            let problem = "the metrics cannot be written";
            Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, problem))
        }
    }
}
