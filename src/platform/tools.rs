//! The table of tools: one line each.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rmcp::handler::server::common::schema_for_input;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use rmcp::schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use super::reply::{ToolError, ToolResult, class};
use super::{Context, analytics, healing, locators, plan, repository, run};

/// What calling a tool twice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It changes something, and a second call changes nothing more.
    Settles,
    /// A second call does it again.
    Acts,
}

type Running = Pin<Box<dyn Future<Output = ToolResult> + Send>>;

/// A tool.
#[derive(Debug)]
pub struct Entry {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does, for people and models.
    pub description: &'static str,
    /// What calling it twice does.
    pub effect: Effect,
    schema: fn() -> Result<Arc<JsonObject>, String>,
    run: fn(Context, Value) -> Running,
}

/// `entry!("name", module::function, module::Args, Effect, "description")`
macro_rules! entry {
    ($name:literal, $function:path, $args:ty, $effect:ident, $description:literal) => {
        Entry {
            name: $name,
            description: $description,
            effect: Effect::$effect,
            schema: schema_for_input::<$args>,
            run: |context, arguments| Box::pin(async move { $function(&context, parsed::<$args>(arguments)?).await }),
        }
    };
}

/// Every tool.
pub static TOOLS: &[Entry] = &[
    entry!(
        "generate_plan",
        plan::generate_plan,
        plan::Args,
        Reads,
        "Turns the forms, links and flow of a page into tests that execute_test runs as they are."
    ),
    entry!(
        "run_action",
        run::run_action,
        run::ActionArgs,
        Acts,
        "Does one step in a static browser (no scripts): load, follow, click, fill, select, check, submit, a policy, or an \
         assertion. A session keeps the browser open between calls."
    ),
    entry!(
        "execute_test",
        run::execute_test,
        run::TestArgs,
        Acts,
        "Runs the steps of a test in one static browser and fails with the class of the first step that fails."
    ),
    entry!(
        "query_analytics",
        analytics::query_analytics,
        analytics::Query,
        Reads,
        "Counts, rates and percentiles over the jobs, queues and pools of the daemon, from its own API."
    ),
    entry!(
        "render_report",
        analytics::render_report,
        analytics::ReportArgs,
        Reads,
        "Writes the daemon's figures as a report in Markdown and HTML."
    ),
    entry!(
        "generate_locators",
        locators::tool::generate_locators,
        locators::tool::Args,
        Settles,
        "Find several unique, ranked locators for each interactive element of a page and keep them in the element repository"
    ),
    entry!(
        "heal_element",
        healing::tool::heal_element,
        healing::tool::HealArgs,
        Settles,
        "Find an element again whose locator is broken; what is not sure enough goes to a person"
    ),
    entry!(
        "apply_healing",
        healing::tool::apply_healing,
        healing::tool::ApplyArgs,
        Settles,
        "Write a healing that a person approved into the element repository"
    ),
    entry!(
        "refit_healing",
        healing::refit::refit_healing,
        healing::refit::Args,
        Settles,
        "Fit the weights of healing to what people decided on the healings that were not sure enough"
    ),
    entry!(
        "warm_cache",
        repository::tool::warm_cache,
        repository::tool::Args,
        Settles,
        "Load elements into the repository's cache, after looking at given pages again"
    ),
];

/// The tool of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    TOOLS.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Runs it.
    pub async fn call(&self, context: Context, arguments: Value) -> ToolResult {
        (self.run)(context, arguments).await
    }

    /// It, as a client sees it.
    pub fn describe(&self) -> Result<Tool, String> {
        let hints = ToolAnnotations::new()
            .read_only(self.effect == Effect::Reads)
            .idempotent(self.effect != Effect::Acts)
            .destructive(self.effect == Effect::Acts)
            .open_world(true);
        Ok(Tool::new(self.name, self.description, (self.schema)()?).with_annotations(hints))
    }
}

/// The arguments of a tool, or what is wrong with them.
fn parsed<T: DeserializeOwned + JsonSchema>(mut arguments: Value) -> Result<T, ToolError> {
    shorten(&mut arguments);
    serde_json::from_value(arguments)
        .map_err(|error| ToolError::new(class::BAD_ARGUMENTS, format!("arguments: {error}")))
}

/// Writes fractions in their shortest form: `serde_json` keeps the digits of a number as they were sent, and
/// tagged types take only those that it would have written itself (`12.5`, not `12.50`).
fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            if let Some(short) = number.as_f64().and_then(Number::from_f64) {
                *number = short;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}
