//! Who may do what, by every door.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use async_nats::ConnectOptions;
use data_encoding::BASE64URL_NOPAD;
use futures::StreamExt;
use serde_json::{Value, json};
use tidings::{
    Access, AssuredOptions, BroadcastError, Count, Inbox, MemberId, Message, Permissions, Scope,
    Session, SessionOptions, SubscribeError,
};
use tidings_sidecar::identities::{IdentitiesConfig, RoleConfig, hash_token};
use tidings_sidecar::{Config, Sidecar};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);

/// What each may do by each door.
///
/// `+`: it is done. `-`: it is refused, and the connection stays. `x`: nobody is let in. `.`: there is no such thing.
///
/// `open` is a node without identities. On the others are identities: `nobody` says nothing of who it is, `wrong` has a wrong
/// password. `boss`, `token` and `nkey` may do everything, and show who they are by password, token and key. `worker` may
/// publish on and subscribe to `work.>` but not `work.secret`, and sees its own scope. `mute` may nothing.
const TABLE: &str = "
door     operation             open nobody wrong boss token nkey worker mute
nats     connect               +    x      x     +    +     +    +      +
nats     publish work.a        +    x      x     +    +     +    +      -
nats     publish work.secret   +    x      x     +    +     +    -      -
nats     publish other         +    x      x     +    +     +    -      -
nats     publish with reply    +    x      x     +    +     +    +      -
nats     publish to here       +    x      x     +    +     +    +      -
nats     publish to node       +    x      x     +    +     +    +      -
nats     publish to member     +    x      x     +    +     +    +      -
nats     publish assured       +    x      x     +    +     +    +      -
nats     other assured         +    x      x     +    +     +    -      -
nats     other to here         +    x      x     +    +     +    -      -
nats     subscribe work.a      +    x      x     +    +     +    +      -
nats     subscribe work.>      +    x      x     +    +     +    +      -
nats     subscribe work.secret +    x      x     +    +     +    -      -
nats     subscribe other       +    x      x     +    +     +    -      -
nats     subscribe >           +    x      x     +    +     +    -      -
nats     presence              +    x      x     +    +     +    +      -
nats     barrier               +    x      x     +    +     +    +      -
nats     unknown request       +    x      x     +    +     +    -      -
http     publish work.a        +    x      x     +    +     .    +      -
http     publish work.secret   +    x      x     +    +     .    -      -
http     publish other         +    x      x     +    +     .    -      -
http     publish to here       +    x      x     +    +     .    +      -
http     publish to node       +    x      x     +    +     .    +      -
http     publish to member     +    x      x     +    +     .    +      -
http     publish assured       +    x      x     +    +     .    +      -
http     other assured         +    x      x     +    +     .    -      -
http     other scope           +    x      x     -    -     .    -      -
http     topics                +    x      x     +    +     .    +      -
http     topics elsewhere      +    x      x     +    +     .    -      -
http     topic                 +    x      x     +    +     .    +      -
http     members               +    x      x     +    +     .    +      -
http     members elsewhere     +    x      x     +    +     .    -      -
http     explain               +    x      x     +    +     .    +      -
http     nodes                 +    x      x     +    +     .    +      -
http     watch                 +    x      x     +    +     .    +      -
http     watch all             +    x      x     +    +     .    +      -
http     watch nodes           +    x      x     +    +     .    +      -
http     watch elsewhere       +    x      x     +    +     .    -      -
http     describe work.a       +    x      x     +    +     .    +      -
http     describe other        +    x      x     +    +     .    -      -
http     metrics               +    x      x     +    +     .    -      -
http     livez                 +    +      +     +    +     .    +      +
http     readyz                +    +      +     +    +     .    +      +
mcp      publish work.a        +    x      x     +    +     .    +      -
mcp      publish work.secret   +    x      x     +    +     .    -      -
mcp      publish other         +    x      x     +    +     .    -      -
mcp      request other         +    x      x     +    +     .    -      -
mcp      subscribe work.a      +    x      x     +    +     .    +      -
mcp      subscribe work.>      +    x      x     +    +     .    +      -
mcp      subscribe work.secret +    x      x     +    +     .    -      -
mcp      subscribe other       +    x      x     +    +     .    -      -
mcp      topics                +    x      x     +    +     .    +      -
mcp      topics elsewhere      +    x      x     +    +     .    -      -
mcp      members               +    x      x     +    +     .    +      -
mcp      nodes                 +    x      x     +    +     .    +      -
mcp      read nodes            +    x      x     +    +     .    +      -
mcp      read topics/work.a    +    x      x     +    +     .    +      -
mcp      read topics/other     +    x      x     +    +     .    -      -
library  publish work.a        +    .      .     +    .     .    +      -
library  publish work.secret   +    .      .     +    .     .    -      -
library  publish other         +    .      .     +    .     .    -      -
library  publish to here       +    .      .     +    .     .    +      -
library  publish to node       +    .      .     +    .     .    +      -
library  publish to member     +    .      .     +    .     .    +      -
library  publish assured       +    .      .     +    .     .    +      -
library  other assured         +    .      .     +    .     .    -      -
library  other to here         +    .      .     +    .     .    -      -
library  subscribe work.a      +    .      .     +    .     .    +      -
library  subscribe work.>      +    .      .     +    .     .    +      -
library  subscribe work.secret +    .      .     +    .     .    -      -
library  subscribe other       +    .      .     +    .     .    -      -
library  subscribe >           +    .      .     +    .     .    -      -
library  presence              +    .      .     +    .     .    +      -
library  barrier               +    .      .     +    .     .    +      -
library  see its scope         +    .      .     +    .     .    +      -
library  see all scopes        +    .      .     +    .     .    -      -
";

const ROLES: &str = r#"
    [roles.boss]
    view = "everything"
    [roles.worker]
    publish = { allow = ["work.>", "$TIDINGS.presence.work.>", "$TIDINGS.barrier"], deny = ["work.secret"] }
    subscribe = { allow = ["work.>", "_INBOX.>"], deny = ["work.secret"] }
    [roles.mute]
    publish = { allow = [] }
    subscribe = { deny = [">"] }
    view = "nothing"
    describe = false
"#;

/// A node on which nobody or everybody of the table is known.
struct Place {
    sidecar: Sidecar,
    key: nkeys::KeyPair,
    /// Receives whatever is published.
    observer: (Session, Inbox),
    member: MemberId,
}

impl Place {
    async fn start(with_identities: bool) -> Self {
        let key = nkeys::KeyPair::new_user();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            client: Some(any),
            http: Some(any),
            access: if with_identities {
                identities(&key)
            } else {
                IdentitiesConfig::default()
            },
            ..Config::default()
        };
        let sidecar = Sidecar::start(config, None).await.unwrap();
        let observer = sidecar.node().session(SessionOptions::default()).unwrap();
        let member = observer.0.subscribe(&"work.a".parse().unwrap()).unwrap();
        for topic in ["work.secret", "other"] {
            observer.0.subscribe(&topic.parse().unwrap()).unwrap();
        }
        Self {
            sidecar,
            key,
            observer,
            member,
        }
    }

    /// Whether something has been received since this was asked last.
    fn was_published(&mut self) -> bool {
        std::iter::from_fn(|| self.observer.1.try_recv().unwrap()).count() > 0
    }

    async fn client(&self, who: &str) -> Client {
        let mut client = Client::open(self.sidecar.client_addr().unwrap()).await;
        let mut options = json!({ "verbose": false, "headers": true });
        match who {
            "open" | "nobody" => {}
            "token" => options["auth_token"] = "t0ken".into(),
            "nkey" => {
                let nonce = client.info["nonce"].as_str().unwrap();
                let signature = self.key.sign(nonce.as_bytes()).unwrap();
                options["nkey"] = self.key.public_key().into();
                options["sig"] = BASE64URL_NOPAD.encode(&signature).into();
            }
            "wrong" => {
                options["user"] = "nobody".into();
                options["pass"] = "boss".into();
            }
            name => {
                options["user"] = name.into();
                options["pass"] = name.into();
            }
        }
        client.send(&format!("CONNECT {options}\r\n")).await;
        client
    }

    async fn http(&self, who: &str, method: &str, path: &str, body: &'static str) -> u16 {
        let request = self.request(who, method, path).body(body);
        let request = request.header("content-type", "application/json");
        let response = timeout(SOON, request.send()).await.unwrap().unwrap();
        if response.status() == 401 {
            let schemes = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(schemes.starts_with("Basic ") && schemes.contains("Bearer "));
        }
        response.status().as_u16()
    }

    fn request(&self, who: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.sidecar.http_addr().unwrap());
        let client = reqwest::Client::builder().no_proxy();
        let client = client.local_address(IpAddr::from(somewhere()));
        let client = client.build().unwrap();
        let request = client.request(method.parse().unwrap(), url);
        match who {
            "open" | "nobody" => request,
            "token" => request.bearer_auth("t0ken"),
            "wrong" => request.basic_auth("nobody", Some("boss")),
            name => request.basic_auth(name, Some(name)),
        }
    }
}

fn identities(key: &nkeys::KeyPair) -> IdentitiesConfig {
    let password = |name: &str| {
        let hash = bcrypt::hash(name, 4).unwrap();
        format!("[[identities]]\nname = '{name}'\nrole = '{name}'\npassword = '{hash}'\n")
    };
    let named: String = ["boss", "worker", "mute"].map(password).concat();
    toml::from_str(&format!(
        "{named}
        [[identities]]
        name = 'tok'
        role = 'boss'
        token = '{}'
        [[identities]]
        name = 'signer'
        role = 'boss'
        nkey = '{}'
        {ROLES}",
        hash_token("t0ken"),
        key.public_key()
    ))
    .unwrap()
}

/// An address of this machine that nobody else uses here: who fails from one has to wait there.
fn somewhere() -> Ipv4Addr {
    static LAST: AtomicU32 = AtomicU32::new(0x7f01_0000);
    Ipv4Addr::from_bits(LAST.fetch_add(1, Relaxed))
}

/// Speaks the protocol line by line.
struct Client {
    stream: BufReader<TcpStream>,
    info: Value,
}

impl Client {
    async fn open(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((somewhere(), 0).into()).unwrap();
        let stream = BufReader::new(socket.connect(addr).await.unwrap());
        let info = Value::Null;
        let mut client = Self { stream, info };
        let line = client.line().await;
        client.info = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        client
    }

    /// Who was refused may find its connection closed.
    async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Empty at the end.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(SOON, self.stream.read_line(&mut line)).await;
        // As is one that was reset.
        let _ = read.expect("the server says something");
        line.trim_end().to_owned()
    }

    /// Does this, and returns what is said until the server has done it.
    async fn ask(&mut self, text: &str) -> Vec<String> {
        self.send(&format!("{text}PING\r\n")).await;
        self.until("PONG").await
    }

    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() || line.starts_with(last) {
                return lines;
            }
            lines.push(line);
        }
    }
}

fn verdict(lines: &[String]) -> char {
    let said = |text: &str| lines.iter().any(|line| line.contains(text));
    match lines {
        _ if said("-ERR 'Authorization Violation'") => 'x',
        _ if said("-ERR 'Permissions Violation for ") => '-',
        _ => {
            assert!(!said("-ERR"), "{lines:?}");
            '+'
        }
    }
}

async fn by_nats(place: &mut Place, who: &str, operation: &str) -> char {
    let node = place.sidecar.node().clone();
    let mut client = place.client(who).await;
    let publish = |topic: &str, header: &str| {
        let block = format!("NATS/1.0\r\n{header}\r\n\r\n");
        let (headers, all) = (block.len(), block.len() + 1);
        format!("HPUB {topic} {headers} {all}\r\n{block}x\r\n")
    };
    let subscribed = |topic: &str| {
        let own = node.local_members(&Scope::default(), &topic.parse().unwrap());
        own.iter().any(|member| member.member != place.member)
    };
    if operation == "connect" {
        return verdict(&client.ask("").await);
    }
    if let Some(topic) = operation.strip_prefix("subscribe ") {
        let before = node
            .local_members(&Scope::default(), &topic.parse().unwrap())
            .len();
        let outcome = verdict(&client.ask(&format!("SUB {topic} 1\r\n")).await);
        let after = node
            .local_members(&Scope::default(), &topic.parse().unwrap())
            .len();
        assert_eq!(
            after - before,
            usize::from(outcome == '+'),
            "{who}: {operation}"
        );
        return outcome;
    }
    let request = match operation {
        "presence" => Some(("presence.work.a", "{}", "SUB work.a 1\r\n")),
        "barrier" => Some(("barrier", "1s", "")),
        "unknown request" => Some(("unknown", "", "")),
        _ => None,
    };
    if let Some((name, payload, before)) = request {
        client.send("SUB _INBOX.x 9\r\n").await;
        let bytes = payload.len();
        let text = format!("{before}PUB $TIDINGS.{name} _INBOX.x {bytes}\r\n{payload}\r\n");
        let outcome = verdict(&client.ask(&text).await);
        if operation == "presence" && outcome == '+' {
            assert!(subscribed("work.a"));
        }
        return outcome;
    }
    let text = match operation {
        "publish with reply" => "PUB work.a other 1\r\nx\r\n".to_owned(),
        "publish to here" => publish("work.a", "Tidings-Reach: local"),
        "publish to node" => publish("work.a", &format!("Tidings-Node: {}", node.name())),
        "publish to member" => publish("work.a", &format!("Tidings-Member: {}", place.member)),
        "other to here" => publish("other", "Tidings-Reach: local"),
        "publish assured" | "other assured" => {
            let topic = if operation.starts_with("other") {
                "other"
            } else {
                "work.a"
            };
            publish(topic, "Tidings-Assured: 1s").replacen(topic, &format!("{topic} _INBOX.x"), 1)
        }
        _ => format!(
            "PUB {} 1\r\nx\r\n",
            operation.strip_prefix("publish ").unwrap()
        ),
    };
    let outcome = verdict(&client.ask(&text).await);
    assert_eq!(place.was_published(), outcome == '+', "{who}: {operation}");
    outcome
}

async fn by_http(place: &mut Place, who: &str, operation: &str) -> char {
    let node = place.sidecar.node().name().clone();
    let member = place.member;
    let (method, path) = match operation {
        "publish to here" => ("POST", "/v1/topics/work.a?reach=local".to_owned()),
        "publish to node" => ("POST", format!("/v1/topics/work.a?node={node}")),
        "publish to member" => ("POST", format!("/v1/topics/work.a?member={member}")),
        "publish assured" => ("POST", "/v1/topics/work.a?assured=1s".to_owned()),
        "other assured" => ("POST", "/v1/topics/other?assured=1s".to_owned()),
        "other scope" => ("POST", "/v1/topics/work.a?scope=elsewhere".to_owned()),
        "topics" => ("GET", "/v1/topics".to_owned()),
        "topics elsewhere" => ("GET", "/v1/topics?scope=elsewhere".to_owned()),
        "topic" => ("GET", "/v1/topics/work.a".to_owned()),
        "members" => ("GET", "/v1/topics/work.a/members".to_owned()),
        "members elsewhere" => (
            "GET",
            "/v1/topics/work.a/members?scope=elsewhere".to_owned(),
        ),
        "explain" => ("GET", "/v1/topics/work.a/explain?timeout=10ms".to_owned()),
        "nodes" => ("GET", "/v1/nodes".to_owned()),
        "watch" => ("GET", "/v1/watch?topic=work.a".to_owned()),
        "watch all" => ("GET", "/v1/watch".to_owned()),
        "watch nodes" => ("GET", "/v1/watch?nodes=true".to_owned()),
        "watch elsewhere" => ("GET", "/v1/watch?scope=elsewhere".to_owned()),
        "metrics" | "livez" | "readyz" => ("GET", format!("/{operation}")),
        _ => match operation.split_once(' ').unwrap() {
            ("publish", topic) => ("POST", format!("/v1/topics/{topic}")),
            ("describe", topic) => ("PUT", format!("/v1/topics/{topic}")),
            other => panic!("{other:?}"),
        },
    };
    let body = if method == "PUT" {
        r#"{"description":"d"}"#
    } else {
        "x"
    };
    let outcome = match place.http(who, method, &path, body).await {
        200 => '+',
        403 => '-',
        401 => 'x',
        other => panic!("{who}: {operation}: {other}"),
    };
    if method == "POST" && operation != "other scope" {
        assert_eq!(place.was_published(), outcome == '+', "{who}: {operation}");
    }
    outcome
}

async fn by_mcp(place: &mut Place, who: &str, operation: &str) -> char {
    let (verb, topic) = operation.split_once(' ').unwrap_or((operation, "work.a"));
    let (method, name, arguments) = match verb {
        "read" => ("resources/read", format!("tidings://{topic}"), Value::Null),
        "subscribe" => ("tools/call", verb.into(), json!({ "topics": [topic] })),
        "topics" if topic == "elsewhere" => ("tools/call", verb.into(), json!({ "scope": topic })),
        "topics" | "nodes" => ("tools/call", verb.into(), json!({})),
        "members" => ("tools/call", verb.into(), json!({ "topic": topic })),
        "request" => {
            let question = json!({ "topic": topic, "payload": "x", "timeout_seconds": 1 });
            ("tools/call", verb.into(), question)
        }
        _ => {
            let message = json!({ "topic": topic, "payload": "x" });
            ("tools/call", verb.into(), message)
        }
    };
    let params = json!({ "name": name, "uri": name, "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = place.request(who, "POST", "/mcp").json(&body);
    let request = request.header("accept", "application/json, text/event-stream");
    let request = request.header("mcp-protocol-version", "2025-11-25");
    let response = timeout(SOON, request.send()).await.unwrap().unwrap();
    if response.status() == 401 {
        return 'x';
    }
    let answer = response.text().await.unwrap();
    let is_denied = answer.to_lowercase().contains("denied: ");
    if verb == "publish" || verb == "request" {
        assert_eq!(place.was_published(), !is_denied, "{who}: {operation}");
    }
    if is_denied { '-' } else { '+' }
}

async fn by_library(place: &mut Place, who: &str, operation: &str) -> char {
    let node = place.sidecar.node().clone();
    let access = match who {
        "open" => Access::default(),
        role => Access::new(role, permissions(role)),
    };
    let options = SessionOptions {
        access,
        ..SessionOptions::default()
    };
    let (session, _inbox) = node.session(options).unwrap();
    let message = |topic: &str| Message::new(topic.parse().unwrap(), "x");
    let published = |outcome: Result<(), BroadcastError>| match outcome {
        Ok(()) => '+',
        Err(BroadcastError::Denied(_)) => '-',
        Err(other) => panic!("{who}: {operation}: {other}"),
    };
    let subscribed = |topic: &str| match session.subscribe(&topic.parse().unwrap()) {
        Ok(_) => '+',
        Err(SubscribeError::Denied(_)) => '-',
        Err(other) => panic!("{who}: {operation}: {other}"),
    };
    let assured =
        |topic: &str| session.broadcast_assured(message(topic), AssuredOptions::default());
    let outcome = match operation {
        "publish to here" => published(session.local_broadcast(message("work.a")).map(drop)),
        "publish to node" => published(session.direct(node.name(), message("work.a")).map(drop)),
        "publish to member" => {
            published(session.send_to(place.member, message("work.a")).map(drop))
        }
        "publish assured" => published(assured("work.a").map(drop)),
        "other assured" => published(assured("other").map(drop)),
        "other to here" => published(session.local_broadcast(message("other")).map(drop)),
        "presence" | "barrier" => {
            let outcome = subscribed("work.a");
            let updated = session.update_all(&"work.a".parse().unwrap(), Default::default());
            assert_eq!(updated.is_ok(), outcome == '+');
            assert!(session.everywhere(SOON).await.is_ok());
            return outcome;
        }
        "see its scope" => {
            return if session.sees(Some(session.scope())).is_ok() {
                '+'
            } else {
                '-'
            };
        }
        "see all scopes" => return if session.sees(None).is_ok() { '+' } else { '-' },
        _ => match operation.split_once(' ').unwrap() {
            ("publish", topic) => published(session.broadcast(message(topic)).map(drop)),
            ("subscribe", topic) => return subscribed(topic),
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(place.was_published(), outcome == '+', "{who}: {operation}");
    outcome
}

fn permissions(role: &str) -> Permissions {
    let roles: IdentitiesConfig = toml::from_str(ROLES).unwrap();
    let role: &RoleConfig = &roles.roles[role];
    role.permissions()
}

#[tokio::test]
async fn everybody_may_do_by_every_door_what_the_table_says() {
    let (mut open, mut closed) = (Place::start(false).await, Place::start(true).await);
    let mut rows = TABLE.trim().lines();
    let who: Vec<&str> = rows
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .skip(2)
        .collect();
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for row in rows {
        let (door, rest) = row.split_at(9);
        let (operation, expected) = rest.split_at(22);
        let (door, operation) = (door.trim(), operation.trim());
        let expected: Vec<char> = expected.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(expected.len(), who.len(), "{row}");
        for (who, expected) in who.iter().zip(expected) {
            if expected == '.' {
                continue;
            }
            let place = if *who == "open" {
                &mut open
            } else {
                &mut closed
            };
            let outcome = match door {
                "nats" => by_nats(place, who, operation).await,
                "http" => by_http(place, who, operation).await,
                "mcp" => by_mcp(place, who, operation).await,
                _ => by_library(place, who, operation).await,
            };
            cells += 1;
            if outcome != expected {
                wrong.push(format!(
                    "{who} by {door}: {operation}: {outcome} and not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cells > 350, "{cells}");
    let stats = closed.sidecar.node().stats();
    assert!(stats.denied_publish > 20 && stats.denied_subscribe > 10 && stats.denied_view > 5);
    assert!(closed.sidecar.identities().failures() > 30);
}

#[tokio::test]
async fn who_is_refused_hears_the_words_of_the_nats_server() {
    let place = Place::start(true).await;
    let addr = place.sidecar.client_addr().unwrap();
    let mut client = Client::open(addr).await;
    assert_eq!(client.info["auth_required"], true);
    assert!(client.info["nonce"].as_str().unwrap().len() >= 11);
    for first in ["PING\r\n", "SUB a 1\r\n", "PUB a 1000000\r\n"] {
        client.send(first).await;
        assert_eq!(
            client.line().await,
            "-ERR 'Authorization Violation'",
            "{first}"
        );
        assert_eq!(client.line().await, "", "closed");
        client = Client::open(addr).await;
    }
    let mut worker = place.client("worker").await;
    for (operation, expected) in [
        (
            "PUB other 1\r\nx\r\n",
            r#"-ERR 'Permissions Violation for Publish to "other"'"#,
        ),
        (
            "SUB other 7\r\n",
            r#"-ERR 'Permissions Violation for Subscription to "other"'"#,
        ),
        (
            "SUB > 7\r\n",
            r#"-ERR 'Permissions Violation for Subscription to ">"'"#,
        ),
        ("PUB work.a 1\r\nx\r\n", ""),
        ("SUB work.> 7\r\n", ""),
    ] {
        assert_eq!(
            worker.ask(operation).await.concat(),
            expected,
            "{operation}"
        );
    }
    let open = Place::start(false).await;
    let client = Client::open(open.sidecar.client_addr().unwrap()).await;
    assert!(client.info.get("auth_required").is_none() && client.info.get("nonce").is_none());
}

#[tokio::test]
async fn reading_identities_again_cuts_off_who_is_gone_and_tells_the_others_what_they_lost() {
    let place = Place::start(true).await;
    let (mut boss, mut worker) = (place.client("boss").await, place.client("worker").await);
    assert!(boss.ask("SUB a 1\r\n").await.is_empty());
    assert!(
        worker
            .ask("SUB work.a 1\r\nSUB work.b.> 2\r\n")
            .await
            .is_empty()
    );
    let mut config = identities(&place.key);
    // Its hash is another one, though of the same password.
    let before: IdentitiesConfig = config.clone();
    config.identities.retain(|own| own.name != "boss");
    config.roles.get_mut("worker").unwrap().subscribe.deny =
        vec!["work.b.c".parse().unwrap(), "work.a".parse().unwrap()];
    let worker_password = |config: &IdentitiesConfig| {
        config
            .identities
            .iter()
            .find(|own| own.name == "worker")
            .unwrap()
            .password
            .clone()
    };
    assert_eq!(worker_password(&before), worker_password(&config));
    // Those of the node were made with other salts: they are known by them.
    place.sidecar.identities().replace(&before).unwrap();
    assert_eq!(
        boss.line().await,
        "-ERR 'Authorization Violation'",
        "its hash has changed"
    );
    let mut worker = {
        drop(worker);
        place.client("worker").await
    };
    assert!(
        worker
            .ask("SUB work.a 1\r\nSUB work.b.> 2\r\n")
            .await
            .is_empty()
    );
    place.sidecar.identities().replace(&config).unwrap();
    let lost = r#"-ERR 'Permissions Violation for Subscription to "work.a" (sid "1")'"#;
    assert_eq!(worker.line().await, lost);
    assert!(worker.ask("").await.is_empty(), "it is still there");
    let (publisher, _inbox) = place
        .sidecar
        .node()
        .session(SessionOptions::default())
        .unwrap();
    for topic in ["work.a", "work.b.c", "work.b.d"] {
        publisher
            .broadcast(Message::new(topic.parse().unwrap(), "x"))
            .unwrap();
    }
    assert_eq!(worker.line().await, "MSG work.b.d 2 1");
    let mut boss = place.client("boss").await;
    assert_eq!(verdict(&boss.ask("").await), 'x');
}

#[tokio::test]
async fn who_may_not_listen_to_gaps_any_more_is_told_when_identities_are_read_again() {
    let place = Place::start(true).await;
    let mut config = identities(&place.key);
    let worker = |config: &mut IdentitiesConfig, subscribe: &[&str]| {
        let role = config.roles.get_mut("worker").unwrap();
        let allow = subscribe.iter().map(|rule| rule.parse().unwrap());
        role.subscribe.allow = Some(allow.collect());
    };
    worker(&mut config, &["work.>", "$TIDINGS.gaps"]);
    place.sidecar.identities().replace(&config).unwrap();
    let mut client = place.client("worker").await;
    assert!(client.ask("SUB $TIDINGS.gaps 7\r\n").await.is_empty());
    // What concerns it not at all ends nothing.
    config.roles.get_mut("worker").unwrap().sessions_max = Some(Count::of::<5>());
    place.sidecar.identities().replace(&config).unwrap();
    assert!(client.ask("").await.is_empty());
    worker(&mut config, &["work.>"]);
    place.sidecar.identities().replace(&config).unwrap();
    let lost = r#"-ERR 'Permissions Violation for Subscription to "$TIDINGS.gaps" (sid "7")'"#;
    assert_eq!(client.line().await, lost);
    assert!(client.ask("UNSUB 7\r\n").await.is_empty());
}

/// A client of a library, and what it reports.
async fn connected(
    options: ConnectOptions,
    place: &Place,
) -> (async_nats::Client, mpsc::UnboundedReceiver<String>) {
    let (sender, events) = mpsc::unbounded_channel();
    let options = options.event_callback(move |event| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(event.to_string());
        }
    });
    let url = format!("nats://{}", place.sidecar.client_addr().unwrap());
    (options.connect(url).await.unwrap(), events)
}

#[tokio::test]
async fn a_client_library_shows_who_it_is_and_hears_what_is_denied() {
    let place = Place::start(true).await;
    let seed = place.key.seed().unwrap();
    for options in [
        ConnectOptions::with_user_and_password("boss".into(), "boss".into()),
        ConnectOptions::with_token("t0ken".into()),
        ConnectOptions::with_nkey(seed),
    ] {
        let (client, _events) = connected(options, &place).await;
        let mut subscription = client.subscribe("anything").await.unwrap();
        client.publish("anything", "x".into()).await.unwrap();
        let received = timeout(SOON, subscription.next()).await.unwrap().unwrap();
        assert_eq!(received.payload, "x");
    }
    let url = format!("nats://{}", place.sidecar.client_addr().unwrap());
    for options in [
        ConnectOptions::with_user_and_password("boss".into(), "wrong".into()),
        ConnectOptions::with_token("wrong".into()),
        ConnectOptions::with_nkey(nkeys::KeyPair::new_user().seed().unwrap()),
        ConnectOptions::new(),
    ] {
        let refused = timeout(SOON, options.connect(url.as_str()))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(
            refused.kind(),
            async_nats::ConnectErrorKind::AuthorizationViolation
        );
    }
    let options = ConnectOptions::with_user_and_password("worker".into(), "worker".into());
    let (client, mut events) = connected(options, &place).await;
    let mut subscription = client.subscribe("work.a").await.unwrap();
    let _denied = client.subscribe("other").await.unwrap();
    client.publish("other", "x".into()).await.unwrap();
    client.publish("work.a", "y".into()).await.unwrap();
    let received = timeout(SOON, subscription.next()).await.unwrap().unwrap();
    assert_eq!(received.payload, "y", "it is still connected");
    let mut told = String::new();
    while !(told.contains("Subscription to \"other\"") && told.contains("Publish to \"other\"")) {
        let event = timeout(SOON, events.recv()).await.expect(&told);
        told += &event
            .unwrap()
            .to_lowercase()
            .replace("subscription to", "Subscription to")
            .replace("publish to", "Publish to");
    }
}

#[tokio::test]
async fn a_watch_by_http_ends_when_it_may_not_be_seen_any_more() {
    let place = Place::start(true).await;
    let url = format!("http://{}/v1/watch", place.sidecar.http_addr().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(url).basic_auth("worker", Some("worker"));
    let mut watch = request.send().await.unwrap();
    assert_eq!(watch.status(), 200);
    assert!(watch.chunk().await.unwrap().is_some());
    place
        .sidecar
        .identities()
        .replace(&identities(&place.key))
        .unwrap();
    let ended = async {
        // It looks when something changes, and from time to time.
        while watch.chunk().await.unwrap().is_some() {}
    };
    timeout(SOON, ended).await.expect("it ends");
}
