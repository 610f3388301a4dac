//! HTTP as scripts and Prometheus use it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::{
    AgentName, Config, Count, Followed, Message, Metadata, Node, Pattern, SessionOptions,
    StreamEnd, StreamId, StreamOptions, Topic,
};
use tidings_sidecar::gateway::Clients;
use tidings_sidecar::{GatewayConfig, HttpConfig, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longer than the server waits for anything.
const SOON: Duration = Duration::from_secs(30);

struct Served {
    node: Node,
    addr: SocketAddr,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(HttpConfig::default()).await
    }

    async fn start_with(http: HttpConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Config {
            name: Some("n1".parse().unwrap()),
            ..Config::default()
        };
        let node = Node::start(config, None).await.unwrap();
        let clients = Clients::new(&node, GatewayConfig::default(), None);
        http::serve(&node, listener, http, &clients);
        Self { node, addr }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.addr))
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// What is answered to these bytes, up to the end of the connection.
    async fn answer(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(SOON, read).await.expect("an end").unwrap();
        answer
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
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
        "clients": [], "draining": false, "link": null,
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
            json!([{ "node": "n1", "member": member, "agent": "planner", "metadata": {}, "queue": null }]),
        )
    };
    let members = served.json("/v1/topics/resource:weather:sf/members").await;
    assert_eq!(members, is(&weather));
    let does = Metadata::parse(r#"{"does": "forecasts"}"#).unwrap();
    session.update(weather, does).unwrap();
    let (_, members) = served.json("/v1/topics/resource:weather:sf/members").await;
    assert_eq!(members[0]["metadata"], json!({ "does": "forecasts" }));
    session.update(weather, Metadata::default()).unwrap();
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
        ("/v1/topics/a..b/explain", 400),
        ("/v1/topics/a/explain?scope=", 400),
        ("/v1/topics/a/explain?timeout=1h", 400),
        ("/v1/topics/a..b", 400),
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

#[tokio::test]
async fn long_lists_come_in_pages_and_each_says_where_the_next_is() {
    let served = Served::start().await;
    let (session, _inbox) = served.node.session(SessionOptions::default()).unwrap();
    let mut expected = Vec::new();
    for number in 0..25 {
        let topic = format!("t/{number:02}.>");
        session.subscribe(&Pattern::parse(&topic).unwrap()).unwrap();
        expected.push(topic);
    }
    let mut members: Vec<_> = (0..25)
        .map(|_| session.subscribe(&Pattern::parse("a?b").unwrap()).unwrap())
        .map(|member| member.to_string())
        .collect();
    members.sort();
    expected.insert(0, "a?b".into());

    let pages = async |first: &str, key: &str| {
        let (mut path, mut sizes, mut seen) = (first.to_owned(), Vec::new(), Vec::new());
        loop {
            let response = reqwest::get(format!("http://{}{path}", served.addr)).await;
            let response = response.unwrap();
            assert_eq!(response.headers()["content-type"], "application/json");
            let link = response.headers().get("link").cloned();
            let page: Vec<Value> = response.json().await.unwrap();
            sizes.push(page.len());
            let name = |item: &Value| item[key].as_str().unwrap().to_owned();
            seen.extend(page.iter().map(name));
            let Some(link) = link else {
                return (sizes, seen);
            };
            let (next, relation) = link.to_str().unwrap().split_once('>').unwrap();
            assert_eq!(relation, "; rel=\"next\"");
            path = next.strip_prefix('<').unwrap().to_owned();
        }
    };
    let (sizes, topics) = pages("/v1/topics?limit=10", "topic").await;
    assert_eq!((sizes, topics), (vec![10, 10, 6], expected.clone()));
    assert_eq!(pages("/v1/topics", "topic").await, (vec![26], expected));
    let path = "/v1/topics/a%3Fb/members?limit=5";
    let (sizes, seen) = pages(path, "member").await;
    assert_eq!((sizes, seen), (vec![5; 5], members));
    for wrong in ["limit=0", "limit=10001", "limit=x", "after=x"] {
        assert_eq!(
            served.json(&format!("/v1/topics?{wrong}")).await.0,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn pages_of_strangers_in_a_browser_get_nothing() {
    let served = Served::start_with(HttpConfig {
        http_hosts: vec!["node.internal".into()],
        ..HttpConfig::default()
    })
    .await;
    let status = async |headers: &str| {
        let request = format!("GET /v1/nodes HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let answer = served.answer(&request).await;
        let is_told = answer.contains("incarnation");
        (answer[9..12].to_owned(), is_told)
    };
    for good in ["localhost", "127.0.0.1:8222", "node.internal"] {
        let told = status(&format!("host: {good}\r\n")).await;
        assert_eq!(told, ("200".into(), true), "{good}");
    }
    let told = status("host: evil.example\r\n").await;
    assert_eq!(told, ("421".into(), false));
    let told = status("host: localhost\r\nsec-fetch-site: cross-site\r\n").await;
    assert_eq!(told, ("403".into(), false));
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let served = Served::start_with(HttpConfig {
        http_connections_max: Count::of::<4>(),
        ..HttpConfig::default()
    })
    .await;
    let mut silent = Vec::new();
    for number in 0..20 {
        let mut stream = served.connect().await;
        if number % 2 == 0 {
            stream
                .write_all(b"GET /livez HTTP/1.1\r\nhost: loc")
                .await
                .unwrap();
        }
        silent.push(stream);
    }
    for _ in 0..10 {
        assert_eq!(served.get("/livez").await.0, 200);
    }
    // The oldest of them made room.
    let mut rest = Vec::new();
    let read = silent[0].read_to_end(&mut rest);
    let _ = timeout(SOON, read).await.expect("it has been closed");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn who_does_not_finish_its_request_is_closed() {
    let served = Served::start().await;
    let mut half = served.connect().await;
    half.write_all(b"GET /livez HTTP/1.1\r\nhost: loc")
        .await
        .unwrap();
    let mut silent = served.connect().await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    for stream in [&mut half, &mut silent, &mut idle] {
        let mut rest = Vec::new();
        timeout(SOON, stream.read_to_end(&mut rest))
            .await
            .expect("an end")
            .unwrap();
    }
}

#[tokio::test]
async fn what_a_topic_is_for_is_set_and_told() {
    let served = Served::start().await;
    let client = reqwest::Client::new();
    let put = async |path: &str, body: Value| {
        let url = format!("http://{}{path}", served.addr);
        let answer = client.put(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    let (_, before) = served.json("/v1/topics/kb.updates").await;
    let empty = json!({ "scope": "default", "topic": "kb.updates", "members": 0, "local": 0 });
    assert_eq!(before, empty);

    let told = json!({ "description": "pages that changed", "owner": "kb" });
    let (status, answer): (_, Value) = put("/v1/topics/kb.updates", told).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["info"]["owner"], "kb");
    assert_eq!(answer["info"]["set_on"], "n1");
    assert_eq!(
        served.json("/v1/topics/kb.updates").await,
        (200, answer.clone())
    );
    let described = served.json("/v1/topics?described=true").await;
    assert_eq!(described, (200, json!([answer])));
    assert_eq!(
        served.json("/v1/topics").await,
        (200, json!([])),
        "it has no members"
    );
    let elsewhere = served.json("/v1/topics/kb.updates?scope=other").await;
    assert_eq!(elsewhere.1["info"], Value::Null);

    // What cannot be is refused, and changes nothing.
    for (path, body, problem) in [
        ("/v1/topics/kb.*", json!({}), "wildcard"),
        ("/v1/topics/kb", json!({ "owners": "x" }), "unknown field"),
        (
            "/v1/topics/kb",
            json!({ "owner": "a\nb" }),
            "the owner of a topic",
        ),
        (
            "/v1/topics/kb",
            json!({ "owner": "x".repeat(300) }),
            "1 to 256 bytes",
        ),
        (
            "/v1/topics/kb",
            json!({ "owner": "x".repeat(70_000) }),
            "length limit",
        ),
    ] {
        let (status, answer) = put(path, body).await;
        assert!((400..500).contains(&status), "{status} {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(problem), "{error}");
    }
    let (_, answer) = put("/v1/topics/kb.updates", json!({})).await;
    assert_eq!(answer, empty, "what is not given is told no more");
    assert_eq!(served.json("/v1/topics?described=true").await.1, json!([]));
}

/// What is read of a connection up to this text.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "it ended");
        }
    };
    let read_all = timeout(SOON, reading).await;
    let read = String::from_utf8_lossy(&read).into_owned();
    read_all.unwrap_or_else(|_| panic!("no {text:?} in {read:?}"));
    read
}

#[tokio::test]
async fn a_stream_is_told_as_events_from_where_the_browser_was() {
    let served = Served::start().await;
    let (session, _inbox) = served.node.session(SessionOptions::default()).unwrap();
    let mut writer = session.stream(StreamOptions::default()).unwrap();
    writer.push("it is\n").unwrap();
    let id = writer.id().to_string();
    let path = format!("/v1/streams/{id}");
    let mut early = served.connect().await;
    let ask = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
    };
    early.write_all(ask(&path, "").as_bytes()).await.unwrap();
    let first = read_until(&mut early, "id: 1\n\n").await;
    assert!(first.contains("content-type: text/event-stream"), "{first}");
    assert!(first.contains("data: it is\ndata: \nid: 1\n\n"), "{first}");
    writer.push("sunny").unwrap();
    read_until(&mut early, "data: sunny\nid: 2\n\n").await;
    writer.fail("enough");
    let end = r#"data: {"error":"enough","offset":2,"state":"failed"}"#;
    read_until(&mut early, end).await;

    let rest = format!("data: sunny\nid: 2\n\nevent: end\n{end}\nid: end\n\n");
    let late = served.answer(&ask(&path, "last-event-id: 1\r\n")).await;
    let whole = format!("data: it is\ndata: \nid: 1\n\n{rest}");
    assert_eq!(served.get(&path).await, (200, whole));
    assert!(late.contains("sunny") && !late.contains("it is"), "{late}");
    assert_eq!(served.get(&format!("{path}?from=1")).await, (200, rest));
    let again = ask(&path, "connection: close\r\nlast-event-id: end\r\n");
    let again = served.answer(&again).await;
    assert!(again.starts_with("HTTP/1.1 204"), "it comes no more");
    for (path, status) in [
        ("/v1/streams/n1".to_owned(), 400),
        (format!("{path}0"), 404),
        (format!("{path}?scope=other"), 404),
        (format!("{path}?from=x"), 400),
    ] {
        assert_eq!(served.get(&path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_body_is_a_stream_as_it_comes_and_has_aborted_if_it_has_no_end() {
    let served = Served::start().await;
    let (session, _inbox) = served.node.session(SessionOptions::default()).unwrap();
    for is_whole in [true, false] {
        let mut caller = served.connect().await;
        let head =
            "POST /v1/streams HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        caller.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let named = answer
            .lines()
            .find_map(|l| l.strip_prefix("tidings-stream: "));
        let id = StreamId::parse(named.unwrap()).unwrap();
        assert!(answer.contains(&format!("location: /v1/streams/{id}")));
        let mut following = session.follow(&id, 0).unwrap();
        // The second ends within a character, which is waited for.
        let parts: [(&[u8], &str); 3] = [
            (b"3\r\nit \r\n", "it "),
            (b"4\r\nis\xe2\x82\r\n", "is"),
            (b"1\r\n\xac\r\n", "\u{20ac}"),
        ];
        for (part, expected) in parts {
            caller.write_all(part).await.unwrap();
            let next = timeout(SOON, following.next()).await.unwrap().unwrap();
            assert!(
                matches!(&next, Followed::Chunk { bytes, .. } if bytes == expected),
                "{next:?}"
            );
        }
        if is_whole {
            caller.write_all(b"0\r\n\r\n").await.unwrap();
            let told = format!(r#"{{"chunks":3,"state":"complete","stream":"{id}"}}"#);
            read_until(&mut caller, &told).await;
        }
        drop(caller);
        let end = timeout(SOON, following.next()).await.unwrap().unwrap();
        let expected = if is_whole {
            StreamEnd::Complete
        } else {
            StreamEnd::Aborted
        };
        assert_eq!(end, Followed::End(expected));
    }
}
