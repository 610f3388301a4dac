//! What payloads have to look like.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use tidings::{
    BroadcastError, Config, DescribeError, Inbox, LocalCluster, Message, Node, Receipt, Schema,
    Scope, Session, SessionOptions, TopicInfo,
};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

fn carrying(schema: &Value) -> TopicInfo {
    TopicInfo {
        json_schema: Some(Schema::parse(&schema.to_string()).unwrap()),
        ..TopicInfo::default()
    }
}

fn pages() -> Value {
    json!({
        "type": "object",
        "required": ["pages"],
        "properties": { "pages": { "type": "array", "items": { "$ref": "#/$defs/page" } } },
        "$defs": { "page": { "type": "integer", "minimum": 1 } },
    })
}

fn describe(node: &Node, topic: &str, info: TopicInfo) -> Result<(), DescribeError> {
    node.describe_topic(&Scope::default(), &topic.parse().unwrap(), info)
}

fn session(node: &Node) -> (Session, Inbox) {
    node.session(SessionOptions::default()).unwrap()
}

fn publish(session: &Session, topic: &str, payload: &str) -> Result<Receipt, BroadcastError> {
    let payload = payload.as_bytes().to_vec();
    session.broadcast(Message::new(topic.parse().unwrap(), payload))
}

#[tokio::test]
async fn what_does_not_fit_is_refused_at_its_publishers_node_which_says_where() {
    let cluster = LocalCluster::start(2).await.unwrap();
    let [here, there] = cluster.nodes() else {
        panic!("there are two");
    };
    let ((near, mut inbox), (far, _inbox)) = (session(here), session(there));
    near.subscribe(&"kb".parse().unwrap()).unwrap();
    describe(here, "kb", carrying(&pages())).unwrap();
    let refused = publish(&near, "kb", r#"{"pages": [1, 0]}"#).unwrap_err();
    let BroadcastError::Payload { pointer, problem } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(pointer, "/pages/1", "{problem}");

    let learnt = async {
        while publish(&far, "kb", "no JSON").is_ok() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, learnt).await.expect("the other learns of it");
    while inbox.try_recv().unwrap().is_some() {}
    let refused = publish(&far, "kb", "{}").unwrap_err();
    assert!(refused.to_string().contains("pages"), "{refused}");
    publish(&near, "kb", r#"{"pages": [1, 2]}"#).unwrap();
    publish(&near, "other", "anything").unwrap();
    assert!(timeout(SOON, inbox.recv()).await.unwrap().is_ok());

    // It is over when it is taken back.
    describe(here, "kb", TopicInfo::default()).unwrap();
    publish(&near, "kb", "no JSON").unwrap();
    cluster.leave().await;
}

#[tokio::test]
async fn a_schema_is_named_by_its_digest() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (session, _inbox) = session(&node);
    let schema = carrying(&json!({ "type": "integer" }));
    let digest = schema.json_schema.as_ref().unwrap().digest().to_string();
    let naming = TopicInfo {
        schema: Some(digest.clone()),
        ..TopicInfo::default()
    };
    describe(&node, "b", naming).unwrap();
    let refused = publish(&session, "b", "1").unwrap_err();
    assert!(refused.to_string().contains(&digest), "{refused}");
    describe(&node, "a", schema).unwrap();
    publish(&session, "b", "1").unwrap();
    assert!(publish(&session, "b", "\"x\"").is_err());

    // What is no digest is for people, and demands nothing.
    let address = TopicInfo {
        schema: Some("https://example.com/schema".into()),
        ..TopicInfo::default()
    };
    describe(&node, "b", address).unwrap();
    publish(&session, "b", "\"x\"").unwrap();
}

#[tokio::test]
async fn a_schema_that_cannot_be_used_is_refused_and_changes_nothing() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (session, _inbox) = session(&node);
    for (schema, problem) in [
        (json!({ "type": "no such type" }), "/type"),
        (json!({ "$ref": "https://example.com/s" }), "refers to"),
        (json!({ "$ref": "#" }), "refers to"),
        (json!({ "$schema": "https://example.com/draft" }), "draft"),
        (json!({ "pattern": "(?=a)b" }), "pattern"),
        (json!({ "pattern": "(\\w{100}){100}" }), "pattern"),
        (json!({ "enum": vec![0; 3_000] }), "parts"),
    ] {
        let refused = describe(&node, "a", carrying(&schema)).unwrap_err();
        assert!(matches!(refused, DescribeError::Schema { .. }), "{refused}");
        assert!(refused.to_string().contains(problem), "{refused}");
    }
    publish(&session, "a", "no JSON").unwrap();
}

#[tokio::test]
async fn no_schema_and_payload_take_long() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (session, _inbox) = session(&node);
    // Backtracking would take for ever; each part is held against each item.
    let part = json!({ "not": { "enum": [1, 2, 3] }, "pattern": "^(a+)+$" });
    let hostile = json!({ "items": { "allOf": vec![part; 30] }, "uniqueItems": true });
    describe(&node, "a", carrying(&hostile)).unwrap();
    let item = format!("\"{}!\",", "a".repeat(40));
    let mut longest = None;
    let mut items = 1;
    while items <= 4_096 {
        let payload = format!("[{}1]", item.repeat(items));
        let began = Instant::now();
        let refused = publish(&session, "a", &payload).unwrap_err();
        longest = longest.max(Some(began.elapsed()));
        assert!(
            matches!(refused, BroadcastError::Payload { .. }),
            "{refused}"
        );
        items *= 2;
    }
    // Far above what it takes, and far below what it would take without bounds.
    assert!(longest < Some(Duration::from_secs(5)), "{longest:?}");
    let refused = publish(&session, "a", &format!("[{}1]", item.repeat(4_096))).unwrap_err();
    assert!(refused.to_string().contains("are checked"), "{refused}");
}
