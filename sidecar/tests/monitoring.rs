//! What the tools of NATS are told of a node.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::{Config, Count, LocalCluster, MailboxConfig, Node, Overflow};
use tidings_sidecar::gateway::{self, Clients};
use tidings_sidecar::{GatewayConfig, HttpConfig, http};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

struct Served {
    node: Node,
    clients: Clients,
    client: SocketAddr,
    http: SocketAddr,
}

impl Served {
    async fn start(config: GatewayConfig) -> Self {
        let node = Node::start(Config::default(), None).await.unwrap();
        Self::of(node, config).await
    }

    async fn of(node: Node, config: GatewayConfig) -> Self {
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (listener, http) = (listen().await, listen().await);
        let (client, http_addr) = (listener.local_addr().unwrap(), http.local_addr().unwrap());
        let clients = gateway::serve(&node, listener, config).unwrap();
        http::serve(&node, http, HttpConfig::default(), &clients);
        Self {
            node,
            clients,
            client,
            http: http_addr,
        }
    }

    async fn asked(&self, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("http://{}{path}", self.http))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.asked(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Asks until the answer is as it should be.
    async fn get_until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let answer = self.get(path).await;
                if holds(&answer) {
                    return answer;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, wait).await.expect("it comes to hold")
    }

    async fn client(&self, name: &str) -> Client {
        let mut client = Client(BufReader::new(
            TcpStream::connect(self.client).await.unwrap(),
        ));
        client.line().await;
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"name\":\"{name}\",\"lang\":\"rust\",\"version\":\"1.2\"}}\r\n"
        );
        client.tell(&connect).await;
        client
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        timeout(SOON, read).await.expect("a line").unwrap();
        line.trim_end().to_owned()
    }

    async fn tell(&mut self, bytes: &str) {
        self.send(bytes).await;
        self.send("PING\r\n").await;
        assert_eq!(self.line().await, "PONG");
    }
}

fn names(connz: &Value) -> Vec<&str> {
    let connections = connz["connections"].as_array().unwrap().iter();
    connections
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn connections_are_listed_with_what_they_have_sent_and_got() {
    let served = Served::start(GatewayConfig::default()).await;
    let mut planner = served.client("planner").await;
    let mut reader = served.client("reader").await;
    planner.tell("SUB own 1\r\n").await;
    reader
        .tell("SUB news.* 1\r\nSUB other 2\r\nUNSUB 2\r\n")
        .await;
    planner
        .tell("PUB news.a 5\r\nhello\r\nPUB nobody 3\r\nabc\r\n")
        .await;
    assert_eq!(reader.line().await, "MSG news.a 1 5");

    let connz = served
        .get_until("/connz", |connz| connz["connections"][1]["out_msgs"] == 1)
        .await;
    assert_eq!(
        (&connz["num_connections"], &connz["total"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&connz["offset"], &connz["limit"]),
        (&json!(0), &json!(1024))
    );
    let one = &connz["connections"][0];
    for (field, expected) in [
        ("cid", json!(1)),
        ("kind", json!("Client")),
        ("type", json!("nats")),
        ("ip", json!("127.0.0.1")),
        ("name", json!("planner")),
        ("lang", json!("rust")),
        ("version", json!("1.2")),
        ("account", json!("default")),
        ("in_msgs", json!(2)),
        ("in_bytes", json!(8)),
        ("out_msgs", json!(0)),
        ("out_bytes", json!(0)),
        ("pending_bytes", json!(0)),
        ("subscriptions", json!(1)),
    ] {
        assert_eq!(one[field], expected, "{field}");
    }
    assert!(one.get("subscriptions_list").is_none() && one.get("stop").is_none());
    let two = &connz["connections"][1];
    assert_eq!(
        (&two["out_bytes"], &two["subscriptions"]),
        (&json!(5), &json!(1))
    );

    let listed = served.get("/connz?subs=1&cid=2").await;
    assert_eq!(
        listed["connections"][0]["subscriptions_list"],
        json!(["news.*"])
    );
    assert_eq!(listed["total"], 1);
    assert_eq!(
        names(&served.get("/connz?sort=msgs_to").await),
        ["reader", "planner"]
    );
    assert_eq!(
        names(&served.get("/connz?sort=bytes_from").await),
        ["planner", "reader"]
    );
    assert_eq!(
        names(&served.get("/connz?offset=1&limit=1").await),
        ["reader"]
    );
    for wrong in ["sort=size", "limit=x", "state=half", "sort=stop", "subs=2"] {
        assert_eq!(
            served.asked(&format!("/connz?{wrong}")).await.0,
            400,
            "{wrong}"
        );
    }

    let varz = served.get("/varz").await;
    for (field, expected) in [
        ("connections", json!(2)),
        ("total_connections", json!(2)),
        ("in_msgs", json!(2)),
        ("in_bytes", json!(8)),
        ("out_msgs", json!(1)),
        ("out_bytes", json!(5)),
        ("subscriptions", json!(2)),
        ("slow_consumers", json!(0)),
        ("port", json!(served.client.port())),
        ("http_port", json!(served.http.port())),
        ("max_payload", json!(1 << 20)),
    ] {
        assert_eq!(varz[field], expected, "{field}");
    }
    let subsz = served.get("/subsz?subs=1").await;
    assert_eq!(
        (&subsz["num_subscriptions"], &subsz["total"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(subsz["subscriptions_list"][1]["subject"], "news.*");

    drop(reader);
    let gone = served
        .get_until("/connz?state=closed", |connz| connz["total"] == 1)
        .await;
    let gone = &gone["connections"][0];
    assert_eq!(
        (&gone["name"], &gone["reason"]),
        (&json!("reader"), &json!("Client Closed"))
    );
    assert!(gone["stop"].is_string() && gone["out_msgs"] == 1);
    assert_eq!(served.get("/connz?state=any").await["total"], 2);
    // What it has had is not forgotten.
    assert_eq!(served.get("/varz").await["out_bytes"], 5);
    drop(planner);
}

#[tokio::test]
async fn a_slow_consumer_is_cut_off_and_counted_and_its_neighbour_has_everything() {
    let config = GatewayConfig {
        mailbox: MailboxConfig {
            bytes_max: Count::of::<{ 1 << 20 }>(),
            overflow: Overflow::Disconnect,
            ..MailboxConfig::default()
        },
        ..GatewayConfig::default()
    };
    let served = Served::start(config).await;
    let mut slow = served.client("slow").await;
    slow.tell("SUB news 1\r\n").await;
    let mut neighbour = served.client("neighbour").await;
    neighbour.tell("SUB news 1\r\n").await;
    let mut publisher = served.client("publisher").await;
    let payload = "x".repeat(100_000);
    let publish = format!("PUB news 100000\r\n{payload}\r\n").repeat(300);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        for _ in 0..300 {
            assert_eq!(neighbour.line().await, "MSG news 1 100000");
            assert_eq!(neighbour.line().await.len(), 100_000);
        }
        neighbour
    });
    publisher.tell(&publish).await;
    let read = timeout(SOON, reading.join_next()).await.unwrap();
    let _neighbour = read.unwrap().unwrap();
    let gone = served
        .get_until("/connz?state=closed", |connz| connz["total"] == 1)
        .await;
    let gone = &gone["connections"][0];
    assert_eq!(gone["name"], "slow");
    assert_eq!(gone["reason"], "Slow Consumer (Pending Bytes)");
    assert_eq!(served.get("/varz").await["slow_consumers"], 1);
    assert_eq!(served.get("/varz").await["connections"], 2);
    let metrics = reqwest::get(format!("http://{}/metrics", served.http))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("\ntidings_slow_consumers_total 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\ntidings_clients 2\n"), "{metrics}");
    drop(slow);
}

#[tokio::test]
async fn of_those_that_went_and_those_that_are_there_so_many_are_told_and_no_more() {
    let served = Served::start(GatewayConfig::default()).await;
    for _ in 0..1_030 {
        drop(TcpStream::connect(served.client).await.unwrap());
    }
    let closed = served
        .get_until("/connz?state=closed", |connz| connz["total"] == 1_000)
        .await;
    assert_eq!(closed["connections"].as_array().unwrap().len(), 1_000);
    served
        .get_until("/varz", |varz| {
            varz["connections"] == 0 && varz["total_connections"] == 1_030
        })
        .await;
    let listed = served.get("/connz?state=closed&limit=0").await;
    assert_eq!(listed["limit"], 1_024);
}

#[tokio::test]
async fn links_are_listed_as_routes_and_health_ends_when_the_node_drains() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let served = Served::of(cluster.nodes()[0].clone(), GatewayConfig::default()).await;
    let routez = served
        .get_until("/routez", |routez| routez["num_routes"] == 1)
        .await;
    let route = &routez["routes"][0];
    assert_eq!(
        (&route["remote_name"], &route["ip"]),
        (&json!("n2"), &json!("127.0.0.1"))
    );
    assert!(route["did_solicit"].is_boolean() && route["rtt"].is_string());
    assert_eq!(served.get("/healthz").await, json!({ "status": "ok" }));

    assert_eq!(served.get("/v1/drain").await["draining"], false);
    let url = format!("http://{}/v1/drain", served.http);
    let client = reqwest::Client::new();
    let by_page = client
        .post(&url)
        .header("origin", "http://localhost")
        .send();
    assert_eq!(by_page.await.unwrap().status(), 403);
    let asked = client.post(&url).send().await.unwrap();
    assert_eq!(asked.status(), 202);
    timeout(SOON, served.clients.drain_asked()).await.unwrap();
    served.clients.drain().await;
    let (status, health) = served.asked("/healthz").await;
    assert_eq!((status, &health["status"]), (503, &json!("unavailable")));
    assert_eq!(served.asked("/readyz").await.0, 503);
    assert_eq!(served.get("/v1/nodes").await[0]["draining"], true);
    served.node.leave().await;
}

/// As the tools of NATS read it: the names of the fields, and what kind of JSON is behind them. Answers of
/// NATS server 2.9.10 with one client are in `nats`, without what makes no sense here.
#[tokio::test]
async fn fields_have_the_names_and_types_of_the_nats_server() {
    let served = Served::start(GatewayConfig::default()).await;
    let mut client = served.client("one").await;
    client.tell("SUB a 1\r\n").await;
    for (path, theirs) in [
        ("/varz", include_str!("nats/varz.json")),
        ("/connz?subs=1", include_str!("nats/connz.json")),
        ("/subsz?subs=1", include_str!("nats/subsz.json")),
        ("/routez", include_str!("nats/routez.json")),
        ("/healthz", include_str!("nats/healthz.json")),
    ] {
        let theirs: Value = serde_json::from_str(theirs).unwrap();
        alike(path, &theirs, &served.get(path).await);
    }
}

/// Whether what there is has all that tools know, of the same type.
fn alike(place: &str, theirs: &Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs {
                let place = format!("{place} {name}");
                let own = ours
                    .get(name)
                    .unwrap_or_else(|| panic!("{place} is not there"));
                alike(&place, value, own);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let Some(one) = theirs.first() {
                assert!(!ours.is_empty(), "{place} is empty");
                alike(place, one, &ours[0]);
            }
        }
        (Value::Number(theirs), Value::Number(ours)) => {
            // A whole number may not have a fraction here.
            assert!(
                theirs.is_f64() || !ours.is_f64(),
                "{place}: {theirs} and {ours}"
            );
        }
        (theirs, ours) => {
            let kind = |value: &Value| std::mem::discriminant(value);
            assert_eq!(kind(theirs), kind(ours), "{place}: {theirs} and {ours}");
        }
    }
}
