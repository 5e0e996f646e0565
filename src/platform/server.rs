//! The MCP server: the table of tools behind the official SDK, on stdio or over HTTP.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use futures_util::FutureExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation, ListToolsResult, MetaObject,
    PaginatedRequestParams, ProgressNotificationParam, ProgressToken, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::io::stdio_pipes;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{Peer, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::reply::{ToolError, ToolResult, class};
use super::tools::{self, TOOLS};

/// Where a call tells how far it is; nowhere if nobody asked.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    listener: Option<(Peer<RoleServer>, ProgressToken)>,
}

impl Progress {
    /// So many steps of so many are done, and this was the last.
    pub async fn tell(&self, done: usize, total: usize, message: &str) {
        let Some((peer, token)) = &self.listener else { return };
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 steps")]
        let (done, total) = (done as f64, total as f64);
        let note = ProgressNotificationParam::new(token.clone(), done).with_total(total).with_message(message);
        // Who does not listen any more will not ask for the result either.
        peer.notify_progress(note).await.ok();
    }
}

/// The server; one for each connection.
#[derive(Debug, Clone)]
pub struct Server {
    context: Context,
}

impl Server {
    /// A server for one connection.
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

/// Serves one client on stdin and stdout until it hangs up.
pub async fn serve_stdio(context: Context) -> Result<(), String> {
    match Server::new(context).serve(stdio_pipes()).await {
        Ok(running) => running.waiting().await.map(|_| ()).map_err(|error| format!("the server broke off: {error}")),
        // A client that leaves before it has said anything wanted nothing.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(format!("the client does not speak MCP: {error}")),
    }
}

/// The server as a part of HTTP: streamable HTTP at `/mcp`. `hosts` are names under which clients may know it, beside those
/// of the own machine: a page in somebody's browser must not reach it under a name of its own.
pub fn router(context: &Context, hosts: &[String], stop: &CancellationToken) -> Router {
    let mut config = StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token());
    config.allowed_hosts.extend(hosts.iter().cloned());
    let context = context.clone();
    let server = move || Ok(Server::new(context.clone()));
    Router::new()
        .route_service("/mcp", StreamableHttpService::new(server, Arc::new(LocalSessionManager::default()), config))
}

/// Serves over HTTP until `stop` fires.
pub async fn serve_http(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let name = Implementation::new("ganger-platform-tools", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(name)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let described: Result<Vec<Tool>, String> = TOOLS.iter().map(tools::Entry::describe).collect();
        described.map(ListToolsResult::with_all_items).map_err(|error| ErrorData::internal_error(error, None))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(entry) = tools::find(&request.name) else {
            let known: Vec<&str> = TOOLS.iter().map(|entry| entry.name).collect();
            let message = format!("there is no tool {:?}; there are {}", request.name, known.join(", "));
            return Err(ErrorData::invalid_params(message, None));
        };
        let mut own = self.context.clone();
        own.progress.listener = context.meta.get_progress_token().map(|token| (context.peer.clone(), token));
        own.overrides = overrides(context.meta.get("ganger"));
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        // A defect in one tool must not end the calls beside it.
        let run = AssertUnwindSafe(entry.call(own, arguments)).catch_unwind();
        let outcome = tokio::select! {
            outcome = run => outcome.unwrap_or_else(|_| Err(ToolError::new(class::INTERNAL, "the tool panicked"))),
            () = context.ct.cancelled() => Err(ToolError::new(class::TIMEOUT, "the call was cancelled")),
        };
        Ok(on_the_wire(outcome).into())
    }
}

/// What the daemon tells a call otherwise for a while, from the facts in its `_meta.ganger`.
fn overrides(facts: Option<&Value>) -> serde_json::Map<String, Value> {
    let told = facts.and_then(|facts| facts.get("overrides")).and_then(Value::as_object);
    told.cloned().unwrap_or_default()
}

/// An answer as MCP has it.
fn on_the_wire(outcome: ToolResult) -> CallToolResult {
    let (mut result, envelope) = match outcome {
        Ok(reply) => (CallToolResult::structured(reply.result), json!(reply.ganger)),
        Err(error) => {
            let mut envelope = json!(error.ganger);
            envelope["error"] = json!({ "class": error.class, "message": error.message });
            if let Some(dependency) = error.dependency {
                envelope["error"]["dependency"] = json!(dependency);
            }
            let mut result = CallToolResult::error(vec![rmcp::model::ContentBlock::text(error.message)]);
            result.structured_content = error.evidence.map(|evidence| *evidence);
            (result, envelope)
        }
    };
    if envelope.as_object().is_some_and(|members| !members.is_empty()) {
        let mut meta = MetaObject::new();
        meta.0.insert("ganger".to_owned(), envelope);
        result.meta = Some(meta);
    }
    result
}
