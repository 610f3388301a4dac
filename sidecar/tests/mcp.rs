//! The node as an MCP server, as agents use it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{join_all, select_all};
use rmcp::model::{
    CallToolRequestParams, ClientConfig, ProtocolVersion, ServerNotification, SubscriptionFilter,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService, Subscription,
    SubscriptionEnd,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use tidings::{
    Config as NodeConfig, Count, Limits, LocalCluster, Message, Node, SessionOptions,
    StreamOptions, StreamWriter,
};
use tidings_sidecar::identities::{IdentitiesConfig, hash_token};
use tidings_sidecar::{Config, McpConfig, Sidecar};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);
/// How long nothing is told when nothing has changed.
const QUIET: Duration = Duration::from_millis(200);

/// A node with HTTP.
struct Place {
    sidecar: Sidecar,
    addr: SocketAddr,
}

impl Place {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let node = Node::start(NodeConfig::default(), None).await.unwrap();
        Self::open(node, change).await
    }

    async fn open(node: Node, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            client: None,
            http: Some("127.0.0.1:0".parse().unwrap()),
            ..Config::default()
        };
        change(&mut config);
        let sidecar = Sidecar::open(node, &config).await.unwrap();
        let addr = sidecar.http_addr().unwrap();
        Self { sidecar, addr }
    }

    fn node(&self) -> &Node {
        self.sidecar.node()
    }

    fn agent(&self) -> Agent {
        self.agent_with(None)
    }

    fn agent_with(&self, token: Option<&'static str>) -> Agent {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/mcp", self.addr);
        Agent { http, url, token }
    }

    /// A client of the SDK.
    async fn client(
        &self,
        lifecycle: ClientLifecycleMode,
    ) -> RunningService<RoleClient, ClientConfig> {
        let url = format!("http://{}/mcp", self.addr);
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        let transport = StreamableHttpClientTransport::from_config(config);
        let client = ClientConfig::default().serve_with_lifecycle(transport, lifecycle);
        client.await.unwrap()
    }
}

fn newest() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

/// An agent that speaks the protocol by hand.
#[derive(Clone)]
struct Agent {
    http: reqwest::Client,
    url: String,
    token: Option<&'static str>,
}

impl Agent {
    fn request(&self, method: &str, name: &str, mut params: Value) -> reqwest::RequestBuilder {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "agent", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.http.post(&self.url).json(&body);
        let request = match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
            .header("mcp-name", name)
    }

    /// What a tool returns.
    async fn tool(&self, tool: &str, arguments: Value) -> Result<Value, String> {
        let params = json!({ "name": tool, "arguments": arguments });
        let sent = timeout(SOON, self.request("tools/call", tool, params).send());
        let answer: Value = sent
            .await
            .expect("an answer in time")
            .unwrap()
            .json()
            .await
            .unwrap();
        let result = &answer["result"];
        let text = result["content"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned();
        match result["isError"].as_bool() {
            Some(true) => Err(text),
            _ => {
                let told: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(told, result["structuredContent"], "both say the same");
                Ok(told)
            }
        }
    }

    async fn subscribe(&self, topic: &str) -> String {
        let subscribed = self.tool("subscribe", json!({ "topics": [topic] })).await;
        subscribed.unwrap()["inbox"].as_str().unwrap().to_owned()
    }

    async fn receive(&self, inbox: &str, seconds: u64) -> Result<Value, String> {
        let arguments = json!({ "inbox": inbox, "wait_seconds": seconds });
        self.tool("receive", arguments).await
    }

    async fn read(&self, uri: &str) -> Value {
        let answer = self.answer(uri).await;
        let text = answer["result"]["contents"][0]["text"].as_str();
        serde_json::from_str(text.unwrap_or_else(|| panic!("{answer}"))).unwrap()
    }

    /// What a resource is answered with.
    async fn answer(&self, uri: &str) -> Value {
        let request = self.request("resources/read", uri, json!({ "uri": uri }));
        let sent = timeout(SOON, request.send()).await;
        let answer = sent.expect("an answer in time").unwrap();
        answer.json().await.unwrap()
    }

    /// What is written of a stream, in base64 if it is no text, and what is said about that.
    async fn page(&self, uri: &str) -> (String, Value) {
        let answer = self.answer(uri).await;
        let contents = &answer["result"]["contents"];
        assert_eq!(contents[0]["uri"], uri, "{answer}");
        let (kind, content) = match contents[0]["mimeType"].as_str() {
            Some("text/plain") => ("", &contents[0]["text"]),
            Some("application/octet-stream") => ("base64 ", &contents[0]["blob"]),
            _ => panic!("{answer}"),
        };
        let content = format!("{kind}{}", content.as_str().unwrap());
        let about: Value = serde_json::from_str(contents[1]["text"].as_str().unwrap()).unwrap();
        let base = uri.split_once('?').map_or(uri, |(base, _)| base);
        let rest = format!("{base}?from={}", about["next"]);
        assert_eq!(contents[1]["uri"], rest);
        (content, about)
    }
}

fn payloads(received: &Value) -> Vec<&str> {
    let messages = received["messages"].as_array().unwrap().iter();
    messages
        .map(|own| own["payload"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn agents_of_two_nodes_find_each_other_and_talk() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let first = Place::open(cluster.nodes()[0].clone(), |_| ())
        .await
        .agent();
    let second = Place::open(cluster.nodes()[1].clone(), |_| ())
        .await
        .agent();
    let arguments = json!({
        "topics": ["builds.*", "news"], "agent": "planner", "metadata": { "does": "plans" },
    });
    let subscribed = first.tool("subscribe", arguments).await.unwrap();
    assert_eq!(subscribed["everywhere"], true);
    let inbox = subscribed["inbox"].as_str().unwrap();

    let members = second
        .tool("members", json!({ "topic": "builds.ui" }))
        .await;
    let members = members.unwrap();
    assert_eq!((&members["total"], members.get("next")), (&json!(1), None));
    let member = &members["members"][0];
    assert_eq!(member["agent"], "planner");
    assert_eq!(member["metadata"], json!({ "does": "plans" }));
    let topics = second
        .tool("topics", json!({ "items_max": 1 }))
        .await
        .unwrap();
    let topic = json!([{ "topic": "builds.*", "members": 1 }]);
    assert_eq!(
        (&topics["topics"], &topics["next"]),
        (&topic, &json!("builds.*"))
    );
    let rest = second
        .tool("topics", json!({ "after": "builds.*" }))
        .await
        .unwrap();
    assert_eq!(rest["topics"], json!([{ "topic": "news", "members": 1 }]));
    let nodes = second.tool("nodes", json!({})).await.unwrap();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2);

    let text = json!({ "topic": "builds.ui", "payload": "größe", "headers": [{ "name": "content-type", "value": "text/plain" }] });
    let published = second.tool("publish", text).await.unwrap();
    assert_eq!(published, json!({ "local": 0, "nodes": 1, "dropped": 0 }));
    let binary =
        json!({ "topic": "news", "payload": "AP8=", "encoding": "base64", "reply_to": "answers" });
    second.tool("publish", binary).await.unwrap();
    let mut messages = Vec::new();
    while messages.len() < 2 {
        let received = first.receive(inbox, 10).await.unwrap();
        messages.extend(received["messages"].as_array().unwrap().clone());
    }
    assert_eq!(
        messages,
        [
            json!({ "topic": "builds.ui", "payload": "größe", "encoding": "utf-8", "headers": [{ "name": "content-type", "value": "text/plain" }] }),
            json!({ "topic": "news", "payload": "AP8=", "encoding": "base64", "reply_to": "answers" }),
        ]
    );

    // Its own it does not get if it says as whom it publishes.
    let own = json!({ "topic": "news", "payload": "own", "inbox": inbox });
    assert_eq!(first.tool("publish", own).await.unwrap()["local"], 0);
    assert_eq!(
        first.receive(inbox, 0).await.unwrap(),
        json!({ "messages": [], "missed": 0, "more": false })
    );
    first
        .tool("unsubscribe", json!({ "inbox": inbox }))
        .await
        .unwrap();
    assert!(
        first
            .receive(inbox, 0)
            .await
            .unwrap_err()
            .contains("subscribe")
    );
    assert!(cluster.nodes()[0].local_topics().is_empty());
    cluster.leave().await;
}

#[tokio::test]
async fn an_agent_asks_and_another_answers() {
    let place = Place::start().await;
    let (asker, answerer) = (place.agent(), place.agent());
    let inbox = answerer.subscribe("sums").await;
    let asking = asker.tool("request", json!({ "topic": "sums", "payload": "6 * 7" }));
    let answering = async {
        let question = answerer.receive(&inbox, 10).await.unwrap();
        let reply_to = &question["messages"][0]["reply_to"];
        let answer = json!({ "topic": reply_to, "payload": "42", "inbox": inbox });
        answerer.tool("publish", answer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.unwrap()["answer"]["payload"], "42");
    let nobody = asker
        .tool("request", json!({ "topic": "products", "payload": "6 7" }))
        .await;
    assert!(nobody.unwrap_err().contains("nobody listens"));
    let silence = json!({ "topic": "sums", "payload": "?", "timeout_seconds": 1 });
    let silence = asker.tool("request", silence).await.unwrap_err();
    assert!(
        silence.contains("no answer on sums within 1000 ms"),
        "{silence}"
    );
}

/// Hosts call several tools at once, on one connection or on several.
#[tokio::test]
async fn who_receives_waits_for_a_message_while_others_are_served() {
    let place = Place::start().await;
    let agent = place.agent();
    let inbox = agent.subscribe("news").await;
    let begun = Instant::now();
    let nothing = agent.receive(&inbox, 1).await.unwrap();
    assert!(payloads(&nothing).is_empty() && begun.elapsed() >= Duration::from_secs(1));

    let waiting = join_all((0..3).map(|_| agent.receive(&inbox, 10)));
    let publishing = async {
        for number in 0..3 {
            let message = json!({ "topic": "news", "payload": number.to_string() });
            agent.tool("publish", message).await.unwrap();
        }
    };
    let begun = Instant::now();
    // What one takes the others do not get, so there is one more for those that are left over.
    let more = async {
        publishing.await;
        while begun.elapsed() < Duration::from_secs(9) {
            let message = json!({ "topic": "news", "payload": "more" });
            agent.tool("publish", message).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    let received = tokio::select! {
        received = waiting => received,
        () = more => panic!("one of them waits for ever"),
    };
    let received: Vec<Value> = received.into_iter().map(Result::unwrap).collect();
    let mut all: Vec<_> = received
        .iter()
        .flat_map(payloads)
        .filter(|own| *own != "more")
        .collect();
    all.sort_unstable();
    assert_eq!(all, ["0", "1", "2"], "each is received once");
}

#[tokio::test]
async fn who_goes_while_it_waits_takes_no_message_along() {
    let place = Place::start().await;
    let agent = place.agent();
    let inbox = agent.subscribe("news").await;
    let params = json!({ "name": "receive", "arguments": { "inbox": inbox, "wait_seconds": 60 } });
    let request = agent
        .request("tools/call", "receive", params)
        .build()
        .unwrap();
    let mut head = format!("POST /mcp HTTP/1.1\r\nhost: {}\r\n", place.addr);
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let body = request.body().unwrap().as_bytes().unwrap();
    head += &format!("content-length: {}\r\n\r\n", body.len());
    for _ in 0..5 {
        let mut stream = TcpStream::connect(place.addr).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        // It waits, and has said nothing yet.
        let said = timeout(Duration::from_millis(100), stream.read(&mut [0; 1])).await;
        assert!(said.is_err(), "{said:?}");
    }
    let begun = Instant::now();
    // Those that have gone do not stand in the way, and take nothing.
    let message = json!({ "topic": "news", "payload": "x" });
    sleep(Duration::from_millis(200)).await;
    agent.tool("publish", message).await.unwrap();
    assert_eq!(payloads(&agent.receive(&inbox, 10).await.unwrap()), ["x"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_an_inbox_had_no_room_for_is_told_as_missed() {
    let place = Place::start_with(|config| {
        config.http_server.mcp.mailbox.messages_max = Count::of::<3>();
    })
    .await;
    let agent = place.agent();
    let inbox = agent.subscribe("news").await;
    let (session, _inbox) = place.node().session(SessionOptions::default()).unwrap();
    for number in 0..10 {
        let message = Message::new("news".parse().unwrap(), number.to_string());
        session.broadcast(message).unwrap();
    }
    let first = json!({ "inbox": inbox, "messages_max": 2 });
    let first = agent.tool("receive", first).await.unwrap();
    assert_eq!(
        (payloads(&first), &first["missed"], &first["more"]),
        (vec!["7", "8"], &json!(7), &json!(true))
    );
    let rest = agent.receive(&inbox, 0).await.unwrap();
    assert_eq!(
        (payloads(&rest), &rest["missed"], &rest["more"]),
        (vec!["9"], &json!(0), &json!(false))
    );
}

const IDENTITIES: &str = r#"
    [[identities]]
    name = 'boss'
    role = 'boss'
    token = 'BOSS'
    [[identities]]
    name = 'worker'
    role = 'worker'
    token = 'WORKER'
    [roles.boss]
    view = "everything"
    scope = "shop"
    [roles.worker]
    publish = { allow = ["work.>"] }
    allow_responses = { max = 1, expires = "1m" }
    subscribe = { allow = ["work.>"] }
    scope = "shop"
"#;

fn identities() -> IdentitiesConfig {
    let text = IDENTITIES.replace("BOSS", &hash_token("boss"));
    toml::from_str(&text.replace("WORKER", &hash_token("worker"))).unwrap()
}

#[tokio::test]
async fn each_identity_does_what_it_may_and_has_inboxes_of_its_own() {
    let place = Place::start_with(|config| {
        config.access = identities();
        config.http_server.mcp.inboxes_per_identity_max = Count::of::<2>();
    })
    .await;
    let nobody = place
        .agent()
        .request("tools/list", "", json!({}))
        .send()
        .await;
    assert_eq!(nobody.unwrap().status().as_u16(), 401);
    let (boss, worker) = (
        place.agent_with(Some("boss")),
        place.agent_with(Some("worker")),
    );
    let inbox = worker.subscribe("work.a").await;
    assert_eq!(inbox.len(), 32);

    // What another has looks like what nobody has.
    let unknown = boss.receive(&"0".repeat(32), 0).await.unwrap_err();
    for handle in [&inbox[..], "", "nonsense"] {
        assert_eq!(boss.receive(handle, 0).await.unwrap_err(), unknown);
        let ended = boss.tool("unsubscribe", json!({ "inbox": handle })).await;
        assert_eq!(ended.unwrap_err(), unknown);
        let own = json!({ "topic": "work.a", "payload": "x", "inbox": handle });
        assert_eq!(boss.tool("publish", own).await.unwrap_err(), unknown);
    }

    for (tool, arguments) in [
        ("subscribe", json!({ "topics": ["work.b", "secret"] })),
        (
            "subscribe",
            json!({ "topics": ["work.b"], "scope": "default" }),
        ),
        ("publish", json!({ "topic": "secret", "payload": "x" })),
        (
            "publish",
            json!({ "topic": "work.a", "payload": "x", "scope": "default" }),
        ),
        ("request", json!({ "topic": "secret", "payload": "x" })),
        ("topics", json!({ "scope": "default" })),
        ("members", json!({ "topic": "work.a", "scope": "default" })),
    ] {
        let denied = worker.tool(tool, arguments.clone()).await.unwrap_err();
        assert!(
            denied.starts_with("Denied: "),
            "{tool} {arguments}: {denied}"
        );
    }
    let topics = boss
        .tool("topics", json!({ "scope": "shop" }))
        .await
        .unwrap();
    assert_eq!(
        topics["topics"],
        json!([{ "topic": "work.a", "members": 1 }]),
        "a refused one left nothing"
    );

    // It may answer what came to its inbox, and only as that.
    let question = json!({ "topic": "work.a", "payload": "?" });
    let answering = async {
        let received = worker.receive(&inbox, 10).await.unwrap();
        let answer = json!({ "topic": received["messages"][0]["reply_to"], "payload": "!" });
        let denied = worker.tool("publish", answer.clone()).await.unwrap_err();
        assert!(denied.starts_with("Denied: "), "{denied}");
        let mut answer = answer;
        answer["inbox"] = inbox.clone().into();
        worker.tool("publish", answer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(boss.tool("request", question), answering);
    assert_eq!(answer.unwrap()["answer"]["payload"], "!");

    worker.subscribe("work.b").await;
    let third = json!({ "topics": ["work.c"] });
    let many = worker.tool("subscribe", third.clone()).await.unwrap_err();
    assert!(many.contains("mcp.inboxes_per_identity_max"), "{many}");
    worker
        .tool("unsubscribe", json!({ "inbox": inbox }))
        .await
        .unwrap();
    worker.tool("subscribe", third).await.unwrap();

    // Who is no longer let in has nothing any more.
    let inbox = boss.subscribe("boss").await;
    let mut others = identities();
    others.identities.retain(|own| own.name != "boss");
    place.sidecar.identities().replace(&others).unwrap();
    let gone = boss.request(
        "tools/call",
        "receive",
        json!({ "name": "receive", "arguments": { "inbox": inbox } }),
    );
    assert_eq!(gone.send().await.unwrap().status().as_u16(), 401);
    until(|| {
        place
            .node()
            .members(&"shop".parse().unwrap(), &"boss".parse().unwrap())
            .is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_inbox_from_which_nobody_receives_expires() {
    let place = Place::start_with(|config| {
        config.http_server.mcp.inbox_expiry = "1500ms".parse().unwrap();
    })
    .await;
    let agent = place.agent();
    let (left, kept) = (agent.subscribe("left").await, agent.subscribe("kept").await);
    // Waiting is using, too.
    agent.receive(&kept, 3).await.unwrap();
    agent.receive(&kept, 0).await.unwrap();
    let gone = agent.receive(&left, 0).await.unwrap_err();
    assert!(gone.contains("Call subscribe for a new one"), "{gone}");
    until(|| place.node().topics().is_empty()).await;
}

#[tokio::test]
async fn inboxes_and_those_who_wait_are_limited_and_others_are_served() {
    let place = Place::start_with(|config| {
        config.http_server.http_connections_max = Count::of::<4>();
        config.http_server.mcp.inboxes_max = Count::of::<3>();
        // There are none.
        config.http_server.mcp.inboxes_per_identity_max = Count::of::<1>();
    })
    .await;
    let agent = place.agent();
    let inbox = agent.subscribe("a").await;
    agent.subscribe("b").await;
    agent.read("tidings://topics/c").await;
    let many = agent
        .tool("subscribe", json!({ "topics": ["d"] }))
        .await
        .unwrap_err();
    assert!(many.contains("mcp.inboxes_max"), "{many}");

    // Two of four connections may wait.
    let waiting = (0..3).map(|_| {
        let agent = place.agent();
        let inbox = &inbox;
        Box::pin(async move { agent.receive(inbox, 15).await })
    });
    let (first, _, waiting) = select_all(waiting).await;
    let refused = first.unwrap_err();
    assert!(refused.contains("http_connections_max"), "{refused}");
    agent.tool("nodes", json!({})).await.unwrap();
    agent.receive(&inbox, 0).await.unwrap();
    drop(waiting);
}

#[tokio::test]
async fn what_is_too_long_or_wrong_or_of_a_page_is_refused_with_a_reason() {
    let place = Place::start().await;
    let agent = place.agent();
    let long = |bytes| json!({ "topic": "a", "payload": "x".repeat(bytes) });
    let refused = agent
        .tool("publish", long((1 << 20) + 1))
        .await
        .unwrap_err();
    assert!(
        refused.contains("payload_bytes_max") && refused.contains("Send less"),
        "{refused}"
    );
    let params = json!({ "name": "publish", "arguments": long(3 << 20) });
    let refused = agent
        .request("tools/call", "publish", params)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status().as_u16(), 413);
    // Short, but long once it is read.
    let uris = json!({ "notifications": { "resourceSubscriptions": vec!["x"; 100_000] } });
    let refused = agent.request("subscriptions/listen", "", uris).send().await;
    let refused = refused.unwrap();
    assert_eq!(refused.status().as_u16(), 413);
    let problem = refused.text().await.unwrap();
    assert!(problem.contains("more than 20000 values"), "{problem}");
    for (tool, arguments, problem) in [
        (
            "publish",
            json!({ "topic": "a.*", "payload": "" }),
            "topic: \"a.*\"",
        ),
        (
            "publish",
            json!({ "topic": "$TIDINGS.x", "payload": "" }),
            "the node's own",
        ),
        (
            "publish",
            json!({ "topic": "a" }),
            "missing field `payload`",
        ),
        (
            "publish",
            json!({ "topic": "a", "payload": "?", "encoding": "base64" }),
            "payload: ",
        ),
        (
            "publish",
            json!({ "topic": "a", "payload": "", "retain": true }),
            "unknown field `retain`",
        ),
        (
            "subscribe",
            json!({ "topics": [] }),
            "topics: name 1 to 100 topics",
        ),
        (
            "subscribe",
            json!({ "topics": ["a..b"] }),
            "topics: \"a..b\"",
        ),
        (
            "receive",
            json!({ "inbox": "", "wait_seconds": 1_000 }),
            "wait_seconds: 1000 is not from 0 to 240",
        ),
        (
            "members",
            json!({ "topic": "a", "items_max": 0 }),
            "items_max: 0 is not from 1 to 1000",
        ),
        ("members", json!({ "topic": "a", "after": "x" }), "after: "),
        ("topics", json!({ "scope": "" }), "scope: "),
    ] {
        let told = agent.tool(tool, arguments.clone()).await.unwrap_err();
        assert!(told.contains(problem), "{tool} {arguments}: {told}");
    }
    let tool = json!({ "name": "unknown", "arguments": {} });
    let unknown = agent
        .request("tools/call", "unknown", tool)
        .send()
        .await
        .unwrap();
    let unknown: Value = unknown.json().await.unwrap();
    assert_eq!(unknown["error"]["code"], -32602);

    let list = || agent.request("tools/list", "", json!({}));
    for (name, value, expected) in [
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:3000", 200),
        ("sec-fetch-site", "same-origin", 403),
        ("host", "evil.example", 421),
    ] {
        let answer = list().header(name, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{name}: {value}");
    }
    let get = agent.http.get(&agent.url).send().await.unwrap();
    assert_eq!(get.status().as_u16(), 405);
}

/// What is told again and again would be as long each time.
#[tokio::test]
async fn who_gives_its_request_an_endless_name_is_told_nothing_more() {
    let place = Place::start().await;
    let agent = place.agent();
    let inbox = agent.subscribe("news").await;
    let long = "x".repeat(2_000);
    let uris = json!({ "notifications": { "resourceSubscriptions": ["tidings://topics"] } });
    let mut listening = agent
        .request("subscriptions/listen", "", uris)
        .build()
        .unwrap();
    let mut body: Value =
        serde_json::from_slice(listening.body().unwrap().as_bytes().unwrap()).unwrap();
    body["id"] = json!(long);
    *listening.body_mut() = Some(body.to_string().into());
    let told = agent.http.execute(listening).await.unwrap();
    let told = timeout(SOON, told.text()).await.expect("it ends").unwrap();
    assert!(told.contains("the id is too long"), "{told}");

    let arguments = json!({ "inbox": inbox, "wait_seconds": 60 });
    let params = json!({ "name": "receive", "arguments": arguments });
    let mut waiting = agent
        .request("tools/call", "receive", params)
        .build()
        .unwrap();
    let mut body: Value =
        serde_json::from_slice(waiting.body().unwrap().as_bytes().unwrap()).unwrap();
    body["params"]["_meta"]["progressToken"] = json!(long);
    *waiting.body_mut() = Some(body.to_string().into());
    let told = timeout(SOON, agent.http.execute(waiting)).await;
    let told = told.expect("an answer").unwrap().text().await.unwrap();
    assert!(told.contains("the progressToken is too long"), "{told}");
}

/// Clients of the revisions before that of 2026 leave the connection of a call as it is when they give it up.
#[tokio::test]
async fn a_call_that_is_given_up_by_a_notification_takes_no_message_along() {
    let place = Place::start().await;
    let agent = place.agent();
    let inbox = agent.subscribe("news").await;
    let post = |message: Value| {
        let request = agent.http.post(&agent.url).json(&message);
        let request = request.header("accept", "application/json, text/event-stream");
        let request = request.header("mcp-protocol-version", "2025-11-25");
        async move {
            timeout(SOON, request.send())
                .await
                .expect("an answer")
                .unwrap()
        }
    };
    let receive = |id: Value| {
        let arguments = json!({ "inbox": inbox, "wait_seconds": 60 });
        let params = json!({ "name": "receive", "arguments": arguments });
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        async { post(call).await.json::<Value>().await.unwrap() }
    };
    let give_up = |id: Value| {
        let params = json!({ "requestId": id, "reason": "timeout" });
        let method = "notifications/cancelled";
        post(json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    };
    for id in [json!(7), json!("7")] {
        let mut waiting = std::pin::pin!(receive(id.clone()));
        let waits = timeout(Duration::from_millis(200), &mut waiting).await;
        assert!(waits.is_err(), "{waits:?}");
        // That of another id is not meant, and neither is one that nobody has.
        for other in [json!(8), json!(null)] {
            assert_eq!(give_up(other).await.status().as_u16(), 202);
        }
        let waits = timeout(Duration::from_millis(100), &mut waiting).await;
        assert!(waits.is_err(), "{waits:?}");
        assert_eq!(give_up(id).await.status().as_u16(), 202);
        let ended = timeout(SOON, waiting).await.expect("it ends");
        let result = &ended["result"];
        assert_eq!(result["isError"], false, "{ended}");
        assert_eq!(result["structuredContent"]["messages"], json!([]));
    }
    let message = json!({ "topic": "news", "payload": "x" });
    agent.tool("publish", message).await.unwrap();
    assert_eq!(payloads(&agent.receive(&inbox, 10).await.unwrap()), ["x"]);
}

/// The revisions before that of 2026 begin with a handshake, and have sessions if the server wants them.
#[tokio::test]
async fn clients_of_every_revision_are_served() {
    let place = Place::start().await;
    for (lifecycle, listens) in [(newest(), true), (ClientLifecycleMode::Initialize, false)] {
        let client = place.client(lifecycle).await;
        let server = client.peer_info().unwrap().clone();
        let capabilities = &server.capabilities;
        assert!(capabilities.tools.as_ref().unwrap().list_changed.is_none());
        let resources = capabilities.resources.as_ref().unwrap();
        assert_eq!(
            (resources.subscribe == Some(true), resources.list_changed),
            (listens, None)
        );
        assert!(capabilities.prompts.is_none() && capabilities.logging.is_none());
        assert!(server.instructions.clone().unwrap().contains("receive"));
        assert_eq!(client.list_all_tools().await.unwrap().len(), 8);
        assert_eq!(client.list_all_resources().await.unwrap().len(), 2);
        assert_eq!(client.list_all_resource_templates().await.unwrap().len(), 3);
        let call = async |tool: &'static str, arguments: Value| {
            let arguments = arguments.as_object().unwrap().clone();
            let params = CallToolRequestParams::new(tool).with_arguments(arguments);
            client
                .call_tool(params)
                .await
                .unwrap()
                .structured_content
                .unwrap()
        };
        let subscribed = call("subscribe", json!({ "topics": ["news"] })).await;
        call("publish", json!({ "topic": "news", "payload": "x" })).await;
        let received = call("receive", json!({ "inbox": subscribed["inbox"] })).await;
        assert_eq!(payloads(&received), ["x"]);
        client.cancel().await.unwrap();
    }
}

async fn next(listening: &mut Subscription) -> Option<String> {
    let told = timeout(SOON, listening.next());
    match told.await.expect("it is told in time").unwrap()? {
        ServerNotification::ResourceUpdatedNotification(updated) => Some(updated.params.uri),
        other => panic!("{other:?}"),
    }
}

fn listening(uris: &[&str]) -> SubscriptionFilter {
    let filter = SubscriptionFilter::builder().tools_list_changed();
    let uris = uris.iter().map(|uri| (*uri).to_owned());
    filter.resource_subscriptions(uris).build()
}

#[tokio::test]
async fn who_listens_is_told_of_what_changes_and_reads_it_and_is_told_when_the_node_leaves() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let place = Place::open(cluster.nodes()[0].clone(), |_| ()).await;
    let (other, _other) = cluster.nodes()[1]
        .session(SessionOptions::default())
        .unwrap();
    let (agent, client) = (place.agent(), place.client(newest()).await);
    let (nodes, topics) = ("tidings://nodes", "tidings://topics");
    let (news, members) = (
        "tidings://topics/news%3Aui",
        "tidings://topics/work.%2A/members",
    );
    let mut lists = client
        .listen(listening(&[nodes, members, "tidings://nope"]))
        .await
        .unwrap();
    let accepted = lists.acknowledged();
    assert_eq!(
        accepted.tools_list_changed, None,
        "what never comes is not promised"
    );
    let mut uris = accepted.resource_subscriptions.clone().unwrap();
    uris.sort_unstable();
    assert_eq!(uris, [nodes, members]);

    // Members of just that pattern, and nothing else.
    other.subscribe(&"work.a".parse().unwrap()).unwrap();
    other.everywhere(SOON).await.unwrap();
    let member = other.subscribe(&"work.*".parse().unwrap()).unwrap();
    assert_eq!(next(&mut lists).await.as_deref(), Some(members));
    assert_eq!(agent.read(members).await["total"], 1);
    other.unsubscribe(member).unwrap();
    assert_eq!(next(&mut lists).await.as_deref(), Some(members));
    assert_eq!(agent.read(members).await["total"], 0);

    let mut last = client.listen(listening(&[news])).await.unwrap();
    let mut all = client.listen(listening(&[topics])).await.unwrap();
    assert_eq!(
        agent.read(news).await,
        json!({ "topic": "news:ui", "seen": 0, "last": null })
    );
    until(|| {
        cluster.nodes()[1]
            .members(&"default".parse().unwrap(), &"news:ui".parse().unwrap())
            .len()
            == 1
    })
    .await;
    for text in ["old", "new"] {
        other
            .broadcast(Message::new("news:ui".parse().unwrap(), text))
            .unwrap();
    }
    assert_eq!(next(&mut last).await.as_deref(), Some(news));
    let begun = Instant::now();
    let seen = loop {
        let seen = agent.read(news).await;
        if seen["seen"] == 2 {
            break seen;
        }
        assert!(begun.elapsed() < SOON, "{seen}");
    };
    assert_eq!(seen["last"]["payload"], "new");
    other.subscribe(&"more".parse().unwrap()).unwrap();
    assert_eq!(next(&mut all).await.as_deref(), Some(topics));
    let shown = agent.read(topics).await;
    assert!(
        shown["topics"]
            .as_array()
            .unwrap()
            .iter()
            .any(|own| own["topic"] == "more"),
        "{shown}"
    );

    cluster.nodes()[1].leave().await;
    while next(&mut lists).await.unwrap() != nodes {}
    let shown = agent.read(nodes).await;
    let live = shown["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|own| own["live"] == true);
    assert_eq!(live.count(), 1);

    cluster.nodes()[0].leave().await;
    for subscription in [&mut lists, &mut last, &mut all] {
        while next(subscription).await.is_some() {}
        assert!(matches!(
            subscription.end(),
            Some(SubscriptionEnd::Graceful(_))
        ));
    }
}

#[tokio::test]
async fn the_last_message_is_kept_while_somebody_listens_and_then_expires() {
    let place = Place::start_with(|config| {
        config.http_server.mcp = McpConfig {
            inbox_expiry: "200ms".parse().unwrap(),
            ..McpConfig::default()
        };
    })
    .await;
    let client = place.client(newest()).await;
    let last = client
        .listen(listening(&["tidings://topics/news"]))
        .await
        .unwrap();
    let message = json!({ "topic": "news", "payload": "x" });
    place.agent().tool("publish", message).await.unwrap();
    sleep(Duration::from_millis(600)).await;
    let seen = place.agent().read("tidings://topics/news").await;
    assert_eq!(seen["last"]["payload"], "x", "somebody listens");
    drop(last);
    client.cancel().await.unwrap();
    until(|| place.node().topics().is_empty()).await;
}

fn stream(of: &StreamWriter) -> String {
    format!("tidings://streams/{}", of.id())
}

#[tokio::test]
async fn a_stream_is_read_so_far_from_any_node_and_offset_and_page_by_page() {
    let limits = Limits {
        stream_bytes_max: Count::of::<{ 128 << 10 }>(),
        ..Limits::default()
    };
    let config = NodeConfig {
        limits,
        ..NodeConfig::default()
    };
    let cluster = LocalCluster::start_with(vec![config; 2]).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let place = Place::open(cluster.nodes()[0].clone(), |_| ()).await;
    let agent = place.agent();
    for node in cluster.nodes() {
        let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
        let begin = || session.stream(StreamOptions::default()).unwrap();
        let mut text = begin();
        let uri = stream(&text);
        let about = |from, next, state| json!({ "from": from, "next": next, "state": state });
        assert_eq!(agent.page(&uri).await, (String::new(), about(0, 0, "open")));
        text.push("it is ").unwrap();
        // A character in two chunks is not shown before it is whole.
        text.push(&b"s\xc3"[..]).unwrap();
        assert_eq!(
            agent.page(&uri).await,
            ("it is ".to_owned(), about(0, 1, "open"))
        );
        text.push(&b"\xbcnny"[..]).unwrap();
        assert_eq!(
            agent.page(&uri).await,
            ("it is sünny".to_owned(), about(0, 3, "open"))
        );
        text.fail("no model");
        let (rest, how) = agent.page(&format!("{uri}?from=1")).await;
        let failed = json!({ "from": 1, "next": 3, "state": "failed", "reason": "no model" });
        assert_eq!((&*rest, how), ("sünny", failed));

        let mut binary = begin();
        let uri = stream(&binary);
        binary.push(&b"\xff\0"[..]).unwrap();
        let shown = ("base64 /wA=".to_owned(), about(0, 1, "open"));
        assert_eq!(agent.page(&uri).await, shown);
        let mut cut = begin();
        let cut_uri = stream(&cut);
        cut.push(&b"\xc3"[..]).unwrap();
        drop((cut, binary));
        let shown = ("base64 /wA=".to_owned(), about(0, 1, "aborted"));
        assert_eq!(agent.page(&uri).await, shown);
        let shown = ("base64 ww==".to_owned(), about(0, 1, "aborted"));
        assert_eq!(agent.page(&cut_uri).await, shown, "its rest never came");

        let mut long = begin();
        let uri = stream(&long);
        for number in 0..200 {
            long.push(format!("{number:01000}")).unwrap();
        }
        long.finish();
        // So many are kept, each with 64 bytes for itself.
        let first = 200 - (128 << 10) / 1_064;
        let (page, how) = agent.page(&uri).await;
        assert_eq!(how, about(first, first + 66, "more"));
        assert_eq!(page.len(), 66_000, "64 KiB, and what they end in");
        let (rest, how) = agent.page(&format!("{uri}?from={}", first + 66)).await;
        assert_eq!(how, about(first + 66, 200, "complete"));
        let all: String = (first..200).map(|n| format!("{n:01000}")).collect();
        assert!(page + &rest == all);

        let unknown = [
            format!("{uri}99"),
            format!("{uri}?from=x"),
            "tidings://streams/nowhere".to_owned(),
        ];
        for unknown in unknown {
            let answer = agent.answer(&unknown).await;
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
            assert_eq!(answer["error"]["data"]["uri"], unknown, "{answer}");
        }
    }
    cluster.leave().await;
}

#[tokio::test]
async fn who_listens_to_a_stream_is_told_when_it_has_grown_and_when_it_has_ended() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let place = Place::open(cluster.nodes()[0].clone(), |_| ()).await;
    let (agent, client) = (place.agent(), place.client(newest()).await);
    let session = |n: usize| {
        let opened = cluster.nodes()[n].session(SessionOptions::default());
        opened.unwrap().0
    };
    let sessions = [session(0), session(1)];
    let begin = |n: usize| sessions[n].stream(StreamOptions::default()).unwrap();
    let mut writers = [begin(0), begin(1)];
    let uris = [0, 1].map(|n| stream(&writers[n]));
    let gone = format!("{}99", uris[1]);
    let open = place.node().stats().sessions;

    let all = [&*uris[0], &*uris[1], &*gone];
    let mut told = client.listen(listening(&all)).await.unwrap();
    let accepted = told.acknowledged().resource_subscriptions.clone();
    assert_eq!(accepted.unwrap().len(), 3);
    assert_eq!(next(&mut told).await, Some(gone), "it cannot be read");
    for round in 1..=3 {
        for (writer, uri) in writers.iter_mut().zip(&uris) {
            writer.push("more ").unwrap();
            assert_eq!(next(&mut told).await.as_ref(), Some(uri));
            assert_eq!(agent.page(uri).await.1["next"], round);
        }
    }
    // Much in a short time is told a few times, and the last time when all can be read.
    let begun = Instant::now();
    let write = async {
        for _ in 0..300 {
            for writer in &mut writers {
                writer.push("more ").unwrap();
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let count = async {
        let mut times = 0;
        while timeout(QUIET, next(&mut told)).await.is_ok() {
            times += 1;
        }
        times
    };
    let ((), times) = tokio::join!(write, count);
    let most = 4 + 2 * begun.elapsed().as_millis() / 20;
    assert!((2..=most).contains(&times), "{times} times of {most}");
    for uri in &uris {
        assert_eq!(agent.page(uri).await.1["next"], 303);
    }
    let [first, second] = writers;
    first.finish();
    second.fail("no model");
    let mut ended = [next(&mut told).await, next(&mut told).await];
    ended.sort();
    assert_eq!(ended, uris.clone().map(Some));
    assert_eq!(agent.page(&uris[0]).await.1["state"], "complete");
    assert_eq!(agent.page(&uris[1]).await.1["reason"], "no model");
    let more = timeout(QUIET, next(&mut told)).await;
    assert!(more.is_err(), "after the end there is nothing to tell");

    // Who comes late is told of what there is, in one.
    let late = format!("{}?from=300", uris[1]);
    let mut comes_late = client.listen(listening(&[&late])).await.unwrap();
    assert_eq!(next(&mut comes_late).await, Some(late));
    assert!(timeout(QUIET, next(&mut comes_late)).await.is_err());

    // Nobody follows once nobody listens.
    assert_eq!(place.node().stats().sessions, open + 2);
    drop((told, comes_late));
    client.cancel().await.unwrap();
    until(|| place.node().stats().sessions == open).await;
    cluster.leave().await;
}

#[tokio::test]
async fn a_stream_is_read_and_listened_to_by_who_may_subscribe_to_its_topic_in_its_scope() {
    let place = Place::start_with(|config| {
        config.access = identities();
        config.http_server.mcp.resources_per_listener_max = Count::of::<1>();
    })
    .await;
    let write = |scope: &str| {
        let options = SessionOptions {
            scope: scope.parse().unwrap(),
            ..SessionOptions::default()
        };
        let (session, _) = place.node().session(options).unwrap();
        let mut writer = session.stream(StreamOptions::default()).unwrap();
        writer.push("secret").unwrap();
        (session, writer)
    };
    let ((_shop, in_shop), (_other, elsewhere)) = (write("shop"), write("default"));
    let [boss, worker] = ["boss", "worker"].map(|own| place.agent_with(Some(own)));
    let (uri, other) = (stream(&in_shop), stream(&elsewhere));
    assert_eq!(boss.page(&uri).await.0, "secret");
    assert_eq!(boss.answer(&other).await["error"]["code"], -32602);
    let denied = worker.answer(&uri).await;
    assert_eq!(denied["error"]["code"], -32600, "{denied}");

    let filter = |uris: &[&str]| json!({ "notifications": { "resourceSubscriptions": uris } });
    for (agent, uris, accepted) in [
        (&worker, &[&*uri][..], json!(null)),
        (&boss, &[&uri, "tidings://topics"], json!([uri])),
    ] {
        let request = agent.request("subscriptions/listen", "", filter(uris));
        let mut answer = request.send().await.unwrap();
        let mut text = String::new();
        while !text.contains("acknowledged") {
            let part = timeout(SOON, answer.chunk()).await.unwrap().unwrap();
            text += str::from_utf8(&part.expect("it is acknowledged")).unwrap();
        }
        let line = text.lines().find(|line| line.contains("acknowledged"));
        let told: Value = serde_json::from_str(&line.unwrap()["data: ".len()..]).unwrap();
        let own = &told["params"]["notifications"]["resourceSubscriptions"];
        assert_eq!(*own, accepted, "{told}");
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "it never comes to that");
        sleep(Duration::from_millis(5)).await;
    }
}
