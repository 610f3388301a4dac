//! Clients that go to other nodes: what they are told of them, and what becomes of them when theirs leaves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tidings::{LocalCluster, Node, Pattern, Scope, Time};
use tidings_sidecar::gateway::{self, Clients};
use tidings_sidecar::{Config, GatewayConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(20);
const CONNECT: &str = "CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n";

/// A node with a gateway.
struct Door {
    node: Node,
    addr: SocketAddr,
    clients: Clients,
}

impl Door {
    async fn open(node: &Node, config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            addr: listener.local_addr().unwrap(),
            clients: gateway::serve(node, listener, config).unwrap(),
            node: node.clone(),
        }
    }

    /// A client that is told what changes, and what its greeting says.
    async fn client(&self) -> (Client, Value) {
        let mut client = Client(BufReader::new(TcpStream::connect(self.addr).await.unwrap()));
        let greeting = client.info().await;
        client.send(CONNECT).await;
        assert_eq!(client.line().await, "PONG");
        (client, greeting)
    }

    async fn members_become(&self, topic: &str, count: usize) {
        let pattern = Pattern::parse(topic).unwrap();
        until(|| self.node.members(&Scope::default(), &pattern).len() == count).await;
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

    async fn info(&mut self) -> Value {
        let line = self.line().await;
        let json = line
            .strip_prefix("INFO ")
            .unwrap_or_else(|| panic!("{line}"));
        serde_json::from_str(json).unwrap()
    }

    /// Sends what has no answer of its own, and waits until it is done.
    async fn tell(&mut self, bytes: &str) {
        self.send(bytes).await;
        self.send("PING\r\n").await;
        assert_eq!(self.line().await, "PONG");
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let read = self.0.read_to_string(&mut rest);
        timeout(SOON, read).await.expect("an end").unwrap();
        rest
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait).await.expect("it comes to hold");
}

async fn two() -> (LocalCluster, Door, Door) {
    two_with(GatewayConfig::default()).await
}

async fn two_with(config: GatewayConfig) -> (LocalCluster, Door, Door) {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [first, second] = cluster.nodes() else {
        unreachable!()
    };
    let doors = (
        Door::open(first, config.clone()).await,
        Door::open(second, config).await,
    );
    (cluster, doors.0, doors.1)
}

fn urls(info: &Value) -> Vec<String> {
    let urls = info["connect_urls"].as_array();
    let urls = urls.into_iter().flatten();
    urls.map(|url| url.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_client_learns_of_the_nodes_that_come_and_go_and_nobody_else_is_bothered() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [first, second] = cluster.nodes() else {
        unreachable!()
    };
    let door = Door::open(first, GatewayConfig::default()).await;
    let (mut client, greeting) = door.client().await;
    assert!(greeting.get("connect_urls").is_none(), "there is no other");
    let (mut old, _) = door.client().await;
    old.tell("CONNECT {\"verbose\":false}\r\n").await;
    let mut early = Client(BufReader::new(TcpStream::connect(door.addr).await.unwrap()));
    early.info().await;
    early
        .send("CONNECT {\"verbose\":false,\"protocol\":1}\r\n")
        .await;

    let other = Door::open(second, GatewayConfig::default()).await;
    let both = [door.addr.to_string(), other.addr.to_string()];
    let info = client.info().await;
    assert_eq!(urls(&info), both);
    assert!(info.get("ldm").is_none() && info["client_id"] == greeting["client_id"]);
    // One that has not had its first PONG is told after that.
    early.send("PING\r\n").await;
    assert_eq!(early.line().await, "PONG");
    assert_eq!(urls(&early.info().await), both);
    assert_eq!(urls(&door.client().await.1), both);

    second.leave().await;
    assert!(urls(&client.info().await).is_empty());
    old.tell("").await;
}

#[tokio::test]
async fn an_advertised_address_is_what_clients_and_other_nodes_are_told() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [first, second] = cluster.nodes() else {
        unreachable!()
    };
    let config = GatewayConfig {
        advertise: serde_json::from_str(r#"["gate.example:1","[::1]:2"]"#).unwrap(),
        ..GatewayConfig::default()
    };
    let hidden = GatewayConfig {
        advertise: serde_json::from_str(r#""none""#).unwrap(),
        ..GatewayConfig::default()
    };
    let first = Door::open(first, config).await;
    let second = Door::open(second, hidden).await;
    let own = first.client().await.1;
    assert_eq!(
        (&own["host"], &own["port"]),
        (&"gate.example".into(), &1.into())
    );
    assert!(urls(&own).is_empty(), "the other one hides");
    until(|| second.node.nodes()[0].door.addrs().len() == 2).await;
    let told = urls(&second.client().await.1);
    assert_eq!(told, ["gate.example:1", "[::1]:2"]);
}

#[tokio::test]
async fn a_node_that_drains_sends_its_clients_away_with_all_that_is_theirs() {
    let config = GatewayConfig {
        lame_duck_grace: Time::of_ms::<300>(),
        lame_duck_duration: Time::of_ms::<200>(),
        ..GatewayConfig::default()
    };
    let (_cluster, first, second) = two_with(config).await;
    until(|| first.node.nodes()[1].door.addrs().len() == 1).await;
    let (mut slow, _) = first.client().await;
    slow.tell("SUB news 1\r\n").await;
    let (mut publisher, _) = second.client().await;
    second.members_become("news", 1).await;
    // More than the sockets take, so that most of it waits for a client that does not read yet.
    let payload = "x".repeat(100_000);
    let publish = format!("PUB news 100000\r\n{payload}\r\n").repeat(100);
    publisher.tell(&publish).await;
    let (mut own, greeting) = first.client().await;
    assert_eq!(urls(&greeting).len(), 2);

    let clients = first.clients.clone();
    let mut draining = JoinSet::new();
    draining.spawn(async move { clients.drain().await });
    let info = own.info().await;
    assert_eq!(
        (&info["ldm"], urls(&info)),
        (&true.into(), vec![second.addr.to_string()])
    );
    assert!(
        TcpStream::connect(first.addr).await.is_err(),
        "nobody new is let in"
    );
    // Those of the other node are not to come here.
    let told = publisher.info().await;
    assert!(
        urls(&told).is_empty() && told.get("ldm").is_none(),
        "{told}"
    );
    assert!(first.clients.is_draining());
    // Within the grace a client is served as ever.
    own.tell("PUB answers 2\r\n42\r\n").await;
    assert_eq!(own.rest().await, "", "then it is closed without an error");

    let mut got = 0;
    let mut ldm = 0;
    loop {
        let line = slow.line().await;
        match line.split(' ').next().unwrap() {
            "" => break,
            "MSG" => {
                assert_eq!(slow.line().await, payload);
                got += 1;
            }
            "INFO" => ldm += usize::from(line.contains("\"ldm\":true")),
            _ => panic!("{line}"),
        }
    }
    assert_eq!((got, ldm), (100, 1));
    timeout(SOON, draining.join_all()).await.unwrap();
    assert_eq!(first.clients.connected(), 0);
    let stats = first.node.stats();
    assert_eq!((stats.dropped_session_ended, stats.sessions), (0, 0));
    second.members_become("news", 0).await;
}

#[tokio::test]
async fn a_node_that_leaves_at_once_says_so_to_its_clients() {
    let (_cluster, first, second) = two().await;
    until(|| first.node.nodes()[1].door.addrs().len() == 1).await;
    let (mut client, _) = first.client().await;
    first.node.leave().await;
    let info = client.info().await;
    assert_eq!(info["ldm"], true);
    assert!(urls(&info).contains(&second.addr.to_string()));
    assert_eq!(client.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_move_to_another_node_when_theirs_drains_and_lose_nothing_that_was_confirmed()
{
    let config = GatewayConfig {
        lame_duck_grace: Time::of_ms::<100>(),
        lame_duck_duration: Time::of_ms::<100>(),
        ..GatewayConfig::default()
    };
    let (cluster, first, second) = two_with(config).await;
    until(|| first.node.nodes()[1].door.addrs().len() == 1).await;
    let connect = async |addr: SocketAddr| {
        let options = async_nats::ConnectOptions::new();
        let options = options.request_timeout(Some(Duration::from_secs(1)));
        let client = options.connect(addr.to_string()).await.unwrap();
        client.flush().await.unwrap();
        client
    };
    let (publisher, mover) = (connect(first.addr).await, connect(first.addr).await);
    let stays = connect(second.addr).await;
    let mut all = stays.subscribe("work").await.unwrap();
    let mut moved = mover.subscribe("moved").await.unwrap();
    stays.flush().await.unwrap();
    mover.flush().await.unwrap();
    first.members_become("work", 1).await;

    let clients = first.clients.clone();
    let mut draining = JoinSet::new();
    draining.spawn(async move { clients.drain().await });
    // It goes on publishing all the while, each message confirmed before the next; what was not confirmed
    // it says again. Its flush confirms nothing: what is in the socket may not have been read. What the node
    // answers, it has read, and all before.
    for number in 0..300 {
        loop {
            publisher
                .publish("work", number.to_string().into())
                .await
                .unwrap();
            if publisher.request("$TIDINGS.nodes", "".into()).await.is_ok() {
                break;
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
    timeout(SOON, draining.join_all()).await.unwrap();
    assert_eq!(
        publisher.server_info().server_name,
        second.node.name().as_str()
    );

    let mut seen = BTreeSet::new();
    let mut last = None;
    while seen.len() < 300 {
        let Ok(message) = timeout(SOON, all.next()).await else {
            let missing = (0..300).filter(|number| !seen.contains(number));
            panic!("{:?} are missing", missing.collect::<Vec<_>>());
        };
        let number: i32 = std::str::from_utf8(&message.unwrap().payload)
            .unwrap()
            .parse()
            .unwrap();
        assert!(last.is_none_or(|last| number >= last), "in order");
        last = Some(number);
        seen.insert(number);
    }
    second.members_become("moved", 1).await;
    until(|| second.clients.connected() == 3).await;
    stays.publish("moved", "here".into()).await.unwrap();
    let message = timeout(SOON, moved.next()).await.unwrap().unwrap();
    assert_eq!(message.payload, "here");
    cluster.leave().await;
}

#[tokio::test]
async fn without_clients_a_node_has_drained_at_once() {
    let node = Node::start(Config::default().node, None).await.unwrap();
    let door = Door::open(&node, GatewayConfig::default()).await;
    timeout(Duration::from_secs(2), door.clients.drain())
        .await
        .unwrap();
    node.leave().await;
}
