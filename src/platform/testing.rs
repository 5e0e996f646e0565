//! What the platform's tests share: servers of their own, and a context.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::reply::ToolResult;
use super::site::{Site, Version};
use super::{Context, Settings, tools};

/// A server that ends with its test.
pub(super) struct Running {
    pub(super) url: String,
    _tasks: JoinSet<()>,
}

pub(super) async fn serve(router: Router) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Running { url, _tasks: tasks }
}

/// The booking site.
pub(super) async fn site(version: Version) -> (Site, Running) {
    let site = Site::new(version, None).unwrap();
    let running = serve(site.router()).await;
    (site, running)
}

pub(super) fn context() -> Context {
    context_with(Settings::default())
}

pub(super) fn context_with(settings: Settings) -> Context {
    rustls::crypto::ring::default_provider().install_default().ok();
    Context::new(settings).unwrap()
}

/// A context that gives up on pages at once.
pub(super) fn impatient() -> Context {
    context_with(Settings { fetch_time: Duration::from_millis(300), ..Settings::default() })
}

/// Calls a tool by its name, as a client does.
pub(super) async fn call(context: &Context, tool: &str, arguments: Value) -> ToolResult {
    tools::find(tool).unwrap().call(context.clone(), arguments).await
}

/// Runs steps and expects them to pass.
pub(super) async fn passes(context: &Context, base: &str, steps: Value) -> Value {
    let arguments = json!({ "base_url": base, "steps": steps });
    call(context, "execute_test", arguments).await.unwrap_or_else(|error| panic!("{error:#?}")).result
}

/// Runs steps and expects them to fail: the class and the message.
pub(super) async fn fails(context: &Context, base: &str, steps: Value) -> (String, String) {
    let arguments = json!({ "base_url": base, "steps": steps });
    let error = call(context, "execute_test", arguments).await.unwrap_err();
    (error.class, error.message)
}

/// A repository for one test.
pub(super) fn with_elements(mut context: Context, elements: impl super::elements::Elements + 'static) -> Context {
    context.elements = Arc::new(elements);
    context
}
