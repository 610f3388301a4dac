use std::net::SocketAddr;
use std::time::Duration;

use async_nats::ConnectOptions;
use futures::StreamExt;
use tidings::{Count, Time};
use tidings_sidecar::{Config, GatewayConfig, Sidecar};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::authority::{Authority, handshake};
use crate::client::{SOON, closed, own_topic};
use crate::gate::Gate;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const QUIET: &str = "CONNECT {\"verbose\":false}\r\n";

/// Speaks WebSocket frame by frame.
struct Socket<S = TcpStream> {
    stream: BufReader<S>,
    /// What has come of the protocol and was not asked for yet.
    text: String,
}

impl Socket {
    /// A client that was let in and greeted.
    async fn open(addr: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let mut socket = Self::ask(stream, path, "").await.unwrap();
        assert!(socket.line().await.starts_with("INFO {"));
        socket
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Asks for WebSocket, with these lines in the head besides; the status if it is refused.
    async fn ask(stream: S, path: &str, headers: &str) -> Result<Self, u16> {
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(SOON, stream.read_u8()).await.expect("an answer");
            head.push(byte.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        match head.split(' ').nth(1).unwrap().parse().unwrap() {
            101 => Ok(Self {
                stream,
                text: String::new(),
            }),
            status => Err(status),
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.raw(frame(FINAL | BINARY, bytes)).await;
    }

    async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame: its kind and its payload; none when the server has closed.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(SOON, async {
            let first = self.stream.read_u8().await.ok()?;
            assert_eq!(first & 0xf0, FINAL, "whole, and without extensions");
            let length = match self.stream.read_u8().await.ok()? {
                126 => u64::from(self.stream.read_u16().await.ok()?),
                127 => self.stream.read_u64().await.ok()?,
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first & 15, payload))
        })
        .await
        .expect("the server says something")
    }

    /// The next line of the protocol, from whatever frames it is in.
    async fn line(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.text.split_once("\r\n") {
                let line = line.to_owned();
                self.text = rest.to_owned();
                return line;
            }
            let (kind, payload) = self.frame().await.expect("a line");
            assert_eq!(kind, BINARY);
            self.text += std::str::from_utf8(&payload).unwrap();
        }
    }

    async fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            assert_eq!(self.line().await, *expected);
        }
    }

    /// That the server closes, and gives this reason.
    async fn expect_closed(&mut self, code: u16) {
        let (kind, payload) = self.frame().await.expect("a frame that closes");
        assert_eq!((kind, payload), (CLOSE, code.to_be_bytes().to_vec()));
        assert_eq!(self.frame().await, None);
    }

    async fn expect_served(&mut self) {
        let topic = own_topic();
        self.send(QUIET).await;
        self.send(format!(
            "SUB {topic} 7\r\nPUB {topic} 5\r\nhello\r\nPING\r\n"
        ))
        .await;
        let message = format!("MSG {topic} 7 5");
        self.expect(&[&message, "hello", "PONG"]).await;
    }
}

/// A frame as clients send it, masked.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match payload.len() {
        bytes @ ..126 => frame.push(0x80 | bytes as u8),
        bytes @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((bytes as u16).to_be_bytes());
        }
        bytes => {
            frame.push(0x80 | 127);
            frame.extend((bytes as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

async fn gate() -> Gate {
    Gate::open(GatewayConfig::default()).await
}

#[tokio::test]
async fn a_client_speaks_the_protocol_in_frames_beside_http_and_at_a_door_of_its_own() {
    let gate = gate().await;
    let (http, own) = (gate.http().await, gate.web_socket().await);
    for (addr, path) in [(http, "/nats"), (own, "/"), (own, "/any/path?at=all")] {
        Socket::open(addr, path).await.expect_served().await;
    }
    let stream = TcpStream::connect(http).await.unwrap();
    let elsewhere = Socket::ask(stream, "/v1/nodes", "").await;
    assert_eq!(
        elsewhere.err(),
        Some(200),
        "what is no door for clients goes on as ever"
    );
}

#[tokio::test]
async fn operations_may_be_cut_into_frames_anywhere_and_frames_into_bytes() {
    let gate = gate().await;
    let addr = gate.web_socket().await;
    let mut client = Socket::open(addr, "/").await;
    client.send(QUIET).await;
    client.send("SUB a 1\r\n").await;
    // One byte a frame, text and binary, with empty frames in between.
    for (at, byte) in b"PUB a 5\r\nhello\r\n".iter().enumerate() {
        let kind = if at % 2 == 0 { TEXT } else { BINARY };
        client.raw(frame(FINAL | kind, [*byte])).await;
        client.raw(frame(FINAL | kind, [])).await;
    }
    client.expect(&["MSG a 1 5", "hello"]).await;
    // A message in parts, with a ping between them, byte by byte.
    let mut bytes = frame(TEXT, "PUB a 5\r\nwo");
    bytes.extend(frame(FINAL | PING, "still there?"));
    bytes.extend(frame(0, "rl"));
    bytes.extend(frame(FINAL, "d\r\n"));
    for byte in bytes {
        client.raw([byte]).await;
    }
    assert_eq!(client.frame().await, Some((PONG, b"still there?".to_vec())));
    client.expect(&["MSG a 1 5", "world"]).await;
    // Many operations and a payload beyond every buffer in one frame.
    let payload = "x".repeat(900_000);
    let operations = format!("PUB a 900000\r\n{payload}\r\n").repeat(3);
    client.send(operations).await;
    for _ in 0..3 {
        client.expect(&["MSG a 1 900000", &payload]).await;
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_one_that_was_named_is_not() {
    let gate = Gate::open(GatewayConfig {
        origins: vec!["https://app.example".to_owned()],
        ..GatewayConfig::default()
    })
    .await;
    let (http, own) = (gate.http().await, gate.web_socket().await);
    let asked = async |addr, headers| {
        let stream = TcpStream::connect(addr).await.unwrap();
        Socket::ask(stream, "/nats", headers).await.err()
    };
    for addr in [http, own] {
        let evil = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
        assert_eq!(asked(addr, evil).await, Some(403));
        // Led to this machine under a name of its own, it is of another origin still.
        let rebound = "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n";
        assert_eq!(asked(addr, rebound).await, Some(403));
        let known = "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n";
        assert_eq!(asked(addr, known).await, None);
        assert_eq!(asked(addr, "Upgrade: h2c\r\n").await, None);
        assert_eq!(
            asked(addr, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await,
            None
        );
    }
}

#[tokio::test]
async fn who_closes_is_told_so_and_who_breaks_the_rules_is_closed_alone() {
    let gate = gate().await;
    let addr = gate.web_socket().await;
    let mut neighbour = Socket::open(addr, "/").await;
    neighbour.expect_served().await;

    let mut polite = Socket::open(addr, "/").await;
    polite.send(QUIET).await;
    polite
        .raw(frame(FINAL | CLOSE, 1001_u16.to_be_bytes()))
        .await;
    polite.expect_closed(1001).await;

    let mut wrong = Socket::open(addr, "/").await;
    wrong.send(QUIET).await;
    wrong.send("FROB\r\n").await;
    wrong.expect(&["-ERR 'Unknown Protocol Operation'"]).await;
    wrong.expect_closed(1008).await;

    let unmasked = vec![FINAL | BINARY, 4, b'P', b'I', b'N', b'G'];
    let huge = [&[FINAL | BINARY, 0xff][..], &[0xff; 8], &[0; 4]].concat();
    for broken in [
        unmasked,
        huge,
        frame(FINAL | 0x40 | BINARY, "compressed"),
        frame(FINAL | 3, "of no kind"),
        frame(FINAL, "a part of nothing"),
        [frame(TEXT, "PI"), frame(FINAL | TEXT, "NG")].concat(),
        frame(FINAL | PING, [0; 126]),
        frame(PING, "in parts"),
    ] {
        let mut client = Socket::open(addr, "/").await;
        client.send(QUIET).await;
        client.raw(broken).await;
        client.expect_closed(1000).await;
    }
    neighbour.send("PING\r\n").await;
    neighbour.expect(&["PONG"]).await;
}

#[tokio::test]
async fn a_frame_that_is_announced_huge_takes_no_more_than_what_comes_of_it() {
    let gate = gate().await;
    let addr = gate.web_socket().await;
    let mut client = Socket::open(addr, "/").await;
    // A frame of a thousand years, of which operations come as they do.
    let head = [&[FINAL | BINARY, 0xff, 0x7f][..], &[0xff; 7], &[0; 4]].concat();
    client.raw(head).await;
    client.raw(QUIET).await;
    for _ in 0..100 {
        client.raw("PING\r\n").await;
        client.expect(&["PONG"]).await;
    }
}

#[tokio::test]
async fn who_pauses_within_a_frame_is_closed_and_who_dawdles_over_the_handshake_too() {
    let gate = Gate::open(GatewayConfig {
        operation_timeout: Time::of_ms::<200>(),
        connect_timeout: Time::of_ms::<200>(),
        ..GatewayConfig::default()
    })
    .await;
    let addr = gate.web_socket().await;
    let mut half = Socket::open(addr, "/").await;
    half.send(QUIET).await;
    let whole = frame(FINAL | BINARY, "PUB a 5\r\nhello\r\n");
    half.raw(&whole[..whole.len() - 4]).await;
    half.expect(&["-ERR 'Stale Connection'"]).await;
    half.expect_closed(1008).await;

    let mut silent = Socket::open(addr, "/").await;
    silent.expect(&["-ERR 'Authentication Timeout'"]).await;
    silent.expect_closed(1008).await;

    let mut slow = TcpStream::connect(addr).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    closed(slow).await;
}

#[tokio::test]
async fn pings_without_end_are_answered_in_part_and_delay_nobody() {
    let gate = gate().await;
    let addr = gate.web_socket().await;
    let mut neighbour = Socket::open(addr, "/").await;
    neighbour.expect_served().await;
    let mut flooder = Socket::open(addr, "/").await;
    flooder.send(QUIET).await;
    let pings = frame(FINAL | PING, "").repeat(10_000);
    // It reads nothing, and what it is owed does not pile up: only the last one is.
    for _ in 0..200 {
        flooder.raw(&pings).await;
    }
    neighbour.send("PING\r\n").await;
    let answered = timeout(Duration::from_secs(5), neighbour.expect(&["PONG"])).await;
    answered.expect("the neighbour is served meanwhile");
    flooder.send("PING\r\n").await;
    let mut pongs = 0;
    loop {
        match flooder.frame().await.expect("it is there still") {
            (PONG, _) => pongs += 1,
            (kind, payload) => break assert_eq!((kind, &payload[..]), (BINARY, &b"PONG\r\n"[..])),
        }
    }
    assert!(pongs > 0);
}

#[tokio::test]
async fn who_reads_nothing_by_web_socket_is_cut_off_as_anybody_else() {
    let mut config = GatewayConfig::default();
    config.mailbox.messages_max = Count::of::<8>();
    let gate = Gate::open(config).await;
    let addr = gate.web_socket().await;
    let mut lazy = Socket::open(addr, "/").await;
    lazy.send(QUIET).await;
    lazy.send("SUB flood 1\r\nPING\r\n").await;
    lazy.expect(&["PONG"]).await;
    let mut publisher = Socket::open(addr, "/").await;
    publisher.send(QUIET).await;
    let message = format!("PUB flood 100000\r\n{}\r\n", "x".repeat(100_000));
    let flood = async {
        while gate.members("flood") > 0 {
            publisher.send(&message).await;
        }
    };
    timeout(SOON, flood).await.expect("it is cut off");
    publisher.send("PING\r\n").await;
    publisher.expect(&["PONG"]).await;
}

#[tokio::test]
async fn the_end_of_the_node_is_told_and_all_doors_close_with_it() {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let gateway = GatewayConfig {
        websocket: any,
        ..GatewayConfig::default()
    };
    let config = Config {
        client: None,
        http: any,
        gateway,
        ..Config::default()
    };
    let sidecar = Sidecar::start(config, None).await.unwrap();
    let mut own = Socket::open(sidecar.web_socket_addr().unwrap(), "/").await;
    own.expect_served().await;
    let mut http = Socket::open(sidecar.http_addr().unwrap(), "/nats").await;
    http.expect_served().await;
    let told = async {
        own.expect_closed(1001).await;
        http.expect_closed(1001).await;
    };
    tokio::join!(sidecar.node().leave(), told);
}

#[tokio::test]
async fn http_leads_to_no_gateway_where_there_is_none() {
    let config = Config {
        client: None,
        http: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    };
    let sidecar = Sidecar::start(config, None).await.unwrap();
    let stream = TcpStream::connect(sidecar.http_addr().unwrap())
        .await
        .unwrap();
    assert_eq!(Socket::ask(stream, "/nats", "").await.err(), Some(404));
}

#[tokio::test]
async fn web_socket_outlives_what_http_allows_a_connection() {
    let gate = gate().await;
    let addr = gate.http().await;
    let mut first = Socket::open(addr, "/nats").await;
    first.expect_served().await;
    // More than HTTP has places: those who are there do not take any.
    let mut others = Vec::new();
    for _ in 0..70 {
        others.push(Socket::open(addr, "/nats").await);
    }
    sleep(Duration::from_millis(50)).await;
    first.send("PING\r\n").await;
    first.expect(&["PONG"]).await;
}

#[tokio::test]
async fn async_nats_publishes_and_subscribes_by_web_socket_in_plain_and_with_tls() {
    let authority = Authority::new();
    let plain = gate().await;
    let secure = Gate::open(GatewayConfig {
        tls: authority.tls(),
        ..GatewayConfig::default()
    })
    .await;
    let urls = [
        format!("ws://{}/nats", plain.http().await),
        format!("ws://{}", plain.web_socket().await),
        format!("wss://localhost:{}", secure.web_socket().await.port()),
    ];
    for url in urls {
        let options = ConnectOptions::new().add_root_certificates(authority.ca());
        let client = options.connect(&url).await.unwrap();
        let mut inbox = client.subscribe("a.*").await.unwrap();
        for size in [0, 10, 100_000, 1_000_000] {
            let payload = "x".repeat(size);
            client.publish("a.b", payload.clone().into()).await.unwrap();
            let message = timeout(SOON, inbox.next()).await.unwrap().unwrap();
            assert_eq!(message.payload, payload, "{url}");
        }
    }
}

#[tokio::test]
async fn the_greeting_says_tls_where_it_is_there() {
    let authority = Authority::new();
    let gate = Gate::open(GatewayConfig {
        tls: authority.tls(),
        ..GatewayConfig::default()
    })
    .await;
    let stream = TcpStream::connect(gate.web_socket().await).await.unwrap();
    let stream = handshake(authority.client(None), stream).await.unwrap();
    let mut secure = Socket::ask(stream, "/", "").await.unwrap();
    let info = secure.line().await;
    assert!(info.contains("\"tls_required\":true"), "{info}");
    secure.expect_served().await;
    // There is no upgrade within WebSocket, so it is not asked for.
    let stream = TcpStream::connect(gate.http().await).await.unwrap();
    let mut plain = Socket::ask(stream, "/nats", "").await.unwrap();
    let info = plain.line().await;
    assert!(
        !info.contains("tls_") && info.contains("\"client_ip\":\"127.0.0.1\""),
        "{info}"
    );
    plain.expect_served().await;
}
