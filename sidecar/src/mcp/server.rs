use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, InitializeRequestParams,
    InitializeResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::calls::Call;
use super::listening::Listening;
use super::resources::{self, Named, ReadError};
use super::shared::Shared;
use super::tools::{INSTRUCTIONS, TOOLS};
use super::values::is_too_long;
use crate::caller::Caller;
use crate::watchers::TooManyWatch;

/// What answers one request, of this caller.
#[derive(Clone)]
pub(super) struct Handler {
    shared: Arc<Shared>,
    caller: Caller,
    /// What the client was promised to hear of, until it listens.
    promised: Arc<Mutex<Option<Result<Listening, TooManyWatch>>>>,
}

impl Handler {
    pub(super) fn new(shared: &Arc<Shared>, caller: Caller) -> Self {
        Self {
            shared: Arc::clone(shared),
            caller,
            promised: Arc::default(),
        }
    }

    fn promised(&self) -> std::sync::MutexGuard<'_, Option<Result<Listening, TooManyWatch>>> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        let promised = self.promised.lock();
        promised.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("tidings", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    /// Who begins like this speaks a revision before that of 2026, in which a server can tell of changes only within a
    /// session. There are none here, so that is not offered.
    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut info = self.negotiate_initialize(&request)?;
        if let Some(resources) = &mut info.capabilities.resources {
            resources.subscribe = None;
        }
        Ok(info)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(TOOLS.clone()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        TOOLS.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = Call {
            shared: &self.shared,
            caller: &self.caller,
            context: &context,
        };
        let given = request.arguments.unwrap_or_default();
        let result = call.call(&request.name, given).await;
        let unknown = || {
            let problem = format!("there is no tool {:?}", request.name);
            ErrorData::invalid_params(problem, None)
        };
        result.map(Into::into).ok_or_else(unknown)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::resources()))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let templates = resources::templates();
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = &request.uri;
        let named: Named = uri.parse().map_err(|error: ReadError| error.about(uri))?;
        let read = named.read(&self.shared, &self.caller, uri);
        let read = context.ct.run_until_cancelled(read).await;
        let read = read.ok_or_else(|| ErrorData::internal_error("cancelled", None))?;
        let contents = read.map_err(|error| error.about(uri))?;
        Ok(ReadResourceResult::new(contents).into())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let uris = asked.resource_subscriptions.as_deref().unwrap_or_default();
        let listening = Listening::new(&self.shared, &self.caller, uris);
        let accepted = listening.as_ref().map(Listening::uris);
        let accepted = SubscriptionFilter::builder()
            .resource_subscriptions(accepted.unwrap_or_default())
            .build();
        *self.promised() = Some(listening);
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let Some(listening) = self.promised().take() else {
            return Ok(());
        };
        if is_too_long(context.sink().id()) {
            return Err(ErrorData::invalid_request("the id is too long", None));
        }
        let listening = listening.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
        tokio::select! {
            () = context.cancelled() => Ok(()),
            () = self.shared.node.leaving().cancelled() => Ok(()),
            told = listening.tell(context.sink()) => told.map_err(|e| ReadError::from(e).data(None)),
        }
    }
}
