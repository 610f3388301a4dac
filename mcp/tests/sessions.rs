//! Clients of the revisions of 2025, which have a session at a replica and subscribe to resources one by one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(deprecated, reason = "these clients still do it")]
#![expect(
    clippy::disallowed_methods,
    reason = "the servers of a test end with it"
)]

use std::time::Duration;

use rmcp::model::{
    ResourceUpdatedNotificationParam, ServerCapabilities, ServerConfig, SubscribeRequestParams,
    UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RoleServer, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ClientHandler, ErrorData, ServerHandler, ServiceExt};
use tidings::{Count, LocalCluster};
use tidings_mcp::{Notifier, NotifierOptions};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Weather {
    notifier: Notifier,
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_resources()
            .enable_resources_subscribe();
        ServerConfig::new(capabilities.build())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.notifier.subscribe(&request.uri, &context)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.notifier.unsubscribe(&request.uri, &context);
        Ok(())
    }
}

/// A client that passes on what it is told.
struct Client(mpsc::UnboundedSender<String>);

impl ClientHandler for Client {
    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.0.send(params.uri).unwrap();
    }
}

struct Connected {
    service: RunningService<RoleClient, Client>,
    told: mpsc::UnboundedReceiver<String>,
}

impl Connected {
    async fn to(url: &str) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let transport = StreamableHttpClientTransport::from_uri(url.to_owned());
        let service = Client(tell).serve(transport).await.unwrap();
        Self { service, told }
    }

    async fn subscribe(&self, uri: &str) -> bool {
        let asked = self.service.subscribe(SubscribeRequestParams::new(uri));
        asked.await.is_ok()
    }

    async fn hears(&mut self) -> String {
        timeout(LIMIT, self.told.recv()).await.unwrap().unwrap()
    }
}

async fn serve(notifier: &Notifier) -> String {
    let weather = Weather {
        notifier: notifier.clone(),
    };
    let service: StreamableHttpService<_, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(weather.clone()),
        std::sync::Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = axum::Router::new().nest_service("/mcp", service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{addr}/mcp")
}

#[tokio::test]
async fn a_session_is_told_of_what_it_has_subscribed_to_wherever_it_changes() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(LIMIT).await.unwrap();
    let mut options = NotifierOptions::default();
    options.uris_per_listener_max = Count::of::<2>();
    let server = "weather".parse().unwrap();
    let [here, there] = [&cluster.nodes()[0], &cluster.nodes()[1]];
    let notifier = Notifier::start_with(here, server, options).await.unwrap();
    let other = Notifier::start(there, "weather".parse().unwrap())
        .await
        .unwrap();
    let url = serve(&notifier).await;
    let (mut first, mut second) = (Connected::to(&url).await, Connected::to(&url).await);
    for uri in ["weather://sf", "weather://la", "weather://la"] {
        assert!(first.subscribe(uri).await, "{uri}");
    }
    assert!(!first.subscribe("weather://ny").await);
    assert!(second.subscribe("weather://ny").await);
    for uri in ["weather://la", "weather://ny", "weather://sf"] {
        other.resource_updated(uri).unwrap();
    }
    let told = [first.hears().await, first.hears().await];
    assert_eq!(told, ["weather://la", "weather://sf"]);
    assert_eq!(second.hears().await, "weather://ny");

    let unsubscribed = UnsubscribeRequestParams::new("weather://la");
    first.service.unsubscribe(unsubscribed).await.unwrap();
    assert!(first.subscribe("weather://ny").await);
    for uri in ["weather://la", "weather://ny"] {
        other.resource_updated(uri).unwrap();
    }
    assert_eq!(first.hears().await, "weather://ny");

    // Who has gone is forgotten.
    first.service.cancel().await.unwrap();
    second.service.cancel().await.unwrap();
    let gone = async {
        while notifier.stats().listeners > 0 {
            other.resource_updated("weather://sf").unwrap();
            other.resource_updated("weather://ny").unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
    cluster.leave().await;
}
