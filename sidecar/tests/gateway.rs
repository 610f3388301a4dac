//! The client gateway over real sockets, spoken to in the bare protocol and by a client library.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tidings::{Count, LocalCluster, Message, Node, Pattern, Scope, SessionOptions, Time};
use tidings_sidecar::{Config, HttpConfig, gateway, http};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
const QUIET: &str = r#"{"verbose":false,"headers":true,"name":"quiet"}"#;

struct Gateway {
    node: Node,
    addr: SocketAddr,
    clients: gateway::Clients,
}

impl Gateway {
    async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    async fn start_with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let node = Node::start(config.node, None).await.unwrap();
        let clients = gateway::serve(&node, listener, config.gateway).unwrap();
        Self {
            node,
            addr,
            clients,
        }
    }

    /// A client that has connected with these options, if any.
    async fn client(&self, options: &str) -> Client {
        let mut client = Client::open(self.addr).await;
        assert!(client.line().await.starts_with("INFO {"));
        if !options.is_empty() {
            client.send(format!("CONNECT {options}\r\n")).await;
        }
        client
    }

    async fn members_become(&self, topic: &str, count: usize) {
        let (scope, pattern) = (Scope::default(), Pattern::parse(topic).unwrap());
        let members = || self.node.local_members(&scope, &pattern).len();
        let wait = async {
            while members() != count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = timeout(SOON, wait).await;
        assert!(
            in_time.is_ok(),
            "{topic} has {} members, not {count}",
            members()
        );
    }
}

/// Speaks the protocol byte by byte.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn open(addr: SocketAddr) -> Self {
        Self {
            stream: BufReader::new(TcpStream::connect(addr).await.unwrap()),
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next line without its end; empty when the server has closed.
    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        timeout(SOON, read)
            .await
            .expect("the server says something")
            .unwrap();
        String::from_utf8(line)
            .unwrap()
            .trim_end_matches("\r\n")
            .to_owned()
    }

    async fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            assert_eq!(self.line().await, *expected);
        }
    }

    async fn expect_bytes(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        let read = self.stream.read_exact(&mut bytes);
        timeout(SOON, read)
            .await
            .expect("the server says something")
            .unwrap();
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    async fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        timeout(SOON, read)
            .await
            .expect("the server closes")
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// Sends what has no answer of its own, and waits until the server has done it.
    async fn tell(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(bytes).await;
        self.send("PING\r\n").await;
        self.expect(&["PONG"]).await;
    }
}

#[tokio::test]
async fn the_greeting_promises_what_is_served_and_no_more() {
    let gateway = Gateway::start().await;
    let mut client = Client::open(gateway.addr).await;
    let line = client.line().await;
    let info: serde_json::Value =
        serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
    assert_eq!(info["headers"], true);
    assert_eq!(info["max_payload"], 1 << 20);
    assert_eq!(info["server_name"], gateway.node.name().as_str());
    assert_eq!(info["port"], gateway.addr.port());
    assert_eq!(info["client_ip"], "127.0.0.1");
    assert_eq!(info["tidings"], env!("CARGO_PKG_VERSION"));
    // Clients read these without asking whether they are there, and want a server that has grown up.
    assert!(info["go"].is_string());
    let version = info["version"].as_str().unwrap();
    assert!(version.starts_with("2."), "{version}");
    for absent in [
        "auth_required",
        "tls_required",
        "tls_available",
        "jetstream",
        "nonce",
    ] {
        assert!(info.get(absent).is_none(), "{absent}");
    }
}

#[tokio::test]
async fn a_client_that_asks_is_told_when_all_nodes_have_its_subscriptions() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [near, far] = cluster.nodes() else {
        unreachable!()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let gateway = Gateway {
        addr,
        node: near.clone(),
        clients: gateway::serve(near, listener, Config::default().gateway).unwrap(),
    };
    let mut other = gateway.client(QUIET).await;
    other.tell("SUB $TIDINGS.> 1\r\n").await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB answers 1\r\nSUB _INBOX.x 2\r\n").await;
    client
        .send("PUB $TIDINGS.barrier _INBOX.x 3\r\n10s\r\n")
        .await;
    let told = r#"{"everywhere":true,"nodes":["n2"]}"#;
    let first = format!("MSG _INBOX.x 2 {}", told.len());
    client.expect(&[&first, told]).await;
    let (answerer, _inbox) = far.session(SessionOptions::default()).unwrap();
    let receipt = answerer.broadcast(Message::new("answers".parse().unwrap(), "42"));
    assert_eq!(receipt.unwrap().nodes, 1);
    client.expect(&["MSG answers 1 2", "42"]).await;
    // Requests go to nobody else.
    other.tell("").await;
    client.send("PUB $TIDINGS.barrier 0\r\n\r\n").await;
    let refused = client.line().await;
    let expected = "-ERR 'Permissions Violation for Publish to \"$TIDINGS.barrier\"";
    assert!(refused.starts_with(expected), "{refused}");
    // A node that is gone without a word stays live for a moment.
    far.token().cancel();
    client
        .send("SUB more 3\r\nPUB $TIDINGS.barrier _INBOX.x 3\r\n0ms\r\n")
        .await;
    assert!(client.line().await.starts_with("MSG _INBOX.x 2 "));
    let told: serde_json::Value = serde_json::from_str(&client.line().await).unwrap();
    let is_everywhere = told["everywhere"] == true;
    assert!(
        is_everywhere || told["lacking"][0]["node"] == "n2",
        "{told}"
    );
}

#[tokio::test]
async fn a_message_reaches_every_subscription_that_matches() {
    let gateway = Gateway::start().await;
    let mut subscriber = gateway.client(QUIET).await;
    subscriber
        .tell("SUB kb.updates 1\r\nSUB kb.* 2\r\nSUB > 3\r\nSUB other 4\r\n")
        .await;
    let mut publisher = gateway.client(QUIET).await;
    publisher
        .tell("PUB kb.updates reply.here 5\r\nhello\r\n")
        .await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(subscriber.line().await);
        subscriber.expect(&["hello"]).await;
    }
    seen.sort();
    let expected = [1, 2, 3].map(|sid| format!("MSG kb.updates {sid} reply.here 5"));
    assert_eq!(seen, expected);
    subscriber.tell("").await;
}

#[tokio::test]
async fn tokens_may_be_separated_by_colons() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client
        .send("SUB resource:*:sf 1\r\nPUB resource:weather:sf 2\r\n21\r\n")
        .await;
    client.expect(&["MSG resource:weather:sf 1 2", "21"]).await;
}

#[tokio::test]
async fn operations_are_confirmed_to_who_wants_it() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(r#"{"verbose":true}"#).await;
    client.expect(&["+OK"]).await;
    client
        .send("SUB a 1\r\nPUB b 0\r\n\r\nUNSUB 1\r\nPING\r\n")
        .await;
    client.expect(&["+OK", "+OK", "+OK", "PONG"]).await;
    // A second CONNECT changes the options.
    client
        .send(format!("CONNECT {QUIET}\r\nSUB a 1\r\nPING\r\n"))
        .await;
    client.expect(&["PONG"]).await;
}

#[tokio::test]
async fn connect_may_be_left_out() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client("").await;
    client.send("sub a 1\npub a 2\nhi\r\n").await;
    client.expect(&["+OK", "+OK", "MSG a 1 2", "hi"]).await;
}

#[tokio::test]
async fn without_echo_a_client_does_not_hear_itself() {
    let gateway = Gateway::start().await;
    let mut other = gateway.client(QUIET).await;
    other.tell("SUB a 9\r\n").await;
    let mut client = gateway.client(r#"{"verbose":false,"echo":false}"#).await;
    client.tell("SUB a 1\r\nPUB a 1\r\nx\r\n").await;
    other.expect(&["MSG a 9 1", "x"]).await;
    other.tell("PUB a 1\r\ny\r\n".replace("a 1", "b 1")).await;
    other.send("PUB a 1\r\nz\r\n").await;
    client.expect(&["MSG a 1 1", "z"]).await;
}

#[tokio::test]
async fn headers_travel_with_the_message_byte_for_byte() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let mut gateways = Vec::new();
    for node in cluster.nodes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, node) = (listener.local_addr().unwrap(), node.clone());
        let clients = gateway::serve(&node, listener, Config::default().gateway).unwrap();
        gateways.push(Gateway {
            node,
            addr,
            clients,
        });
    }
    let mut plain = gateways[0].client(r#"{"verbose":false}"#).await;
    plain.tell("SUB a 1\r\n").await;
    let mut far = gateways[1].client(QUIET).await;
    far.tell("SUB a 3\r\nSUB _INBOX.far 4\r\n").await;
    far.send("PUB $TIDINGS.barrier _INBOX.far 3\r\n10s\r\n")
        .await;
    let everywhere = r#"{"everywhere":true,"nodes":["n1"]}"#;
    far.expect(&["MSG _INBOX.far 4 34", everywhere]).await;
    let mut client = gateways[0].client(QUIET).await;
    client.tell("SUB a 2\r\n").await;
    for block in [
        &b"NATS/1.0\r\nk: \xc3\xa9\r\n\r\n"[..],
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0 503 No Responders\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\nk:\xff\r\n\r\n",
        b"no block",
    ] {
        let (head, all) = (block.len(), block.len() + 2);
        let send = |to: &str| {
            [
                format!("{to} {head} {all}\r\n").as_bytes(),
                block,
                b"hi\r\n",
            ]
            .concat()
        };
        client.send(send("HPUB a r")).await;
        client.expect_bytes(&send("HMSG a 2 r")).await;
        far.expect_bytes(&send("HMSG a 3 r")).await;
        plain.expect(&["MSG a 1 r 2", "hi"]).await;
    }
    // No bytes are no headers.
    client.send("HPUB a 0 2\r\nhi\r\n").await;
    client.expect(&["MSG a 2 2", "hi"]).await;
    far.expect(&["MSG a 3 2", "hi"]).await;
}

#[tokio::test]
async fn headers_of_a_client_that_has_announced_none_end_its_connection() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(r#"{"verbose":false}"#).await;
    client.send("HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n").await;
    client
        .expect(&["-ERR 'message headers not supported'"])
        .await;
    client.expect_closed().await;
}

#[tokio::test]
async fn subjects_are_as_long_as_a_line_allows() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    let (subject, reply) = (format!("a.{}", "x".repeat(2_000)), "r".repeat(1_500));
    client
        .send(format!(
            "SUB {subject} 1\r\nSUB a.* 2\r\nPUB {subject} {reply} 1\r\nx\r\n"
        ))
        .await;
    for sid in [1, 2] {
        client
            .expect(&[&format!("MSG {subject} {sid} {reply} 1"), "x"])
            .await;
    }
}

#[tokio::test]
async fn a_client_is_told_what_became_of_its_assured_message() {
    let gateway = Gateway::start().await;
    let mut other = gateway.client(QUIET).await;
    other.tell("SUB a 1\r\n").await;
    let mut client = gateway.client(QUIET).await;
    let publish = |subjects: &str, time: &str| {
        let headers = format!("NATS/1.0\r\nTidings-Assured: {time}\r\n\r\n");
        let (block, all) = (headers.len(), headers.len() + 2);
        format!("HPUB {subjects} {block} {all}\r\n{headers}hi\r\n")
    };
    client.tell("SUB back 7\r\n").await;
    client.send(publish("a back", "30s")).await;
    assert!(client.line().await.starts_with("MSG back 7 "));
    let answer: serde_json::Value = serde_json::from_str(&client.line().await).unwrap();
    let member = &answer["members"][0];
    assert_eq!(answer["complete"], true);
    assert_eq!(
        (&member["agent"], &member["outcome"]),
        (&"quiet".into(), &"taken".into())
    );
    // The others are not to answer in its place.
    let headers = "NATS/1.0\r\nTidings-Assured: 30s\r\n\r\n".len();
    let expected = format!("HMSG a 1 {headers} {}", headers + 2);
    assert_eq!(other.line().await, expected);
    for refused in [
        publish("a", "2s"),
        publish("a back", "2h"),
        publish("a back", "x"),
    ] {
        client.send(refused).await;
        let told = client.line().await;
        assert!(
            told.starts_with("-ERR 'Permissions Violation for Publish to \"a\": "),
            "{told}"
        );
    }
    client.tell("").await;
}

#[tokio::test]
async fn a_subscription_ends_after_its_maximum() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client.send("SUB a 1\r\nUNSUB 1 2\r\n").await;
    client
        .send("PUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n")
        .await;
    client.expect(&["MSG a 1 1", "1", "MSG a 1 1", "2"]).await;
    client.tell("").await;
    gateway.members_become("a", 0).await;
    // What was delivered before counts.
    client.send("SUB a 1\r\nPUB a 1\r\n1\r\nPING\r\n").await;
    client.expect(&["MSG a 1 1", "1", "PONG"]).await;
    client.tell("UNSUB 1 1\r\nPUB a 1\r\n2\r\n").await;
    gateway.members_become("a", 0).await;
}

#[tokio::test]
async fn what_comes_to_a_queue_group_beyond_the_maximum_of_one_goes_to_another() {
    let gateway = Gateway::start().await;
    let mut other = gateway.client(QUIET).await;
    other.tell("SUB a q 9\r\n").await;
    let mut client = gateway.client(QUIET).await;
    let publications = "PUB a 1\r\nx\r\n".repeat(100);
    client
        .send(format!("SUB a q 1\r\nUNSUB 1 2\r\n{publications}"))
        .await;
    client.expect(&["MSG a 1 1", "x", "MSG a 1 1", "x"]).await;
    for _ in 2..100 {
        other.expect(&["MSG a 9 1", "x"]).await;
    }
    client.tell("").await;
    other.tell("").await;
}

#[tokio::test]
async fn unsubscribing_loses_nothing_that_was_there_before() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    let publications = "PUB a 1\r\nx\r\n".repeat(1000);
    client
        .send(format!(
            "SUB a 1\r\n{publications}UNSUB 1\r\nPUB a 1\r\ny\r\nPING\r\n"
        ))
        .await;
    for _ in 0..1000 {
        client.expect(&["MSG a 1 1", "x"]).await;
    }
    client.expect(&["PONG"]).await;
}

#[tokio::test]
async fn a_subscription_that_exists_is_not_replaced() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client
        .send("SUB a 1\r\nSUB b 1\r\nPUB b 1\r\nb\r\nPUB a 1\r\na\r\n")
        .await;
    client.expect(&["MSG a 1 1", "a"]).await;
    client.tell("UNSUB unknown\r\n").await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_and_the_client_goes_on() {
    let mut config = Config::default();
    config.node.limits.subscriptions_per_session_max = Count::MIN;
    let gateway = Gateway::start_with(config).await;
    let mut client = gateway.client(QUIET).await;
    client
        .send("SUB a..b 1\r\nPUB a..b 0\r\n\r\nPUB a.* 0\r\n\r\n")
        .await;
    let publish = "-ERR 'Invalid Publish Subject'";
    client
        .expect(&["-ERR 'Invalid Subject'", publish, publish])
        .await;
    client
        .send("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")
        .await;
    client
        .send("PUB a..b 0\r\n\r\nPUB a.* 0\r\n\r\nPUB a r..r 0\r\n\r\nSUB a\u{7}b 1\r\n")
        .await;
    // What all clients report, and none closes for.
    for (to, subject) in [
        ("Publish", "a.*"),
        ("Publish", "a"),
        ("Subscription", "a\\u{7}b"),
    ] {
        let refused = client.line().await;
        let expected = format!("-ERR 'Permissions Violation for {to} to \"{subject}\": ");
        assert!(refused.starts_with(&expected), "{refused}");
    }
    client.send("SUB a 1\r\nSUB b 2\r\n").await;
    client
        .expect(&["-ERR 'maximum subscriptions exceeded'"])
        .await;
    client.send("PUB a 1\r\nx\r\n").await;
    client.expect(&["MSG a 1 1", "x"]).await;
}

#[tokio::test]
async fn of_a_queue_group_one_subscription_gets_each_message() {
    let gateway = Gateway::start().await;
    let mut workers = [gateway.client(QUIET).await, gateway.client(QUIET).await];
    for worker in &mut workers {
        worker.tell("SUB jobs.* workers 1\r\nSUB end 2\r\n").await;
    }
    let mut client = gateway.client(QUIET).await;
    let long = "q".repeat(256);
    client.send(format!("SUB jobs.* {long} 1\r\n")).await;
    assert!(
        client
            .line()
            .await
            .starts_with("-ERR 'Permissions Violation for Subscription to")
    );
    client.tell("SUB jobs.7 1\r\nSUB end 2\r\n").await;
    client
        .send("PUB jobs.7 1\r\nx\r\n".repeat(40) + "PUB end 0\r\n\r\n")
        .await;
    let [mut first, mut second] = workers;
    let mut counts = Vec::new();
    for client in [&mut client, &mut first, &mut second] {
        let mut count = 0;
        while client.line().await != "MSG end 2 0" {
            count += 1;
        }
        counts.push(count / 2);
    }
    assert_eq!((counts[0], counts[1] + counts[2]), (40, 40));
    assert!(counts[1] > 5 && counts[2] > 5, "{counts:?}");
}

/// The JSON of the next message, which is on this subject.
async fn told(client: &mut Client, subject: &str) -> serde_json::Value {
    let line = client.line().await;
    assert!(line.starts_with(&format!("MSG {subject} ")), "{line}");
    serde_json::from_str(&client.line().await).unwrap()
}

#[tokio::test]
async fn the_node_is_asked_by_message_for_members_topics_and_nodes() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client
        .tell("SUB kb.* workers 1\r\nSUB news 2\r\nSUB _INBOX.r 3\r\n")
        .await;
    client
        .send("PUB $TIDINGS.members.kb.a _INBOX.r 0\r\n\r\n")
        .await;
    let members = told(&mut client, "_INBOX.r").await;
    assert_eq!(members["members"][0]["agent"], "quiet");
    assert_eq!(members["members"][0]["queue"], "workers");
    assert_eq!(members["next"], serde_json::Value::Null);
    let part = r#"{"limit":1}"#;
    client
        .send(format!(
            "PUB $TIDINGS.topics _INBOX.r {}\r\n{part}\r\n",
            part.len()
        ))
        .await;
    let topics = told(&mut client, "_INBOX.r").await;
    assert_eq!(
        (&topics["topics"][0]["topic"], &topics["next"]),
        (&"kb.*".into(), &"kb.*".into())
    );
    let rest = r#"{"after":"kb.*"}"#;
    client
        .send(format!(
            "PUB $TIDINGS.topics _INBOX.r {}\r\n{rest}\r\n",
            rest.len()
        ))
        .await;
    let topics = told(&mut client, "_INBOX.r").await;
    assert_eq!(topics["topics"].as_array().unwrap().len(), 1);
    assert_eq!(topics["topics"][0]["topic"], "news");
    client.send("PUB $TIDINGS.nodes _INBOX.r 0\r\n\r\n").await;
    assert_eq!(
        told(&mut client, "_INBOX.r").await["nodes"][0]["self"],
        true
    );
    for wrong in ["members.a..b", "members", "nothing"] {
        client
            .send(format!("PUB $TIDINGS.{wrong} _INBOX.r 0\r\n\r\n"))
            .await;
        assert!(
            told(&mut client, "_INBOX.r").await["error"].is_string(),
            "{wrong}"
        );
    }
    client.send("PUB $TIDINGS.topics _INBOX.r 1\r\n7\r\n").await;
    assert!(told(&mut client, "_INBOX.r").await["error"].is_string());
    client.send("PUB $TIDINGS.topics 0\r\n\r\n").await;
    assert!(client.line().await.contains("reply subject"));
}

#[tokio::test]
async fn a_topic_is_watched_by_message_until_nobody_listens() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB _INBOX.w 1\r\n").await;
    client
        .send("PUB $TIDINGS.watch.kb.* _INBOX.w 0\r\n\r\n")
        .await;
    let snapshot = told(&mut client, "_INBOX.w").await;
    assert_eq!(
        (&snapshot["event"], &snapshot["more"]),
        (&"snapshot".into(), &false.into())
    );
    let mut other = gateway.client(QUIET).await;
    other.tell("SUB kb.* 1\r\nSUB elsewhere 2\r\n").await;
    assert_eq!(told(&mut client, "_INBOX.w").await["event"], "joined");
    other.tell("UNSUB 1\r\n").await;
    assert_eq!(told(&mut client, "_INBOX.w").await["event"], "left");
    client.tell("UNSUB 1\r\n").await;
    other.tell("SUB kb.* 3\r\n").await;
    // As many as there may be, now that the first has ended.
    client.tell("SUB _INBOX.w 2\r\n").await;
    for _ in 0..16 {
        client
            .send("PUB $TIDINGS.watch.kb.* _INBOX.w 0\r\n\r\n")
            .await;
        assert_eq!(told(&mut client, "_INBOX.w").await["event"], "snapshot");
    }
    client
        .send("PUB $TIDINGS.watch.kb.* _INBOX.w 0\r\n\r\n")
        .await;
    assert!(told(&mut client, "_INBOX.w").await["error"].is_string());
}

#[tokio::test]
async fn a_client_acknowledges_an_assured_message_by_answering_it() {
    let gateway = Gateway::start().await;
    let mut member = gateway.client(QUIET).await;
    member.tell("SUB jobs 1\r\n").await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB _INBOX.a 1\r\n").await;
    let headers = "NATS/1.0\r\nTidings-Assured: 20s\r\nTidings-Wait-For: acknowledged\r\n\r\n";
    let (bytes, all) = (headers.len(), headers.len() + 2);
    let publish = format!("HPUB jobs _INBOX.a {bytes} {all}\r\n{headers}go\r\n");
    client.send(&publish).await;
    let line = member.line().await;
    let answer = line.split(' ').nth(3).unwrap().to_owned();
    assert!(answer.starts_with("$TIDINGS.ack."), "{line}");
    for expected in [
        "NATS/1.0",
        "Tidings-Assured: 20s",
        "Tidings-Wait-For: acknowledged",
        "",
        "go",
    ] {
        assert_eq!(member.line().await, expected);
    }
    member.tell(format!("PUB {answer} 0\r\n\r\n")).await;
    let outcomes = told(&mut client, "_INBOX.a").await;
    assert_eq!(outcomes["complete"], true);
    assert_eq!(outcomes["members"][0]["outcome"], "acknowledged");
    member.send(format!("PUB {answer} 0\r\n\r\n")).await;
    assert!(
        member
            .line()
            .await
            .contains("no message waits for this answer")
    );

    // Asked by the library, each member answers with what it has to say.
    let (asker, _inbox) = gateway.node.session(SessionOptions::default()).unwrap();
    let question = Message::new("jobs".parse().unwrap(), "?");
    let answering = async {
        let line = member.line().await;
        let answer = line.split(' ').nth(3).unwrap().to_owned();
        assert_eq!(member.line().await, "?");
        member.send(format!("PUB {answer} 4\r\nbusy\r\n")).await;
    };
    let (gathered, ()) = tokio::join!(asker.gather(question, Time::of_ms::<20_000>()), answering);
    let gathered = gathered.unwrap();
    assert_eq!((gathered.answers.len(), gathered.silent.len()), (1, 0));
    assert_eq!(gathered.answers[0].message.payload, "busy");
}

#[tokio::test]
async fn who_wants_to_know_is_told_of_messages_that_it_missed() {
    let mut config = Config::default();
    config.gateway.mailbox.messages_max = Count::of::<4>();
    config.gateway.mailbox.overflow = tidings::Overflow::DropNewest;
    let gateway = Gateway::start_with(config).await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB a 1\r\nSUB $TIDINGS.gaps 2\r\n").await;
    let (session, _inbox) = gateway.node.session(SessionOptions::default()).unwrap();
    let mut published = 0_u64;
    loop {
        let message = Message::new("a".parse().unwrap(), vec![b'x'; 100_000]);
        published += 1;
        if session.broadcast(message).unwrap().dropped > 0 {
            break;
        }
    }
    let mut received = 0;
    loop {
        let line = client.line().await;
        if line.starts_with("MSG a 1 ") {
            received += 1;
        } else if line.starts_with("HMSG $TIDINGS.gaps 2 ") {
            break;
        }
    }
    assert_eq!(client.line().await, "NATS/1.0 100 Gap");
    assert_eq!(client.line().await, "");
    let gap: serde_json::Value = serde_json::from_str(&client.line().await).unwrap();
    assert_eq!(
        (&gap["event"], &gap["messages"]),
        (&"missed".into(), &1.into())
    );
    assert_eq!(received + 1, published);
    client.tell("UNSUB 2\r\n").await;
}

/// It has much to read before its UNSUB is done.
#[tokio::test]
async fn who_leaves_a_queue_group_gets_what_is_there_and_others_the_rest() {
    let gateway = Gateway::start().await;
    let mut leaves = gateway.client(QUIET).await;
    leaves.tell("SUB jobs workers 1\r\n").await;
    let (session, _inbox) = gateway.node.session(SessionOptions::default()).unwrap();
    let publish = |count: usize, bytes: usize| {
        for _ in 0..count {
            let message = Message::new("jobs".parse().unwrap(), vec![b'x'; bytes]);
            session.broadcast(message).unwrap();
        }
    };
    publish(40, 500_000);
    leaves.send("UNSUB 1\r\nPING\r\n").await;
    gateway.members_become("jobs", 0).await;
    let mut stays = gateway.client(QUIET).await;
    stays.tell("SUB jobs workers 1\r\n").await;
    publish(40, 1);
    for _ in 0..40 {
        stays.expect(&["MSG jobs 1 1", "x"]).await;
    }
    let mut got = 0;
    while leaves.line().await != "PONG" {
        got += 1;
    }
    assert_eq!(got, 2 * 40);
}

#[tokio::test]
async fn who_asks_when_nobody_listens_is_told_so() {
    let gateway = Gateway::start().await;
    let mut plain = gateway.client(QUIET).await;
    plain.send("SUB r.* 1\r\nPUB a r.1 0\r\n\r\n").await;
    plain.tell("").await;
    let asks = r#"{"verbose":false,"headers":true,"no_responders":true,"echo":false}"#;
    let mut client = gateway.client(asks).await;
    client.send("SUB _INBOX.r.* 7\r\n").await;
    let nobody = ["HMSG _INBOX.r.1 7 16 16", "NATS/1.0 503", "", ""];
    client.send("PUB a _INBOX.r.1 0\r\n\r\n").await;
    client.expect(&nobody).await;
    client.send("SUB a 8\r\nPUB a _INBOX.r.1 0\r\n\r\n").await;
    client.expect(&nobody).await;
    client.send("PUB a other 0\r\n\r\n").await;
    client.tell("").await;
    plain.tell("SUB a 2\r\n").await;
    client.send("PUB a _INBOX.r.1 0\r\n\r\n").await;
    client.tell("").await;
    plain.expect(&["MSG a 2 _INBOX.r.1 0", ""]).await;
    plain
        .send("PUB _INBOX.r.1 2\r\nyes\r\n".replace("yes", "ok"))
        .await;
    client.expect(&["MSG _INBOX.r.1 7 2", "ok"]).await;
    assert!(
        gateway
            .node
            .topics()
            .iter()
            .all(|topic| !topic.pattern.as_str().starts_with("_INBOX"))
    );
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_that_connection_alone() {
    let gateway = Gateway::start().await;
    let mut other = gateway.client(QUIET).await;
    other.tell("SUB a 1\r\n").await;
    let long_line = format!("SUB {} 1\r\n", "x".repeat(5000));
    let flood = format!("PUB a 99999999\r\n{}", "x".repeat(1 << 20));
    for (input, error) in [
        ("NONSENSE\r\n", "-ERR 'Unknown Protocol Operation'"),
        ("CONNECT {nonsense}\r\n", "-ERR 'Parser Error'"),
        (
            "CONNECT {\"tls_required\":true}\r\n",
            "-ERR 'Secure Connection - TLS Not Available'",
        ),
        (
            "CONNECT {\"no_responders\":true}\r\n",
            "-ERR 'no responders requires headers support'",
        ),
        ("PUB a one\r\n", "-ERR 'Parser Error'"),
        ("PUB a 1\r\nlonger\r\n", "-ERR 'Unknown Protocol Operation'"),
        (&long_line, "-ERR 'maximum control line exceeded'"),
        ("PUB a 1048577\r\n", "-ERR 'Maximum Payload Violation'"),
        (&flood, "-ERR 'Maximum Payload Violation'"),
    ] {
        for options in ["", QUIET] {
            let mut client = gateway.client(options).await;
            client.send(input).await;
            client.expect(&[error]).await;
            client.expect_closed().await;
        }
    }
    other.send("PUB a 1\r\nx\r\n").await;
    other.expect(&["MSG a 1 1", "x"]).await;
}

#[tokio::test]
async fn one_client_too_many_is_turned_away() {
    let mut config = Config::default();
    config.node.limits.sessions_max = Count::MIN;
    let gateway = Gateway::start_with(config).await;
    let mut first = gateway.client(QUIET).await;
    first.tell("").await;
    let mut second = gateway.client("").await;
    second
        .expect(&["-ERR 'maximum connections exceeded'"])
        .await;
    second.expect_closed().await;
    first.tell("").await;
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let mut config = Config::default();
    config.gateway.connect_timeout = Time::of_ms::<50>();
    let gateway = Gateway::start_with(config).await;
    let mut client = gateway.client("").await;
    client.send("CONN").await;
    client.expect(&["-ERR 'Authentication Timeout'"]).await;
    client.expect_closed().await;
}

#[tokio::test]
async fn half_an_operation_is_not_waited_for_without_end() {
    let mut config = Config::default();
    config.gateway.operation_timeout = Time::of_ms::<300>();
    let gateway = Gateway::start_with(config).await;
    let mut stuck = gateway.client(QUIET).await;
    let mut slow = gateway.client(QUIET).await;
    slow.tell("SUB a 1\r\n").await;
    stuck.send("PUB a 10\r\nhal").await;
    slow.send("PUB a 10\r\n").await;
    // Slower than the whole may pause, but never silent for that long.
    for byte in b"0123456789\r\n" {
        slow.send([*byte]).await;
        sleep(Duration::from_millis(50)).await;
    }
    slow.expect(&["MSG a 1 10", "0123456789"]).await;
    stuck.expect(&["-ERR 'Stale Connection'"]).await;
    stuck.expect_closed().await;
    // Who has sent whole operations may be silent.
    slow.tell("").await;
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_given_up() {
    let mut config = Config::default();
    config.gateway.ping_interval = Time::of_ms::<100>();
    let gateway = Gateway::start_with(config).await;
    let mut silent = gateway.client(QUIET).await;
    let mut alive = gateway.client(QUIET).await;
    alive.send("SUB a 1\r\n").await;
    for _ in 0..5 {
        alive.expect(&["PING"]).await;
        alive.send("PONG\r\n").await;
    }
    silent
        .expect(&["PING", "PING", "-ERR 'Stale Connection'"])
        .await;
    silent.expect_closed().await;
    alive.send("PUB a 1\r\nx\r\n").await;
    let mut line = alive.line().await;
    while line == "PING" {
        line = alive.line().await;
    }
    assert_eq!(line, "MSG a 1 1");
}

#[tokio::test]
async fn a_client_is_asked_once_whatever_it_sends() {
    let mut config = Config::default();
    config.gateway.ping_interval = Time::of_ms::<300>();
    let gateway = Gateway::start_with(config).await;
    let mut busy = gateway.client(QUIET).await;
    let talk = async {
        loop {
            busy.send("UNSUB 1\r\n").await;
            if let Ok(line) = timeout(Duration::from_millis(20), busy.line()).await {
                return line;
            }
        }
    };
    assert_eq!(timeout(SOON, talk).await.unwrap(), "PING");
}

#[tokio::test]
async fn an_agent_that_dies_is_no_member_any_more() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB a 1\r\nSUB a 2\r\n").await;
    gateway.members_become("a", 2).await;
    let members = gateway
        .node
        .members(&Scope::default(), &Pattern::parse("a").unwrap());
    assert!(
        members
            .iter()
            .all(|m| m.agent.as_ref().is_some_and(|a| a.as_str() == "quiet"))
    );
    drop(client);
    gateway.members_become("a", 0).await;
}

#[tokio::test]
async fn a_pong_comes_after_the_messages_before_it() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    let payload = "x".repeat(1000);
    let publications = format!("PUB a 1000\r\n{payload}\r\n").repeat(2000);
    client.send("SUB a 1\r\n").await;
    let (mut reader, mut writer) = client.stream.into_inner().into_split();
    let write = async move {
        writer.write_all(publications.as_bytes()).await.unwrap();
        writer.write_all(b"PING\r\n").await.unwrap();
        writer
    };
    let read = async {
        let mut all = Vec::new();
        while !all.ends_with(b"PONG\r\n") {
            assert!(reader.read_buf(&mut all).await.unwrap() > 0);
        }
        all
    };
    let both = async { tokio::join!(write, read) };
    let (_writer, all) = timeout(SOON, both).await.unwrap();
    let expected = format!("MSG a 1 1000\r\n{payload}\r\n").repeat(2000) + "PONG\r\n";
    assert!(all == expected.as_bytes());
}

#[tokio::test]
async fn who_asks_and_does_not_take_the_answers_waits_for_itself() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    let pings = b"PING\r\n".repeat(1 << 14);
    let mut sent = 0;
    // Until nothing more is taken.
    loop {
        let write = client.stream.write(&pings[sent % 6..]);
        let Ok(written) = timeout(Duration::from_millis(300), write).await else {
            break;
        };
        sent += written.unwrap();
        assert!(sent < 1 << 28, "the server takes questions without end");
    }
    let mut answers = vec![0; sent / 6 * 6];
    timeout(SOON, client.stream.read_exact(&mut answers))
        .await
        .unwrap()
        .unwrap();
    assert!(answers == b"PONG\r\n".repeat(sent / 6));
}

#[tokio::test]
async fn a_slow_client_is_cut_off_and_delays_nobody() {
    const BATCHES: usize = 200;
    let mut config = Config::default();
    config.gateway.mailbox.messages_max = Count::of::<64>();
    let gateway = Gateway::start_with(config).await;
    let mut slow = gateway.client(QUIET).await;
    slow.tell("SUB a slow\r\n").await;
    let mut fast = gateway.client(QUIET).await;
    fast.tell("SUB a fast\r\n").await;
    let mut publisher = gateway.client(QUIET).await;
    let payload = "x".repeat(16 << 10);
    let batch = format!("PUB a 16384\r\n{payload}\r\n").repeat(16);
    for _ in 0..BATCHES {
        publisher.send(&batch).await;
        for _ in 0..16 {
            fast.expect(&["MSG a fast 16384", &payload]).await;
        }
    }
    gateway.members_become("a", 1).await;
    let mut line = slow.line().await;
    while line == "MSG a slow 16384" || line == payload {
        line = slow.line().await;
    }
    assert_eq!(line, "-ERR 'Slow Consumer'");
    slow.expect_closed().await;
    fast.tell("").await;
}

#[tokio::test]
async fn who_is_made_to_wait_is_not_taken_for_gone() {
    let mut config = Config::default();
    config.gateway.ping_interval = Time::of_ms::<50>();
    config.gateway.mailbox.messages_max = Count::of::<64>();
    let gateway = Gateway::start_with(config).await;
    let mut slow = gateway.client(QUIET).await;
    slow.send("SUB a slow\r\n").await;
    gateway.members_become("a", 1).await;
    // Is there, and reads nothing, so that the publisher waits until it is cut off.
    let is_there = async {
        while slow.stream.write_all(b"PONG\r\n").await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let mut publisher = gateway.client(QUIET).await;
    let batch = format!("PUB a 16384\r\n{}\r\n", "x".repeat(16 << 10)).repeat(16);
    let publish = async {
        // More than all buffers between the two hold.
        for _ in 0..200 {
            publisher.send(&batch).await;
        }
        publisher.send("PING\r\n").await;
        // It is asked once itself.
        while publisher.line().await != "PONG" {}
    };
    timeout(SOON, async { tokio::join!(is_there, publish) })
        .await
        .expect("the one is cut off, the other goes on");
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_as_soon_as_it_is_cut_off() {
    let mut config = Config::default();
    config.gateway.mailbox.messages_max = Count::of::<64>();
    let gateway = Gateway::start_with(config).await;
    let mut slow = gateway.client(QUIET).await;
    slow.tell("SUB a slow\r\n").await;
    let mut publisher = gateway.client(QUIET).await;
    let batch = format!("PUB a 16384\r\n{}\r\n", "x".repeat(16 << 10)).repeat(16);
    // More than all buffers between the two hold.
    for _ in 0..200 {
        publisher.tell(&batch).await;
    }
    gateway.members_become("a", 0).await;
    let is_closed = async {
        while slow.stream.write_all(b"PING\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, is_closed)
        .await
        .expect("the socket is closed in time");
}

#[tokio::test]
async fn a_stopping_node_closes_its_clients() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB a 1\r\n").await;
    gateway.node.leave().await;
    client.expect_closed().await;
}

#[tokio::test]
async fn a_stopping_node_lets_nobody_in_and_does_not_wait_for_who_says_nothing() {
    let gateway = Gateway::start().await;
    let silent = TcpStream::connect(gateway.addr).await.unwrap();
    // Clients that lose their node try it again at once.
    let addr = gateway.addr;
    let returning = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let left = async { tokio::join!(gateway.node.leave(), returning) };
    timeout(Duration::from_secs(3), left)
        .await
        .expect("the node leaves although clients come and wait");
    drop(silent);
}

#[tokio::test]
async fn a_node_that_leaves_says_that_it_is_not_ready_before_it_refuses_a_client() {
    let gateway = Gateway::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap();
    http::serve(
        &gateway.node,
        listener,
        HttpConfig::default(),
        &gateway.clients,
    );
    let ready = async || {
        let url = format!("http://{http}/readyz");
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ready().await.0, 200);
    // It does not take what waits for it, so that the node takes its time to leave.
    let mut slow = gateway.client(QUIET).await;
    slow.tell("SUB a 1\r\n").await;
    let payload = "x".repeat(100_000);
    let mut publisher = gateway.client(QUIET).await;
    publisher
        .tell(format!("PUB a 100000\r\n{payload}\r\n").repeat(200))
        .await;
    let refused = async {
        while let Ok(stream) = TcpStream::connect(gateway.addr).await {
            let mut client = BufReader::new(stream);
            let mut greeting = String::new();
            match client.read_line(&mut greeting).await {
                Ok(bytes) if bytes > 0 => {}
                _ => break,
            }
        }
        ready().await
    };
    tokio::select! {
        () = gateway.node.leave() => panic!("it has left before anybody was refused"),
        (status, answer) = refused => {
            assert_eq!(status, 503);
            assert!(answer.contains("leaving"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_stopping_node_delivers_what_waits_for_its_clients() {
    const MESSAGES: usize = 200;
    let gateway = Gateway::start().await;
    let mut subscriber = gateway.client(QUIET).await;
    subscriber.tell("SUB a 1\r\n").await;
    let mut publisher = gateway.client(QUIET).await;
    // More than the sockets hold.
    let payload = "x".repeat(100_000);
    publisher
        .tell(format!("PUB a 100000\r\n{payload}\r\n").repeat(MESSAGES))
        .await;
    let reading = async {
        for _ in 0..MESSAGES {
            subscriber.expect(&["MSG a 1 100000", &payload]).await;
        }
        subscriber.expect_closed().await;
    };
    tokio::join!(gateway.node.leave(), reading);
}

#[tokio::test]
async fn a_client_library_publishes_subscribes_and_asks() {
    let gateway = Gateway::start().await;
    let url = format!("nats://{}", gateway.addr);
    let options = async_nats::ConnectOptions::new().name("library");
    let client = options.connect(url).await.unwrap();
    let mut subscription = client.subscribe("kb.>").await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Trace", "1");
    client.publish("kb.a", "plain".into()).await.unwrap();
    client
        .publish_with_headers("kb.b", headers, vec![7; 1_000_000].into())
        .await
        .unwrap();
    let message = timeout(SOON, subscription.next()).await.unwrap().unwrap();
    assert_eq!(
        (message.subject.as_str(), &message.payload[..]),
        ("kb.a", &b"plain"[..])
    );
    let message = timeout(SOON, subscription.next()).await.unwrap().unwrap();
    assert_eq!(message.headers.unwrap().get("Trace").unwrap().as_str(), "1");
    assert_eq!(message.payload.len(), 1_000_000);

    let mut questions = client.subscribe("sum").await.unwrap();
    client.flush().await.unwrap();
    let answering = async {
        let question = questions.next().await.unwrap();
        client
            .publish(question.reply.unwrap(), "3".into())
            .await
            .unwrap();
    };
    let asking = client.request("sum", "1+2".into());
    let (_, answer) = timeout(SOON, async { tokio::join!(answering, asking) })
        .await
        .unwrap();
    assert_eq!(&answer.unwrap().payload[..], b"3");

    subscription.unsubscribe_after(3).await.unwrap();
    client.publish("kb.c", "last".into()).await.unwrap();
    let last = timeout(SOON, subscription.next()).await.unwrap().unwrap();
    assert_eq!(&last.payload[..], b"last");
    assert!(timeout(SOON, subscription.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_says_something_of_itself_and_is_answered() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client
        .send("SUB a.b 1\r\nSUB a.b 2\r\nSUB back 3\r\n")
        .await;
    client
        .send("PUB $TIDINGS.presence.a.b back 14\r\n{\"does\": \"it\"}\r\n")
        .await;
    let answer = client.line().await;
    assert_eq!(answer, "MSG back 3 13");
    assert_eq!(client.line().await, r#"{"members":2}"#);
    let (scope, pattern) = (Scope::default(), Pattern::parse("a.b").unwrap());
    let said = || {
        let members = gateway.node.members(&scope, &pattern).into_iter();
        let said = members.map(|member| member.metadata.to_string());
        said.collect::<Vec<_>>()
    };
    assert_eq!(said(), [r#"{"does":"it"}"#; 2]);

    // What is wrong is told in the answer, and changes nothing.
    for (request, problem) in [
        ("presence.a.b back 1\r\n1", "metadata is a JSON object"),
        ("presence.other back 2\r\n{}", "no such subscription"),
        ("presence.a..b back 2\r\n{}", "empty"),
        ("nothing back 0\r\n", "serves nothing of this name"),
    ] {
        client.send(format!("PUB $TIDINGS.{request}\r\n")).await;
        assert!(client.line().await.starts_with("MSG back 3 "));
        let answer = client.line().await;
        assert!(answer.starts_with(r#"{"error":"#), "{answer}");
        assert!(answer.contains(problem), "{answer}");
    }
    assert_eq!(said(), [r#"{"does":"it"}"#; 2]);

    // Or as an error, if no answer is asked for.
    client.send("PUB $TIDINGS.presence.other 2\r\n{}\r\n").await;
    let refused = client.line().await;
    assert!(
        refused.starts_with("-ERR 'Permissions Violation for Publish to \"$TIDINGS."),
        "{refused}"
    );
    client
        .send("PUB $TIDINGS.presence.a.b 0\r\n\r\nPING\r\n")
        .await;
    assert_eq!(client.line().await, "PONG");
    assert_eq!(said(), ["{}"; 2]);
}

#[tokio::test]
async fn what_is_asked_of_the_node_is_broadcast_to_nobody() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client
        .send("SUB > 1\r\nPUB $TIDINGS.presence.> 2\r\n{}\r\nPING\r\n")
        .await;
    assert_eq!(client.line().await, "PONG");
}

#[tokio::test]
async fn a_client_says_its_scope_as_its_user_or_token_and_is_in_no_other() {
    let gateway = Gateway::start().await;
    let mut here = gateway.client(QUIET).await;
    here.tell("SUB a 1\r\n").await;
    let user = r#"{"verbose":false,"user":"scope=staging","pass":"x"}"#;
    let mut by_user = gateway.client(user).await;
    by_user.tell("SUB a 1\r\n").await;
    let token = r#"{"verbose":false,"auth_token":"scope=staging"}"#;
    let mut by_token = gateway.client(token).await;
    by_token.tell("PUB a 1\r\nx\r\n").await;
    by_user.expect(&["MSG a 1 1", "x"]).await;
    // Somebody's real user and token, which are not looked at.
    let other = r#"{"verbose":false,"user":"scope","auth_token":"s3cret"}"#;
    let mut other = gateway.client(other).await;
    other.tell("PUB a 1\r\ny\r\n").await;
    here.expect(&["MSG a 1 1", "y"]).await;

    let staging = Scope::parse("staging").unwrap();
    assert_eq!(
        gateway.node.members(&staging, &"a".parse().unwrap()).len(),
        1
    );
}

#[tokio::test]
async fn a_scope_that_is_none_or_another_one_later_is_an_error() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(r#"{"user":"scope=a\u0027\r\nb"}"#).await;
    let refused = client.line().await;
    let reason = "a scope name has only A-Z, a-z, 0-9, '-', '_' and '.', not";
    let expected = format!(r#"-ERR 'Invalid Scope "a'\r\nb": {reason}"#);
    assert!(refused.starts_with(&expected), "{refused}");
    client.expect_closed().await;

    let staging = r#"{"verbose":false,"user":"scope=staging"}"#;
    let mut client = gateway.client(staging).await;
    client.tell(format!("CONNECT {staging}\r\n")).await;
    client.tell("CONNECT {\"verbose\":false}\r\n").await;
    client
        .send("CONNECT {\"user\":\"scope=default\"}\r\n")
        .await;
    client
        .expect(&["-ERR 'Invalid Scope: a connection keeps that of its first CONNECT'"])
        .await;
    client.expect_closed().await;
}

#[tokio::test]
async fn a_header_says_that_a_message_is_for_one_node_only() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client(QUIET).await;
    client.tell("SUB a 1\r\n").await;
    let publish = |header: &str| {
        let block = format!("NATS/1.0\r\n{header}\r\n\r\n");
        let (head, all) = (block.len(), block.len() + 1);
        format!("HPUB a {head} {all}\r\n{block}x\r\n")
    };
    for header in [
        "Tidings-Reach: local".to_owned(),
        format!("Tidings-Node: {}", gateway.node.name()),
    ] {
        client.send(publish(&header)).await;
        let head = client.line().await;
        assert!(head.starts_with("HMSG a 1 "), "{head}");
        client.expect(&["NATS/1.0", &header, "", "x"]).await;
    }
    client.send(publish("Tidings-Node: nobody")).await;
    client
        .expect(&[
            "-ERR 'Permissions Violation for Publish to \"a\": no live node is called nobody'",
        ])
        .await;
    client.send(publish("Tidings-Reach: all")).await;
    let refused = client.line().await;
    assert!(
        refused.contains("a reach is `local` or `everywhere`"),
        "{refused}"
    );
    // Who wants no echo gets none, however the message goes.
    client
        .tell(r#"CONNECT {"verbose":false,"headers":true,"echo":false}"#.to_owned() + "\r\n")
        .await;
    client.tell(publish("Tidings-Reach: local")).await;
}

#[tokio::test]
async fn a_client_writes_a_stream_and_any_other_reads_it_by_requests() {
    let gateway = Gateway::start().await;
    let url = format!("nats://{}", gateway.addr);
    let writes = async_nats::connect(&url).await.unwrap();
    let reads = async_nats::connect(&url).await.unwrap();
    let ask = async |client: &async_nats::Client, subject: String, payload: &'static str| {
        let answer = client.request(subject, payload.into()).await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    let named = |answer: &Value, what: &str| answer[what].as_str().unwrap().to_owned();
    let opened = ask(&writes, "$TIDINGS.stream.open".into(), "").await;
    let (id, push) = (named(&opened, "stream"), named(&opened, "push"));
    let read = format!("$TIDINGS.stream.{id}");
    let empty = ask(&reads, read.clone(), r#"{"wait":"10ms"}"#).await;
    assert_eq!(empty, json!({ "from": 0, "next": 0, "chunks": [] }));

    let mut live = reads.subscribe(format!("stream.{id}")).await.unwrap();
    reads.flush().await.unwrap();
    let waits = ask(&reads, read.clone(), "");
    let pushes = async {
        writes.publish(push.clone(), "it is ".into()).await.unwrap();
        ask(&writes, push.clone(), "sunny").await
    };
    let (first, pushed) = tokio::join!(waits, pushes);
    assert_eq!(pushed, json!({ "chunks": 2 }));
    assert_eq!(
        (&first["from"], &first["chunks"][0]),
        (&json!(0), &json!("it is "))
    );
    let finished = ask(&writes, named(&opened, "finish"), "").await;
    assert_eq!(finished, json!({ "chunks": 2, "state": "complete" }));
    let rest = ask(&reads, read, r#"{"from":1}"#).await;
    let expected = json!({ "from": 1, "next": 2, "chunks": ["sunny"], "end": "complete" });
    assert_eq!(rest, expected);
    for (offset, end, payload) in [
        ("0", None, "it is "),
        ("1", None, "sunny"),
        ("2", Some("complete"), ""),
    ] {
        let message = timeout(SOON, live.next()).await.unwrap().unwrap();
        let headers = message.headers.unwrap();
        let header = |name: &str| headers.get(name).map(|value| value.as_str());
        assert_eq!(header("Tidings-Stream-Offset"), Some(offset));
        assert_eq!(header("Tidings-Stream-End"), end);
        assert_eq!(message.payload, payload);
    }

    // What is not there is said, and nobody else writes it.
    for (client, subject) in [
        (&reads, push.clone()),
        (&writes, push),
        (&reads, "$TIDINGS.stream.none".to_owned()),
        (&reads, format!("$TIDINGS.stream.{id}9")),
    ] {
        let answer = ask(client, subject.clone(), "").await;
        assert!(answer["error"].is_string(), "{subject}: {answer}");
    }
    let odd = ask(&reads, format!("$TIDINGS.stream.{id}"), r#"{"wait":"2h"}"#).await;
    assert!(odd["error"].is_string(), "{odd}");
}

#[tokio::test]
async fn the_streams_of_a_client_that_is_gone_have_aborted() {
    let gateway = Gateway::start().await;
    let reads = async_nats::connect(format!("nats://{}", gateway.addr))
        .await
        .unwrap();
    let mut writes = gateway.client(QUIET).await;
    writes
        .send("SUB r 1\r\nPUB $TIDINGS.stream.open r 0\r\n\r\n")
        .await;
    writes.line().await;
    let opened: Value = serde_json::from_str(&writes.line().await).unwrap();
    let (id, fail) = (&opened["stream"], opened["fail"].as_str().unwrap());
    let read = format!("$TIDINGS.stream.{}", id.as_str().unwrap());
    let request = reads.request(read.clone(), "".into());
    let gone = async { drop(writes) };
    let (answer, ()) = tokio::join!(request, gone);
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    let aborted = json!({ "from": 0, "next": 0, "chunks": [], "end": "aborted" });
    assert_eq!(answer, aborted);

    let mut another = gateway.client(QUIET).await;
    let late = format!("SUB r 1\r\nPUB {fail} r 0\r\n\r\n");
    another.send(late).await;
    another.line().await;
    assert!(another.line().await.contains("error"));
}
