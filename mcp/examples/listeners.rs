//! What listeners of a replica cost: `cargo run --release -p tidings-mcp --example listeners`.
//!
//! Two nodes and a replica on one of them, all in this process; clients are sockets. It prints the memory that
//! 2,000 listeners of 50 URIs take, how long a change on the other node takes to the socket of a listener and to an
//! ordinary subscriber, what a listener that does not read is told after 200,000 changes, and again, and what becomes of
//! 6,000 listeners where 5,000 may, and of one that asks for 100,000 URIs. It needs 13,000 open files.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures real time, and its tasks end with it"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rmcp::model::{ServerCapabilities, ServerConfig, SubscriptionFilter};
use rmcp::service::SubscriptionContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use tidings::{Count, Delivery, Inbox, LocalCluster, SessionOptions};
use tidings_mcp::{Notifier, NotifierOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Weather {
    notifier: Notifier,
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder();
        let capabilities = capabilities.enable_resources().enable_resources_subscribe();
        ServerConfig::new(capabilities.build())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(self.notifier.accept(asked))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.notifier.listen(context).await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = LocalCluster::start(2).await?;
    cluster.joined(LIMIT).await?;
    let [here, there] = cluster.nodes() else {
        anyhow::bail!("there are two nodes");
    };
    let mut options = NotifierOptions::default();
    options.listeners_max = Count::of::<5_000>();
    let notifier = Notifier::start_with(here, "weather".parse()?, options).await?;
    let publisher = Notifier::start(there, "weather".parse()?).await?;
    let addr = serve(&notifier).await?;
    let open = |count| until(&notifier, count);

    let (session, mut inbox) = here.session(SessionOptions::default())?;
    session.subscribe(&"mcp.weather.resources.updated".parse()?)?;
    session.everywhere(LIMIT).await?;
    let mut listener = listen(&addr, &["weather://0".to_owned()]).await?;
    open(1).await?;
    let (plain, told) = latencies(&publisher, &mut inbox, &mut listener).await?;
    println!(
        "a change on another node: {plain:?} to a subscriber, {told:?} to the socket of a listener (medians)"
    );

    for times in ["once", "twice"] {
        let before = resident_kib()?;
        let begun = Instant::now();
        for n in 0..200_000 {
            publisher.resource_updated("weather://0")?;
            if n % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let published = begun.elapsed();
        sleep(Duration::from_secs(1)).await;
        let grown = resident_kib()?.saturating_sub(before);
        let told = drain(&mut listener).await;
        let told = told.matches("resources/updated").count();
        println!(
            "200,000 changes {times}, in {published:?}: {told} told to a listener that does not read, {grown} KiB grown"
        );
    }

    let before = resident_kib()?;
    let uris: Vec<_> = (0..50)
        .map(|n| format!("weather://city/{n}/forecast"))
        .collect();
    let mut listeners = vec![listener];
    for _ in 0..2_000 {
        listeners.push(listen(&addr, &uris).await?);
    }
    open(2_001).await?;
    let each = (resident_kib()? - before) as f64 / 2_000.0;
    println!("2,000 listeners of 50 URIs: {each:.1} KiB each");

    let many: Vec<_> = (0..100_000).map(|n| format!("w://{n}")).collect();
    let mut greedy = listen(&addr, &many).await?;
    let answer = drain(&mut greedy).await;
    let accepted = answer.matches("w://").count();
    println!("a listener that asks for 100,000 URIs is acknowledged {accepted}");
    drop(greedy);

    let before = resident_kib()?;
    for _ in 0..4_000 {
        listeners.push(listen(&addr, &uris[..1]).await?);
    }
    sleep(Duration::from_secs(2)).await;
    let stats = notifier.stats();
    let grown = resident_kib()? - before;
    println!(
        "6,000 listeners: {} listen, {} were refused, {grown} KiB more",
        stats.listeners, stats.refused
    );
    drop(listeners);
    open(0).await?;
    cluster.leave().await;
    Ok(())
}

async fn serve(notifier: &Notifier) -> anyhow::Result<String> {
    let weather = Weather {
        notifier: notifier.clone(),
    };
    let service: StreamableHttpService<_, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(weather.clone()),
        std::sync::Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    let router = axum::Router::new().nest_service("/mcp", service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(addr)
}

/// Begins to listen, and reads nothing.
async fn listen(addr: &str, uris: &[String]) -> anyhow::Result<TcpStream> {
    let meta = serde_json::json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "listener", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
        "params": { "_meta": meta, "notifications": { "resourceSubscriptions": uris } },
    });
    let body = body.to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    stream.write_all((head + &body).as_bytes()).await?;
    Ok(stream)
}

/// How long a change takes to an ordinary subscriber, and to the socket of a listener.
async fn latencies(
    publisher: &Notifier,
    inbox: &mut Inbox,
    listener: &mut TcpStream,
) -> anyhow::Result<(Duration, Duration)> {
    let mut buffer = vec![0; 1 << 16];
    // The acknowledgement.
    timeout(LIMIT, listener.read(&mut buffer)).await??;
    sleep(Duration::from_millis(200)).await;
    let (mut plain, mut told) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let begun = Instant::now();
        publisher.resource_updated("weather://0")?;
        let (heard, read) = tokio::join!(
            async {
                let delivery = inbox.recv().await;
                (delivery, begun.elapsed())
            },
            async {
                let read = timeout(LIMIT, listener.read(&mut buffer)).await;
                (read, begun.elapsed())
            }
        );
        ensure!(
            matches!(heard.0?, Delivery::Message { .. }),
            "nothing is lost"
        );
        ensure!(read.0?? > 0, "the stream goes on");
        plain.push(heard.1);
        told.push(read.1);
        sleep(Duration::from_millis(25)).await;
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    Ok((median(plain), median(told)))
}

/// What there is to read.
async fn drain(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = vec![0; 1 << 20];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
        text += &String::from_utf8_lossy(&buffer[..read]);
    }
    text
}

async fn until(notifier: &Notifier, listeners: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    while notifier.stats().listeners != listeners {
        ensure!(begun.elapsed() < LIMIT, "{:?}", notifier.stats());
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn resident_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("Linux says it")?.parse()?)
}
