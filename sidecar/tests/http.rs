//! HTTP as scripts and Prometheus use it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidings::{AgentName, Config, Message, Node, Pattern, SessionOptions, Topic};
use tidings_sidecar::http;
use tokio::net::TcpListener;

struct Served {
    node: Node,
    addr: SocketAddr,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Config {
            name: Some("n1".parse().unwrap()),
            ..Config::default()
        };
        let node = Node::start(config, None).await.unwrap();
        http::serve(&node, listener);
        Self { node, addr }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.addr))
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get(path).await;
        (status, serde_json::from_str(&text).unwrap())
    }
}

#[tokio::test]
async fn the_view_is_served_as_json() {
    let served = Served::start().await;
    let incarnation = served.node.incarnation();
    let nodes = json!([{
        "node": "n1", "incarnation": incarnation, "addr": null, "live": true, "self": true,
        "link": null,
    }]);
    assert_eq!(served.json("/v1/nodes").await, (200, nodes));
    assert_eq!(served.json("/v1/topics").await, (200, json!([])));

    let agent = AgentName::nearest("planner");
    let options = SessionOptions {
        agent,
        ..SessionOptions::default()
    };
    let (session, _inbox) = served.node.session(options).unwrap();
    let weather = session
        .subscribe(&Pattern::parse("resource:weather:sf").unwrap())
        .unwrap();
    let wild = session.subscribe(&Pattern::parse("kb.>").unwrap()).unwrap();
    let topics = json!([
        { "scope": "default", "topic": "kb.>", "members": 1, "local": 1 },
        { "scope": "default", "topic": "resource:weather:sf", "members": 1, "local": 1 },
    ]);
    assert_eq!(served.json("/v1/topics").await, (200, topics));
    let is = |member: &dyn ToString| {
        let member = member.to_string();
        (
            200,
            json!([{ "node": "n1", "member": member, "agent": "planner" }]),
        )
    };
    let members = served.json("/v1/topics/resource:weather:sf/members").await;
    assert_eq!(members, is(&weather));
    let members = served
        .json("/v1/topics/resource%3Aweather%3Asf/members?scope=default")
        .await;
    assert_eq!(members, is(&weather));
    assert_eq!(served.json("/v1/topics/kb.%3E/members").await, is(&wild));
    // Whoever subscribes to a matching pattern gets what is published.
    assert_eq!(
        served.json("/v1/topics/kb.updates/members").await,
        is(&wild)
    );
    let elsewhere = served
        .json("/v1/topics/kb.updates/members?scope=other")
        .await;
    assert_eq!(elsewhere, (200, json!([])));
    assert_eq!(
        served.json("/v1/topics/unknown/members").await,
        (200, json!([]))
    );
}

#[tokio::test]
async fn what_cannot_be_answered_says_why() {
    let served = Served::start().await;
    for (path, expected) in [
        ("/v1/topics/a..b/members", 400),
        ("/v1/topics/a%20b/members", 400),
        ("/v1/topics/%FF/members", 400),
        ("/v1/topics/a/members?scope=", 400),
        ("/v1/topics/a", 404),
        ("/", 404),
    ] {
        let (status, body) = served.json(path).await;
        assert_eq!(status, expected, "{path}: {body}");
        assert!(
            body["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
            "{path}: {body}"
        );
    }
    let url = format!("http://{}/v1/nodes", served.addr);
    let response = reqwest::Client::new().post(url).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 405);
}

#[tokio::test]
async fn a_node_that_has_nobody_to_find_is_ready() {
    let served = Served::start().await;
    assert_eq!(served.get("/livez").await.0, 200);
    assert_eq!(served.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn metrics_tell_what_was_delivered_and_what_was_lost() {
    let served = Served::start().await;
    let (session, mut inbox) = served.node.session(SessionOptions::default()).unwrap();
    session
        .subscribe(&Pattern::parse("secret.topic").unwrap())
        .unwrap();
    let topic = Topic::parse("secret.topic").unwrap();
    for _ in 0..3 {
        session.broadcast(Message::new(topic.clone(), "x")).unwrap();
    }
    inbox.recv().await.unwrap();
    let url = format!("http://{}/metrics", served.addr);
    let response = reqwest::get(&url).await.unwrap();
    let content_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    let text = response.text().await.unwrap();
    for line in [
        "tidings_broadcasts_total 3",
        r#"tidings_messages_sent_total{to="local"} 3"#,
        "tidings_messages_delivered_total 1",
        "tidings_broadcast_duration_seconds_count 3",
        "tidings_broadcast_subscribers_count 3",
        "tidings_sessions 1",
        "tidings_members 1",
        "tidings_topics 1",
        "tidings_peers 0",
        "tidings_links 0",
        r#"tidings_messages_dropped_total{reason="session_ended"} 0"#,
        r#"tidings_messages_dropped_total{reason="outbound_full"} 0"#,
        r#"tidings_gossip_messages_total{direction="in"} 0"#,
    ] {
        assert!(text.lines().any(|own| own == line), "no {line} in\n{text}");
    }
    assert!(text.contains("tidings_start_time_seconds ") && text.ends_with("# EOF\n"));
    assert!(!text.contains("secret"), "a topic became a label");
    // Each family is described once, as the format demands.
    let mut described: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let families = described.len();
    described.sort_unstable();
    described.dedup();
    assert_eq!(described.len(), families);

    drop((session, inbox));
    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let lost = r#"tidings_messages_dropped_total{reason="session_ended"} 2"#;
    assert!(
        text.lines().any(|line| line == lost),
        "no {lost} in\n{text}"
    );
}
