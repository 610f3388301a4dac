//! HTTP as a way to take part: publishing, and watching who is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::{
    Config, Count, Delivery, Inbox, Limits, MailboxConfig, Metadata, Node, Overflow, Pattern,
    Scope, Session, SessionOptions,
};
use tidings_sidecar::gateway::Clients;
use tidings_sidecar::{GatewayConfig, HttpConfig, http};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// Longer than the server waits for anything.
const SOON: Duration = Duration::from_secs(60);

struct Served {
    node: Node,
    addr: SocketAddr,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(Config::default(), HttpConfig::default()).await
    }

    async fn start_with(config: Config, http: HttpConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Config {
            name: Some("n1".parse().unwrap()),
            ..config
        };
        let node = Node::start(config, None).await.unwrap();
        let clients = Clients::new(&node, GatewayConfig::default(), None);
        http::serve(&node, listener, http, &clients);
        Self { node, addr }
    }

    /// A session in this scope that subscribes to these.
    fn subscriber(&self, scope: &str, patterns: &[&str]) -> (Session, Inbox) {
        let options = SessionOptions {
            scope: scope.parse().unwrap(),
            ..SessionOptions::default()
        };
        let (session, inbox) = self.node.session(options).unwrap();
        for pattern in patterns {
            session.subscribe(&pattern.parse().unwrap()).unwrap();
        }
        (session, inbox)
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut request = reqwest::Client::new().post(format!("http://{}{path}", self.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn watch(&self, query: &str) -> Events {
        let url = format!("http://{}/v1/watch{query}", self.addr);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events {
            answer,
            text: String::new(),
        }
    }
}

struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    /// The data of the next event; none at the end.
    async fn next(&mut self) -> Option<Value> {
        timeout(SOON, self.wait()).await.expect("an event")
    }

    async fn wait(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let Some(lines) = event.strip_prefix("event: ") else {
                    assert_eq!(event, ":", "a comment");
                    continue;
                };
                let (name, data) = lines.split_once("\ndata: ").unwrap();
                let data: Value = serde_json::from_str(data).unwrap();
                assert_eq!(data["event"], name);
                return Some(data);
            }
            let more = self.answer.chunk().await.unwrap();
            self.text += std::str::from_utf8(&more?).unwrap();
        }
    }

    /// The names and topics of the members in the snapshot, in all its parts.
    async fn snapshot(&mut self) -> Vec<String> {
        let mut topics = Vec::new();
        loop {
            let part = self.next().await.unwrap();
            assert_eq!(part["event"], "snapshot", "{part}");
            for member in part["members"].as_array().unwrap() {
                topics.push(member["topic"].as_str().unwrap().to_owned());
            }
            if part["more"] == false {
                topics.sort();
                return topics;
            }
        }
    }

    /// What changed next: its name and its topic.
    async fn change(&mut self) -> (String, String) {
        let event = self.next().await.unwrap();
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        (text("event"), text("topic"))
    }
}

async fn payload(inbox: &mut Inbox) -> String {
    match timeout(SOON, inbox.recv()).await.unwrap().unwrap() {
        Delivery::Message { message, .. } => String::from_utf8(message.payload.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn change(event: &str, topic: &str) -> (String, String) {
    (event.to_owned(), topic.to_owned())
}

#[tokio::test]
async fn what_is_posted_to_a_topic_is_published_there_and_the_answer_says_who_took_it() {
    let served = Served::start().await;
    let (_session, mut inbox) = served.subscriber("default", &["a", "*"]);
    let (_other, mut elsewhere) = served.subscriber("staging", &["a"]);
    let (status, receipt) = served.post("/v1/topics/a", &[], r#"{"c":18}"#).await;
    assert_eq!(
        (status, receipt),
        (200, json!({ "local": 2, "nodes": 0, "dropped": 0 }))
    );
    assert_eq!(payload(&mut inbox).await, r#"{"c":18}"#);
    assert_eq!(payload(&mut inbox).await, r#"{"c":18}"#);

    let staging = served
        .post("/v1/topics/a?scope=staging", &[], "there")
        .await;
    assert_eq!(staging.1["local"], 1);
    assert_eq!(payload(&mut elsewhere).await, "there");

    let kinds = [("content-type", "text/plain"), ("tidings-trace", "7")];
    served.post("/v1/topics/a?reach=local", &kinds, "").await;
    let Delivery::Message { message, .. } = inbox.recv().await.unwrap() else {
        panic!("no message");
    };
    assert_eq!(message.headers.get("Content-Type"), Some("text/plain"));
    assert_eq!(message.headers.get("Tidings-Trace"), Some("7"));
    assert!(message.payload.is_empty());

    let nobody = served.post("/v1/topics/nobody.here", &[], "x").await;
    assert_eq!(
        nobody,
        (200, json!({ "local": 0, "nodes": 0, "dropped": 0 }))
    );
    let own = served.post("/v1/topics/a?node=n1", &[], "direct").await;
    assert_eq!(own.1["local"], 2);
}

#[tokio::test]
async fn who_posts_can_name_one_member_or_learn_what_became_of_it_with_each() {
    let served = Served::start().await;
    let (_one, mut first) = served.subscriber("default", &["a"]);
    let (_other, mut second) = served.subscriber("default", &["a"]);
    let members = served
        .node
        .members(&Scope::default(), &"a".parse().unwrap());
    let ids: Vec<_> = members.iter().map(|one| one.member.to_string()).collect();
    for (id, text) in ids.iter().zip(["one", "two"]) {
        let path = format!("/v1/topics/a?member={id}");
        let (status, receipt) = served.post(&path, &[], text).await;
        assert_eq!((status, &receipt["local"]), (200, &json!(1)));
    }
    let (status, answer) = served.post("/v1/topics/a?assured=5s", &[], "all").await;
    assert_eq!((status, &answer["complete"]), (200, &json!(true)));
    let outcomes = answer["members"].as_array().unwrap();
    let mut told: Vec<_> = outcomes
        .iter()
        .map(|one| one["member"].as_str().unwrap())
        .collect();
    told.sort_unstable();
    assert_eq!(told, ids);
    assert!(outcomes.iter().all(|one| one["outcome"] == "taken"));
    let mut heard = Vec::new();
    for inbox in [&mut first, &mut second] {
        heard.push(payload(inbox).await);
        assert_eq!(payload(inbox).await, "all");
    }
    heard.sort_unstable();
    assert_eq!(heard, ["one", "two"], "each of them one");
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_with_its_reason_and_nobody_gets_it() {
    let config = Config {
        limits: Limits {
            payload_bytes_max: Count::of::<100>(),
            ..Limits::default()
        },
        ..Config::default()
    };
    let served = Served::start_with(config, HttpConfig::default()).await;
    let (_session, mut inbox) = served.subscriber("default", &[">"]);
    let long = "x".repeat(101);
    for (path, headers, body, expected) in [
        ("/v1/topics/a", &[][..], &*long, (413, "payload_bytes_max")),
        ("/v1/topics/a.*", &[], "x", (400, "wildcard")),
        ("/v1/topics/a..b", &[], "x", (400, "empty token")),
        (
            "/v1/topics/$TIDINGS.presence.a",
            &[],
            "{}",
            (400, "the node's own"),
        ),
        ("/v1/topics/a?scope=a/b", &[], "x", (400, "scope")),
        ("/v1/topics/a?reach=all", &[], "x", (400, "reach")),
        ("/v1/topics/a?node=n7", &[], "x", (404, "n7")),
        (
            "/v1/topics/a?node=n1&reach=local",
            &[],
            "x",
            (400, "only one"),
        ),
        ("/v1/topics/a?member=me", &[], "x", (400, "\"me\"")),
        (
            "/v1/topics/a?member=01b8dac5-b60c-7410-9636-cbfd696b393a",
            &[],
            "x",
            (404, "no member"),
        ),
        ("/v1/topics/a?assured=1h", &[], "x", (400, "1h")),
        (
            "/v1/topics/a?assured=1s&reach=local",
            &[],
            "x",
            (400, "all members"),
        ),
        ("/v1/topics/a", &[("tidings-node", "n7")], "x", (404, "n7")),
        (
            "/v1/topics/a",
            &[("tidings-reach", "x")],
            "x",
            (400, "reach"),
        ),
        // Pages in a browser: of another site, of a file, of one that calls itself as the node.
        (
            "/v1/topics/a",
            &[("origin", "http://evil")],
            "x",
            (403, "page"),
        ),
        ("/v1/topics/a", &[("origin", "null")], "x", (403, "page")),
        (
            "/v1/topics/a",
            &[("sec-fetch-site", "same-origin")],
            "x",
            (403, "page"),
        ),
    ] {
        let (status, answer) = served.post(path, headers, body).await;
        let reason = answer["error"].as_str().unwrap();
        assert_eq!(status, expected.0, "{path}: {answer}");
        assert!(reason.contains(expected.1), "{path}: {reason}");
    }
    served.post("/v1/topics/a", &[], "last").await;
    assert_eq!(payload(&mut inbox).await, "last", "nothing came before");
}

#[tokio::test]
async fn one_caller_after_another_publishes_in_that_order_and_waits_for_who_reads() {
    let served = Served::start().await;
    let options = SessionOptions {
        mailbox: MailboxConfig {
            messages_max: Count::of::<8>(),
            overflow: Overflow::DropNewest,
            ..MailboxConfig::default()
        },
        ..SessionOptions::default()
    };
    let (session, mut inbox) = served.node.session(options).unwrap();
    session.subscribe(&"a".parse().unwrap()).unwrap();
    let read = async {
        for number in 0..100 {
            assert_eq!(payload(&mut inbox).await, number.to_string());
            // Slower than it is posted.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let publish = async {
        for number in 0..100 {
            // Each on a connection of its own, as curl does.
            let body = number.to_string();
            let receipt = served.post("/v1/topics/a", &[], &body).await.1;
            assert_eq!(receipt["dropped"], 0, "at {number}");
        }
    };
    tokio::join!(read, publish);
}

#[tokio::test]
async fn a_slow_body_keeps_nobody_out() {
    let http = HttpConfig {
        http_connections_max: Count::of::<4>(),
        ..HttpConfig::default()
    };
    let served = Served::start_with(Config::default(), http).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        let head = "POST /v1/topics/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nx";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..4 {
        assert_eq!(served.post("/v1/topics/a", &[], "x").await.0, 200);
    }
}

#[tokio::test]
async fn who_watches_gets_the_snapshot_and_then_each_change_of_what_is_watched() {
    let served = Served::start().await;
    let (session, _inbox) = served.subscriber("default", &["kb.updates", "weather.sf", ">"]);
    let (_other, _elsewhere) = served.subscriber("staging", &["kb.updates"]);
    let mut all = served.watch("").await;
    let mut topic = served.watch("?topic=kb.updates").await;
    let mut pattern = served.watch("?topic=weather.*&scope=default").await;
    let mut scope = served.watch("?scope=staging").await;
    let mut nodes = served.watch("?nodes=true").await;
    let everything = [">", "kb.updates", "kb.updates", "weather.sf"];
    assert_eq!(all.snapshot().await, everything);
    assert_eq!(topic.snapshot().await, [">", "kb.updates"]);
    assert_eq!(pattern.snapshot().await, [">", "weather.sf"]);
    assert_eq!(scope.snapshot().await, ["kb.updates"]);
    let first = nodes.next().await.unwrap();
    assert_eq!(first["nodes"][0]["node"], "n1");
    assert_eq!(first["members"], json!([]));

    let joined = session.subscribe(&"weather.ny".parse().unwrap()).unwrap();
    assert_eq!(all.change().await, change("joined", "weather.ny"));
    assert_eq!(pattern.change().await, change("joined", "weather.ny"));
    let metadata = Metadata::parse(r#"{"c":18}"#).unwrap();
    session.update(joined, metadata).unwrap();
    assert_eq!(all.change().await, change("updated", "weather.ny"));
    let updated = pattern.next().await.unwrap();
    assert_eq!(updated["metadata"], json!({ "c": 18 }));
    session.unsubscribe(joined).unwrap();
    assert_eq!(all.change().await, change("left", "weather.ny"));
    let (_late, _inbox) = served.subscriber("staging", &["late"]);
    assert_eq!(scope.change().await, change("joined", "late"));
    session.subscribe(&"kb.>".parse().unwrap()).unwrap();
    assert_eq!(topic.change().await, change("joined", "kb.>"));

    for wrong in ["?topic=a..b", "?scope=", "?nodes=true&topic=a", "?nodes=x"] {
        let url = format!("http://{}/v1/watch{wrong}", served.addr);
        let status = reqwest::get(url).await.unwrap().status();
        assert_eq!(status.as_u16(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_long_snapshot_comes_in_parts_and_nothing_falls_in_between() {
    let served = Served::start().await;
    let patterns: Vec<_> = (0..2_500).map(|n| format!("t.{n:04}")).collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    let (session, _inbox) = served.subscriber("default", &patterns);
    let mut events = served.watch("?topic=t.*").await;
    // Between the snapshot and what is read of it.
    session.subscribe(&"t.late".parse().unwrap()).unwrap();
    assert_eq!(events.snapshot().await, patterns);
    assert_eq!(events.change().await, change("joined", "t.late"));
}

#[tokio::test]
async fn watchers_are_not_idle_and_leave_half_of_the_connections_to_others() {
    let http = HttpConfig {
        http_connections_max: Count::of::<8>(),
        ..HttpConfig::default()
    };
    let served = Served::start_with(Config::default(), http).await;
    let mut watchers = Vec::new();
    for _ in 0..4 {
        let mut events = served.watch("").await;
        assert!(events.snapshot().await.is_empty());
        watchers.push(events);
    }
    let url = format!("http://{}/v1/watch", served.addr);
    let refused = reqwest::get(url).await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(served.addr).await.unwrap());
        let answer = reqwest::get(format!("http://{}/livez", served.addr)).await;
        assert_eq!(answer.unwrap().status().as_u16(), 200);
    }
    let (_session, _inbox) = served.subscriber("default", &["a"]);
    for events in &mut watchers {
        assert_eq!(events.change().await, change("joined", "a"));
    }
    // Who has gone makes room.
    watchers.pop();
    let deadline = Instant::now() + SOON;
    loop {
        let again = reqwest::get(format!("http://{}/v1/watch", served.addr)).await;
        if again.unwrap().status().as_u16() == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "its place is not free again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn for_a_watcher_that_reads_nothing_nothing_is_kept_and_in_the_end_it_is_told_the_net_change()
{
    let served = Served::start().await;
    let (session, _inbox) = served.subscriber("default", &["first"]);
    let mut events = served.watch("").await;
    let long = "x".repeat(200);
    let topics: Vec<Pattern> = (0..500)
        .map(|number| format!("{long}.{number}").parse().unwrap())
        .collect();
    // If each change were told, that were some 20 MB, several times what fits between the two.
    for _ in 0..60 {
        let joined = session.subscribe_many(&topics).into_iter();
        tokio::time::sleep(Duration::from_millis(15)).await;
        session.unsubscribe_many(joined.map(Result::unwrap));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    session.subscribe(&"last".parse().unwrap()).unwrap();
    let deadline = Instant::now() + SOON;
    let mut members = BTreeSet::from_iter(events.snapshot().await);
    let mut told = 0;
    while !members.contains("last") {
        let (event, topic) = events.change().await;
        assert!(Instant::now() < deadline, "not told in time: {told} so far");
        let is_change = match &*event {
            "joined" => members.insert(topic),
            "left" => members.remove(&topic),
            _ => false,
        };
        assert!(is_change, "{event}");
        told += 1;
        assert!(told < 36_000, "all of 60,000 changes are kept");
    }
    assert_eq!(members, ["first", "last"].map(String::from).into());
}

#[tokio::test]
async fn a_node_ends_while_somebody_watches_and_publishes() {
    let served = Served::start().await;
    let (_session, _inbox) = served.subscriber("default", &["a"]);
    let mut events = served.watch("").await;
    assert_eq!(events.snapshot().await, ["a"]);
    served.post("/v1/topics/a", &[], "x").await;
    let left = timeout(SOON, served.node.leave());
    let (left, end) = tokio::join!(left, events.next());
    left.expect("it has left");
    assert_eq!(end, None);
}

#[tokio::test]
async fn topics_are_listed_by_scope_in_pages() {
    let served = Served::start().await;
    let (_session, _inbox) = served.subscriber("staging", &["a", "b", "c"]);
    let (_before, _its) = served.subscriber("abc", &["z"]);
    let (_after, _others) = served.subscriber("tz", &["a"]);
    let (mut path, mut seen) = ("/v1/topics?scope=staging&limit=2".to_owned(), Vec::new());
    loop {
        let answer = reqwest::get(format!("http://{}{path}", served.addr)).await;
        let answer = answer.unwrap();
        let next = answer.headers().get("link").cloned();
        let page: Vec<Value> = answer.json().await.unwrap();
        seen.extend(
            page.iter()
                .map(|topic| topic["topic"].as_str().unwrap().to_owned()),
        );
        let Some(next) = next else { break };
        let next = next.to_str().unwrap().split_once('>').unwrap().0;
        path = next.strip_prefix('<').unwrap().to_owned();
    }
    assert_eq!(seen, ["a", "b", "c"]);
}
