//! A replica of an MCP server, with a node of its own in the process:
//!
//! ```sh
//! cargo run -p tidings-mcp --example replica 127.0.0.1:8080
//! cargo run -p tidings-mcp --example replica 10.0.0.1:8080 10.0.0.1:7946 n1-tls 10.0.0.2:7946
//! ```
//!
//! The arguments are where it serves, where other nodes reach its node, the directory of the node's certificate, and where
//! to find the others. With the first alone nobody else hears of its changes. It says `serves` when it does.
//!
//! It tells the weather of any city, says a forecast as it comes, and has all that the conformance tool of MCP calls of those tools, resources and prompts
//! that concern changes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, Prompt, PromptMessage, ReadResourceRequestParams,
    ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, ResourceTemplate, Role,
    SamplingCapability, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};
use serde_json::json;
use tidings::{Config, Identity, Node, Session, SessionOptions, StreamError, StreamOptions};
use tidings_mcp::{Notifier, with_progress};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

const JOIN_LIMIT: Duration = Duration::from_secs(20);
/// How long a forecast takes for each day.
const DAY: Duration = Duration::from_millis(200);
const TEXT: &str = "test://static-text";
const TOOLS: [(&str, &str); 9] = [
    ("forecast", "Says the weather of the week, day by day"),
    ("test_simple_text", "Returns a text"),
    ("test_error_handling", "Fails"),
    ("test_tool_with_progress", "Tells its progress"),
    ("test_logging_tool", "Logs nothing"),
    ("test_streaming_elicitation", "Asks nothing"),
    ("test_missing_capability", "Needs a client that can sample"),
    (
        "test_trigger_tool_change",
        "Says that there are other tools",
    ),
    (
        "test_trigger_prompt_change",
        "Says that there are other prompts",
    ),
];

#[derive(Clone)]
struct Weather {
    notifier: Notifier,
    session: Arc<Session>,
}

impl Weather {
    /// Says the weather of each day as soon as it is known, to the caller and to whoever follows the stream.
    async fn forecast(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let writer = self.session.stream(StreamOptions::default());
        let mut writer = writer.map_err(internal)?;
        let id = writer.id().clone();
        let following = self.session.follow(&id, 0).map_err(internal)?;
        let work = async move {
            let mut said = String::new();
            for day in ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"] {
                let day = format!("{day}: sunny. ");
                said += &day;
                writer.push(day)?;
                sleep(DAY).await;
            }
            writer.finish();
            Ok::<_, StreamError>(said)
        };
        let said = with_progress(context, following, work).await;
        let stream = format!("tidings://streams/{id}");
        let told = [said.map_err(internal)?, stream].map(ContentBlock::text);
        Ok(CallToolResult::success(told.into()).into())
    }
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe();
        ServerConfig::new(capabilities.build())
            .with_server_info(Implementation::new("weather", "1"))
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

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": {} });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let tools = TOOLS.map(|(name, description)| Tool::new(name, description, schema.clone()));
        Ok(ListToolsResult::with_all_items(tools.into()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match &*request.name {
            "forecast" => return self.forecast(&context).await,
            "test_error_handling" => {
                let told = vec![ContentBlock::text("It fails, as it is to")];
                return Ok(CallToolResult::error(told).into());
            }
            "test_tool_with_progress" => progress(&context).await?,
            "test_missing_capability" => {
                let client = context.client_capabilities();
                if client.is_none_or(|client| client.sampling.is_none()) {
                    let mut needed = ClientCapabilities::default();
                    needed.sampling = Some(SamplingCapability::default());
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
            }
            "test_trigger_tool_change" => {
                self.notifier.tools_changed().map_err(internal)?;
            }
            "test_trigger_prompt_change" => {
                self.notifier.prompts_changed().map_err(internal)?;
            }
            name if TOOLS.iter().any(|(tool, _)| *tool == name) => {}
            _ => return Err(ErrorData::invalid_params("there is no such tool", None)),
        }
        Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let text = Resource::new(TEXT, "text").with_mime_type("text/plain");
        Ok(ListResourcesResult::with_all_items(vec![text]))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let weather = ResourceTemplate::new("weather://{city}", "weather");
        let weather = weather.with_mime_type("text/plain");
        Ok(ListResourceTemplatesResult::with_all_items(vec![weather]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let text = match uri.strip_prefix("weather://") {
            Some(city) => format!("sunny in {city}"),
            None if uri == TEXT => "always the same".to_owned(),
            None => {
                let uri = Some(json!({ "uri": uri }));
                return Err(ErrorData::invalid_params("there is no such resource", uri));
            }
        };
        let contents = vec![ResourceContents::text(text, uri)];
        Ok(ReadResourceResult::new(contents).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompt = Prompt::new("umbrella", Some("Asks whether to take one"), None);
        Ok(ListPromptsResult::with_all_items(vec![prompt]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != "umbrella" {
            return Err(ErrorData::invalid_params("there is no such prompt", None));
        }
        let message = PromptMessage::new_text(Role::User, "Will I need an umbrella?");
        Ok(GetPromptResult::new(vec![message]).into())
    }
}

/// Tells whoever asked how far it is.
async fn progress(context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
    let Some(token) = context.meta.get_progress_token() else {
        return Ok(());
    };
    for done in [0.0, 50.0, 100.0] {
        let progress = ProgressNotificationParam::new(token.clone(), done).with_total(100.0);
        let told = context.peer.notify_progress(progress).await;
        told.map_err(internal)?;
    }
    Ok(())
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let addr = arguments.next().context("the first argument says where")?;
    let addr: SocketAddr = addr.parse()?;
    let node = match arguments.next() {
        None => Node::start(Config::default(), None).await?,
        Some(listen) => {
            let tls = arguments.next().context("a directory of certificates")?;
            let identity = Identity::load(Path::new(&tls))?;
            let seeds = arguments.map(|seed| seed.parse());
            let config = Config {
                listen: listen.parse()?,
                seeds: seeds.collect::<Result<_, _>>()?,
                ..Config::default()
            };
            let node = Node::start(config, Some(identity)).await?;
            timeout(JOIN_LIMIT, found(&node)).await?;
            node
        }
    };
    let notifier = Notifier::start(&node, "weather".parse()?).await?;
    let (session, _) = node.session(SessionOptions::default())?;
    let session = Arc::new(session);
    let weather = Weather { notifier, session };

    let mut config = StreamableHttpServerConfig::default();
    // There is no session, so any replica can answer any request.
    config.legacy_session_mode = false;
    config.allowed_hosts.push(addr.ip().to_string());
    let origins = [
        "http://127.0.0.1:*",
        "http://localhost:*",
        &format!("http://{addr}"),
    ];
    config.allowed_origins = origins.map(str::to_owned).into();
    let factory = move || Ok(weather.clone());
    let service =
        StreamableHttpService::new(factory, Arc::<NeverSessionManager>::default(), config);
    let listener = TcpListener::bind(addr).await?;
    println!("serves");
    let router = axum::Router::new().nest_service("/mcp", service);
    axum::serve(listener, router).await?;
    Ok(())
}

/// Waits until other nodes are found, so that they know of the replica from its first listener on.
async fn found(node: &Node) {
    while !node
        .nodes()
        .iter()
        .any(|other| other.live && other.run.node != *node.name())
    {
        sleep(Duration::from_millis(10)).await;
    }
}
