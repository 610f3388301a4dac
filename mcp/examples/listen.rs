//! Listens at the replicas of an MCP server for resources, at one after another: `cargo run -p tidings-mcp --example listen
//! http://127.0.0.1:8080/mcp,http://127.0.0.1:8081/mcp weather://sf`.
//!
//! It prints `listens` and where, `read` with each resource that it then reads, since it may have changed meanwhile, and `told`
//! with each that it is told of. When its stream ends it goes on at the next replica.

use std::time::Duration;

use anyhow::{Context, Result};
use rmcp::model::{
    ClientConfig, ProtocolVersion, ReadResourceRequestParams, ServerNotification,
    SubscriptionFilter,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let urls = arguments.next().context("the first argument says where")?;
    let uris: Vec<_> = arguments.collect();
    for url in urls.split(',').cycle() {
        if let Err(error) = listen(url, &uris).await {
            eprintln!("{url}: {error:#}");
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn listen(url: &str, uris: &[String]) -> Result<()> {
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let transport = StreamableHttpClientTransport::from_config(config);
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let client = ClientConfig::default().serve_with_lifecycle(transport, lifecycle);
    let client = timeout(LIMIT, client).await??;
    let filter = SubscriptionFilter::builder().resource_subscriptions(uris.to_vec());
    let mut listening = timeout(LIMIT, client.listen(filter.build())).await??;
    println!("listens {url}");
    for uri in uris {
        let read = client.read_resource(ReadResourceRequestParams::new(uri));
        timeout(LIMIT, read).await??;
        println!("read {uri}");
    }
    while let Some(told) = listening.next().await? {
        if let ServerNotification::ResourceUpdatedNotification(updated) = told {
            println!("told {}", updated.params.uri);
        }
    }
    Ok(())
}
