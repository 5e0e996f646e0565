//! MCP handlers: a tool of a server for each run, or several in one session.

mod bounded;
mod call;
mod classify;
mod params;
mod pool;
mod servers;
mod session;
mod stdio;
mod steps;
mod streamable;
mod tools;
mod trouble;

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::model::JsonObject;
use serde_json::Value;

use crate::job::Failure;

use super::envelope::Reply;
use super::{Handler, Invocation, Ran};
use call::{Answer, Called, Run};
use pool::Pool;
use trouble::Trouble;

pub use classify::Rule;
pub use params::{AfterSteps, Protocol, ServerParams, Target};
pub use servers::{Planned, Servers};
pub use session::Means;
pub use stdio::ChildEnvironment;

/// Calls one tool, or the steps that a payload lists.
#[derive(Debug)]
pub struct McpHandler {
    pool: Arc<Pool>,
    /// `None`: the payload's steps.
    tool: Option<String>,
    classify: Vec<Rule>,
}

impl McpHandler {
    /// A handler on a planned server; `None` when there is none of that name.
    #[must_use]
    pub fn new(planned: &Planned, server: &str, tool: Option<String>, classify: Vec<Rule>) -> Option<Self> {
        Some(Self { pool: planned.get(server)?, tool, classify })
    }

    async fn call_tool(&self, tool: &str, invocation: &Invocation) -> Ran {
        let arguments = match arguments(&invocation.payload) {
            Ok(arguments) => arguments,
            Err(failure) => return Ran::failed(failure.class, failure.message),
        };
        let session = tokio::select! {
            biased;
            () = invocation.stop.cancelled() => return Ran::Stopped,
            session = self.pool.shared() => session,
        };
        let session = match session {
            Ok(session) => session,
            Err(trouble) => return self.failed(&trouble, ""),
        };
        let run = Run::new(invocation, &self.pool.means, self.pool.params.idle);
        match run.call(&session, tool, tool, arguments).await {
            Called::Stopped => Ran::Stopped,
            Called::Failed(trouble) => self.failed(&trouble, ""),
            Called::Answered(answer) => self.settled(*answer, invocation.result_bytes_max),
        }
    }

    fn settled(&self, answer: Answer, most: usize) -> Ran {
        let failure = answer.error.as_ref().map(|text| self.tool_failure(text, ""));
        let result = answer.result.to_string();
        if failure.is_none() && result.len() > most {
            return too_large(result.len(), most);
        }
        let reply = answer.envelope.map(|envelope| Reply { result: result.into(), envelope });
        Ran::settled(reply, failure, None)
    }

    /// A tool's own failure. `place` says which step, where there are several.
    fn tool_failure(&self, text: &str, place: &str) -> Failure {
        let class = classify::class_of(&self.classify, text).unwrap_or("tool_error");
        Failure::new(class, format!("{place}{text}"))
    }

    /// A failure beside the tool.
    fn failed(&self, trouble: &Trouble, place: &str) -> Ran {
        // What the server itself answers is plain without its name.
        let message = if trouble.breaks_session || trouble.class == "timeout" {
            format!("{place}{}: {}", self.pool.params.place(), trouble.text)
        } else {
            format!("{place}{}", trouble.text)
        };
        match (classify::class_of(&self.classify, &trouble.text), trouble.retry_after_ms) {
            (None, Some(retry_after_ms)) if trouble.is_deferral => Ran::Deferred { retry_after_ms, reason: message },
            (class, retry_after_ms) => {
                let failure = Failure::new(class.unwrap_or(trouble.class), message);
                Ran::Failed { failure, retry_after_ms, envelope: Box::default() }
            }
        }
    }
}

#[async_trait]
impl Handler for McpHandler {
    async fn run(&self, invocation: Invocation) -> Ran {
        match &self.tool {
            Some(tool) => self.call_tool(tool, &invocation).await,
            None => self.run_steps(&invocation).await,
        }
    }
}

/// The payload as a tool's arguments.
fn arguments(payload: &[u8]) -> Result<Option<JsonObject>, Failure> {
    if payload.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(payload) {
        Ok(Value::Object(arguments)) => Ok(Some(arguments)),
        Ok(Value::Null) => Ok(None),
        Ok(_) => Err(Failure::new("bad_payload", "a tool's arguments are an object")),
        Err(error) => Err(Failure::new("bad_payload", format!("a tool's arguments are an object: {error}"))),
    }
}

fn too_large(bytes: usize, most: usize) -> Ran {
    Ran::failed("output_too_large", format!("the result has {bytes} bytes; at most {most} are kept"))
}
