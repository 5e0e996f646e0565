//! `run_action` and `execute_test`: one step, or a whole test.

use std::time::Duration;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::Context;
use super::browser::{Browser, Step};
use super::fetch::PageSource;
use super::observation::milliseconds;
use super::reply::{Reply, ToolError, ToolResult, class};

/// Steps of one test; more are a mistake.
const STEPS_MAX: usize = 1_000;

/// Time for one test, if nobody says.
const TEST_TIME: Duration = Duration::from_secs(30);

/// The longest time that anybody may ask for.
const TEST_TIME_MAX: Duration = Duration::from_mins(10);

/// Arguments of `run_action`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionArgs {
    /// What is done.
    pub step: Step,
    /// Keeps the browser open under this name for the calls after this one. Without it the browser ends with the call.
    #[serde(default)]
    pub session: Option<String>,
    /// Opens this page first, in a new browser.
    #[serde(default)]
    pub page: Option<PageSource>,
    /// Looks for elements that are not found by their likeness.
    #[serde(default)]
    pub heal: bool,
    /// Ends the session after the step.
    #[serde(default)]
    pub close: bool,
}

/// `run_action`
pub async fn run_action(context: &Context, args: ActionArgs) -> ToolResult {
    let fresh = args.page.is_some() || matches!(args.step.action, super::browser::Action::Load { .. });
    let known = args.session.as_deref().and_then(|session| context.browsers.find(session));
    let shared = match (known, args.session.as_deref()) {
        (Some(open), _) if args.page.is_none() => open,
        (_, session) if fresh => {
            let mut browser = Browser::new(context);
            if let Some(source) = &args.page {
                browser.show(context.fetcher.page(source).await?);
            }
            match session {
                Some(session) => context.browsers.open(session, browser),
                None => std::sync::Arc::new(tokio::sync::Mutex::new(browser)),
            }
        }
        (_, Some(session)) => {
            let message =
                format!("session {session:?} has no browser here: it never had one, or the server was restarted");
            return Err(ToolError::new(class::BROWSER_CRASH, message));
        }
        (_, None) => {
            return Err(ToolError::bad_arguments("give a page or a session, or begin with a step that loads"));
        }
    };
    let mut browser = shared.lock().await;
    browser.set_healing(args.heal);
    let outcome = browser.perform(&args.step).await;
    let (observations, healed) = browser.take_notes();
    if let Some(session) = args.session.as_deref().filter(|_| args.close) {
        context.browsers.close(session);
    }
    match outcome {
        Ok(mut report) => {
            report["page"] = browser.whereabouts();
            report["session"] = json!(args.session.as_deref().filter(|_| !args.close));
            report["healed"] = json!(healed);
            Ok(Reply::new(report).observing(observations))
        }
        Err(error) => Err(error.observing(observations)),
    }
}

/// Arguments of `execute_test`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestArgs {
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// What the test is called.
    #[serde(default)]
    pub name: Option<String>,
    /// What kind of plan it came from; for reports only.
    #[serde(default)]
    pub kind: Option<String>,
    /// Where relative addresses start.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The page to begin on, if the first step does not load one.
    #[serde(default)]
    pub page: Option<PageSource>,
    /// Looks for elements that are not found by their likeness.
    #[serde(default)]
    pub heal: bool,
    /// Time for all steps together, in milliseconds; 30,000 if nobody says.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// `execute_test`
pub async fn execute_test(context: &Context, args: TestArgs) -> ToolResult {
    if args.steps.is_empty() || args.steps.len() > STEPS_MAX {
        return Err(ToolError::bad_arguments(format!("a test has 1 to {STEPS_MAX} steps, not {}", args.steps.len())));
    }
    let allowed = args.timeout_ms.map_or(TEST_TIME, Duration::from_millis).min(TEST_TIME_MAX);
    let begun = Instant::now();
    let mut browser = Browser::new(context);
    browser.set_healing(args.heal);
    let mut reports = Vec::with_capacity(args.steps.len());
    let outcome = timeout(allowed, steps(context, &args, &mut browser, &mut reports)).await;
    let (observations, healed) = browser.take_notes();
    let name = args.name.as_deref().unwrap_or("test");
    let story = json!({
        "name": name, "kind": args.kind, "steps": reports, "page": browser.whereabouts(), "healed": healed,
        "took_ms": milliseconds(begun.elapsed()),
    });
    let error = match outcome {
        Ok(Ok(())) => {
            let mut result = story;
            result["passed"] = json!(true);
            return Ok(Reply::new(result).observing(observations));
        }
        Ok(Err(error)) => error,
        Err(_) => ToolError::new(class::TIMEOUT, format!("it took more than {} ms", allowed.as_millis())),
    };
    Err(failed(error, name, &args.steps, story).observing(observations))
}

async fn steps(
    context: &Context,
    args: &TestArgs,
    browser: &mut Browser,
    reports: &mut Vec<Value>,
) -> Result<(), ToolError> {
    if let Some(base) = &args.base_url {
        browser.set_base(base)?;
    }
    if let Some(source) = &args.page {
        browser.show(context.fetcher.page(source).await?);
    }
    for (at, step) in args.steps.iter().enumerate() {
        reports.push(browser.perform(step).await?);
        context.progress.tell(at + 1, args.steps.len(), step.name.as_deref().unwrap_or("step")).await;
    }
    Ok(())
}

/// The error of a test: which step, and what was done before it.
fn failed(mut error: ToolError, name: &str, steps: &[Step], story: Value) -> ToolError {
    let done = story["steps"].as_array().map_or(0, Vec::len);
    let step = steps.get(done).and_then(|step| step.name.as_deref()).unwrap_or("without a name");
    error.message = format!("{name}, step {} of {} ({step}): {}", done + 1, steps.len(), error.message);
    let mut evidence = error.evidence.take().map_or_else(|| json!({}), |evidence| *evidence);
    evidence["test"] = story;
    evidence["failed_step"] = json!(done + 1);
    error.with_evidence(evidence)
}
