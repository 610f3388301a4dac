//! The node as an MCP server: agents publish, subscribe and receive through tools, and see the cluster as resources.
//!
//! All revisions of the protocol are served without sessions. An agent is known by the identity that each of its requests
//! shows, and what outlasts a request, its inbox, by a handle. So an agent can go on after any pause, on any connection,
//! and what it leaves behind expires.

mod arguments;
mod calls;
mod config;
mod inbox_error;
mod inboxes;
mod last_message;
mod listened_stream;
mod listening;
mod resources;
mod results;
mod server;
mod shared;
mod shown;
mod stream_page;
mod tool_error;
mod tools;
mod values;
mod waits;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tidings::Node;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use config::McpConfig;
use inboxes::Inboxes;
use server::Handler;
use shared::Shared;
pub(crate) use values::TooManyValues;

use crate::builder::Builder;
use crate::caller::Caller;
use crate::publishers::Publishers;
use crate::watchers::Watchers;

/// The node as an MCP server, for whoever brings it requests.
#[derive(Clone)]
pub(crate) struct Mcp {
    shared: Arc<Shared>,
    under_way: TaskTracker,
}

impl Mcp {
    pub(crate) fn new(
        node: &Node,
        config: McpConfig,
        (publishers, watchers, builder): (Arc<Publishers>, Watchers, Builder),
    ) -> Self {
        let shared = Shared {
            node: node.clone(),
            inboxes: Inboxes::new(node, config.clone()),
            config,
            publishers,
            watchers,
            builder,
            waits: Arc::default(),
        };
        let under_way = TaskTracker::new();
        let (leaving, all) = (node.leaving().clone(), under_way.clone());
        node.spawn_draining(async move {
            leaving.cancelled().await;
            all.close();
            // Who waits or listens is told, if it reads that.
            let _ = timeout(LAST_WORDS_MAX, all.wait()).await;
        });
        Self {
            shared: Arc::new(shared),
            under_way,
        }
    }

    /// How long a request may be: as much as is needed for a payload, in base64 or as text of which every other
    /// character is escaped, and for what is around it.
    pub(crate) fn body_bytes_max(&self) -> usize {
        let limits = &self.shared.node.config().limits;
        2 * limits.payload_bytes_max.get() + AROUND_BYTES
    }

    /// How many bytes this body of a request takes besides its own, once it is read.
    pub(crate) fn read_bytes(&self, body: &[u8]) -> Result<usize, TooManyValues> {
        values::read_bytes(body)
    }

    /// To be kept until a request is answered: the node does not leave before, for a while.
    pub(crate) fn under_way(&self) -> TaskTrackerToken {
        self.under_way.token()
    }

    /// Answers a request of this caller. Its end is that of the answer's body; whoever drops either cancels what was
    /// asked for.
    pub(crate) async fn answer(&self, caller: Caller, request: Request<Bytes>) -> Response<Body> {
        let (body, access) = (request.body().clone(), caller.access.clone());
        let handler = Handler::new(&self.shared, caller);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            // Hosts are checked for all requests of HTTP. So are origins; this is for who builds another door.
            .disable_allowed_hosts()
            .with_allowed_origins(LOCAL)
            .with_max_request_body_bytes(self.body_bytes_max())
            .with_cancellation_token(self.shared.node.token().clone());
        let sessions: Arc<NeverSessionManager> = Arc::default();
        let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        let answer = service.handle(request.map(Body::from)).await;
        if answer.status() == StatusCode::ACCEPTED {
            // The SDK takes no notice of what is not asked.
            self.shared.waits.end(&body, &access);
        }
        answer.map(Body::new)
    }
}

impl fmt::Debug for Mcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp").finish_non_exhaustive()
    }
}

/// How long a node that leaves waits for its last answers to be taken.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// Whence programs of this machine say that they ask, if they say so.
const LOCAL: [&str; 6] = [
    "http://localhost:*",
    "http://127.0.0.1:*",
    "http://[::1]:*",
    "https://localhost:*",
    "https://127.0.0.1:*",
    "https://[::1]:*",
];
/// Topics, headers and what the protocol itself says.
const AROUND_BYTES: usize = 64 << 10;
