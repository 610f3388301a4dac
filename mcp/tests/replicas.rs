//! Replicas of an MCP server on several nodes, and clients of the SDK that listen at one of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::disallowed_methods,
    reason = "the servers of a test end with it"
)]

use std::time::Duration;

use rmcp::model::{
    ClientConfig, Implementation, ProtocolVersion, ServerCapabilities, ServerConfig,
    ServerNotification, SubscriptionFilter,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService, Subscription,
    SubscriptionContext, SubscriptionEnd,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use tidings::{Config, LocalCluster, Message, Node, SessionOptions, Time};
use tidings_mcp::{Notifier, NotifierOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// A server as its author writes it.
#[derive(Clone)]
struct Weather {
    notifier: Notifier,
    /// Whether something changes just when a client is promised to hear of it, and is over when it listens.
    is_changing: bool,
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed();
        ServerConfig::new(capabilities.build())
            .with_server_info(Implementation::new("weather", "1"))
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let accepted = self.notifier.accept(asked);
        if self.is_changing {
            self.notifier.resource_updated("weather://sf").unwrap();
        }
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        if self.is_changing {
            until(|| self.notifier.stats().changes == 1).await;
        }
        self.notifier.listen(context).await
    }
}

/// One replica behind HTTP.
struct Served {
    notifier: Notifier,
    addr: String,
}

impl Served {
    async fn start(node: &Node) -> Self {
        Self::start_with(node, NotifierOptions::default(), false).await
    }

    async fn start_with(node: &Node, options: NotifierOptions, is_changing: bool) -> Self {
        let server = "weather".parse().unwrap();
        let notifier = Notifier::start_with(node, server, options).await.unwrap();
        let weather = Weather {
            notifier: notifier.clone(),
            is_changing,
        };
        let service: StreamableHttpService<_, LocalSessionManager> = StreamableHttpService::new(
            move || Ok(weather.clone()),
            std::sync::Arc::default(),
            StreamableHttpServerConfig::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let router = axum::Router::new().nest_service("/mcp", service);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { notifier, addr }
    }

    async fn client(&self) -> RunningService<RoleClient, ClientConfig> {
        let config =
            StreamableHttpClientTransportConfig::with_uri(format!("http://{}/mcp", self.addr));
        let lifecycle = ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        };
        let transport = StreamableHttpClientTransport::from_config(config);
        let client = ClientConfig::default().serve_with_lifecycle(transport, lifecycle);
        client.await.unwrap()
    }
}

async fn two() -> LocalCluster {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(LIMIT).await.unwrap();
    cluster
}

fn watching(uris: &[&str]) -> SubscriptionFilter {
    let uris = uris.iter().map(|uri| (*uri).to_owned());
    SubscriptionFilter::builder()
        .resource_subscriptions(uris)
        .build()
}

async fn next(subscription: &mut Subscription) -> Option<String> {
    let told = timeout(LIMIT, subscription.next());
    match told.await.expect("it is told in time").unwrap()? {
        ServerNotification::ResourceUpdatedNotification(updated) => Some(updated.params.uri),
        ServerNotification::ToolListChangedNotification(_) => Some("tools".into()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_changes_at_one_replica_is_told_to_the_listeners_of_all_and_nothing_else() {
    let cluster = two().await;
    let replicas = [
        Served::start(&cluster.nodes()[0]).await,
        Served::start(&cluster.nodes()[1]).await,
    ];
    let clients = [replicas[0].client().await, replicas[1].client().await];
    let filter = SubscriptionFilter::builder()
        .tools_list_changed()
        .resource_subscription("weather://sf")
        .build();
    let mut listening = Vec::new();
    for client in &clients {
        listening.push(client.listen(filter.clone()).await.unwrap());
    }
    for publisher in &replicas {
        publisher.notifier.resource_updated("weather://la").unwrap();
        publisher.notifier.resource_updated("weather://sf").unwrap();
        for subscription in &mut listening {
            assert_eq!(next(subscription).await.as_deref(), Some("weather://sf"));
        }
        publisher.notifier.tools_changed().unwrap();
        for subscription in &mut listening {
            assert_eq!(next(subscription).await.as_deref(), Some("tools"));
        }
    }
    cluster.leave().await;
}

/// The convention needs no SDK: any session can publish.
#[tokio::test]
async fn whoever_can_publish_can_tell_of_a_change_and_malformed_ones_are_counted() {
    let cluster = two().await;
    let served = Served::start(&cluster.nodes()[0]).await;
    let client = served.client().await;
    let mut listening = client.listen(watching(&["weather://sf"])).await.unwrap();
    let (session, _inbox) = cluster.nodes()[1]
        .session(SessionOptions::default())
        .unwrap();
    for payload in ["nonsense", r#"{"uri":"weather://sf"}"#] {
        let topic = "mcp.weather.resources.updated".parse().unwrap();
        session.broadcast(Message::new(topic, payload)).unwrap();
    }
    assert_eq!(next(&mut listening).await.as_deref(), Some("weather://sf"));
    let stats = served.notifier.stats();
    assert_eq!((stats.listeners, stats.changes, stats.malformed), (1, 1, 1));
    cluster.leave().await;
}

/// The SDK acknowledges first, and lets the server listen then.
#[tokio::test]
async fn what_changes_between_the_acknowledgement_and_the_listening_is_told() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let served = Served::start_with(&node, NotifierOptions::default(), true).await;
    let client = served.client().await;
    let mut listening = client
        .listen(watching(&["weather://sf", "weather://la"]))
        .await
        .unwrap();
    assert_eq!(next(&mut listening).await.as_deref(), Some("weather://sf"));
    served.notifier.resource_updated("weather://la").unwrap();
    assert_eq!(next(&mut listening).await.as_deref(), Some("weather://la"));
    node.leave().await;
}

#[tokio::test]
async fn what_a_full_mailbox_lost_is_told_all_the_same() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let served = Served::start(&node).await;
    let client = served.client().await;
    let mut listening = client.listen(watching(&["weather://sf"])).await.unwrap();
    // Nothing else runs meanwhile, so the first does not stay in the mailbox.
    served.notifier.resource_updated("weather://sf").unwrap();
    for n in 0..70_000 {
        let uri = format!("weather://{n}");
        served.notifier.resource_updated(&uri).unwrap();
    }
    assert_eq!(next(&mut listening).await.as_deref(), Some("weather://sf"));
    assert!(served.notifier.stats().losses > 0);
    node.leave().await;
}

#[tokio::test]
async fn what_a_node_that_died_may_have_published_is_told() {
    let cluster = two().await;
    let mut options = NotifierOptions::default();
    options.absence_max = Time::of_ms::<1_000>();
    let served = Served::start_with(&cluster.nodes()[0], options, false).await;
    let client = served.client().await;
    let mut listening = client.listen(watching(&["weather://sf"])).await.unwrap();
    // All that it does ends, and it says goodbye to nobody.
    cluster.nodes()[1].token().cancel();
    assert_eq!(next(&mut listening).await.as_deref(), Some("weather://sf"));
    assert_eq!(served.notifier.stats().changes, 0);
    cluster.leave().await;
}

#[tokio::test]
async fn listeners_end_with_a_result_when_the_replica_closes_and_when_its_node_leaves() {
    let cluster = two().await;
    for (n, node) in cluster.nodes().iter().enumerate() {
        let served = Served::start(node).await;
        let client = served.client().await;
        let mut listening = client.listen(watching(&["weather://sf"])).await.unwrap();
        match n {
            0 => served.notifier.close(),
            _ => node.leave().await,
        }
        assert_eq!(next(&mut listening).await, None);
        assert!(
            matches!(listening.end(), Some(SubscriptionEnd::Graceful(_))),
            "{n}"
        );
        assert_eq!(served.notifier.stats().listeners, 0);
    }
    cluster.leave().await;
}

#[tokio::test]
async fn more_listeners_than_may_are_refused_and_more_uris_are_not_accepted() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let mut options = NotifierOptions::default();
    options.listeners_max = 1_usize.try_into().unwrap();
    options.uris_per_listener_max = 2_usize.try_into().unwrap();
    let served = Served::start_with(&node, options, false).await;
    let client = served.client().await;
    let long = "u".repeat(3_000);
    let asked = watching(&["a:1", &long, "a:2", "a:3"]);
    let first = client.listen(asked).await.unwrap();
    let accepted = first.acknowledged().resource_subscriptions.clone();
    assert_eq!(accepted, Some(vec!["a:1".to_owned(), "a:2".to_owned()]));
    until(|| served.notifier.stats().listeners == 1).await;
    let mut second = client.listen(watching(&["a:1"])).await.unwrap();
    let end = timeout(LIMIT, second.next()).await.unwrap();
    assert!(end.is_err() || second.end().is_some(), "{end:?}");
    until(|| served.notifier.stats().refused == 1).await;
    drop(first);
    node.leave().await;
}

/// By hand, since a client of the SDK reads all the time.
#[tokio::test]
async fn a_client_that_does_not_read_is_told_each_thing_once_when_it_reads_on() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let served = Served::start(&node).await;
    let mut stream = TcpStream::connect(&served.addr).await.unwrap();
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"_meta":{meta},"notifications":{{"resourceSubscriptions":["weather://sf"]}}}}}}"#
    );
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n\r\n",
        served.addr,
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    until(|| served.notifier.stats().listeners == 1).await;
    let begun = Instant::now();
    let updates = 30_000;
    for n in 0..updates {
        served.notifier.resource_updated("weather://sf").unwrap();
        if n % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    until(|| served.notifier.stats().changes == updates).await;
    let took = begun.elapsed();
    let mut told = String::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read) = timeout(Duration::from_millis(300), stream.read(&mut buffer)).await {
        told += &String::from_utf8_lossy(&buffer[..read.unwrap()]);
    }
    assert!(
        told.contains("notifications/subscriptions/acknowledged"),
        "{told}"
    );
    let told = told.matches("notifications/resources/updated").count();
    let pauses = usize::try_from(took.as_millis() / 20).unwrap() + 2;
    assert!((1..=pauses).contains(&told), "{told} in {took:?}");
    node.leave().await;
}

async fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "it never comes to that");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const LIMIT: Duration = Duration::from_secs(20);
