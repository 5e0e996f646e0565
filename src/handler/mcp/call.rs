//! One call of one tool.

use std::time::Duration;

use rmcp::ServiceError;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, JsonObject, MetaObject, RequestMetaObject, ServerResult,
};
use rmcp::service::PeerRequestOptions;
use serde_json::Value;
use tokio::time::Instant;

use super::session::{Means, Session};
use super::trouble::{Trouble, cut};
use crate::handler::Invocation;
use crate::handler::envelope::{Envelope, read_member};
use crate::handler::facts::{Facts, new_traceparent};
use crate::job::Failure;
use crate::telemetry::metrics;

/// What a server said to one call, as far as it was a result.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) result: Value,
    pub(super) envelope: Result<Envelope, Failure>,
    /// What went wrong, where the server says that something did.
    pub(super) error: Option<String>,
}

/// How one call ended.
pub(super) enum Called {
    Answered(Box<Answer>),
    Failed(Trouble),
    /// It was given up, as the run was told to.
    Stopped,
}

/// What all calls of one run share.
pub(super) struct Run<'a> {
    pub(super) invocation: &'a Invocation,
    pub(super) means: &'a Means,
    pub(super) idle: Option<Duration>,
    meta: RequestMetaObject,
}

impl<'a> Run<'a> {
    /// Calls for this run.
    pub(super) fn new(invocation: &'a Invocation, means: &'a Means, idle: Option<Duration>) -> Self {
        let mut meta = JsonObject::new();
        // Facts are texts and numbers, which are always JSON.
        meta.insert("ganger".to_owned(), serde_json::to_value(Facts::of(invocation)).unwrap_or_default());
        meta.insert("traceparent".to_owned(), new_traceparent().into());
        Self { invocation, means, idle, meta: RequestMetaObject(MetaObject(meta)) }
    }

    /// Calls a tool. `label` stands for it in the metrics.
    pub(super) async fn call(
        &self,
        session: &Session,
        tool: &str,
        label: &str,
        arguments: Option<JsonObject>,
    ) -> Called {
        let started = Instant::now();
        let called = self.call_untimed(session, tool, arguments).await;
        let outcome = match &called {
            Called::Answered(answer) if answer.is_success() => "success",
            Called::Failed(trouble) if trouble.class == "timeout" => "timeout",
            Called::Answered(_) | Called::Failed(_) => "error",
            Called::Stopped if self.means.clock.now() >= self.invocation.deadline => "timeout",
            Called::Stopped => "cancelled",
        };
        metrics::mcp_tool_called(label, outcome, started.elapsed().as_secs_f64());
        called
    }

    async fn call_untimed(&self, session: &Session, tool: &str, arguments: Option<JsonObject>) -> Called {
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = arguments;
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let mut options = PeerRequestOptions::no_options().with_meta(self.meta.clone());
        if let Some(idle) = self.idle {
            options.timeout = Some(idle);
            options = options.reset_timeout_on_progress();
        }
        let stop = &self.invocation.stop;
        let sent = tokio::select! {
            biased;
            () = stop.cancelled() => return Called::Stopped,
            sent = session.peer().send_request_with_option(request, options) => sent,
        };
        let pending = match sent {
            Ok(pending) => pending,
            Err(error) => return self.failed(session, &error).await,
        };
        let id = pending.id.clone();
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => {
                session.give_up(id, "the run was stopped").await;
                return Called::Stopped;
            }
            answer = pending.await_response() => answer,
        };
        match answer {
            Ok(result) => {
                session.answered();
                read(&result).map_or_else(Called::Failed, |answer| Called::Answered(Box::new(answer)))
            }
            Err(error) => self.failed(session, &error).await,
        }
    }

    async fn failed(&self, session: &Session, error: &ServiceError) -> Called {
        let trouble = Trouble::of_request(error, self.means.clock.now());
        if trouble.breaks_session {
            session.retire();
        }
        match error {
            ServiceError::McpError(_) => session.answered(),
            ServiceError::Timeout { .. } => session.unanswered(),
            _ => {}
        }
        Called::Failed(session.explain(trouble).await)
    }
}

impl Answer {
    fn is_success(&self) -> bool {
        self.error.is_none() && self.envelope.as_ref().is_ok_and(|envelope| envelope.error.is_none())
    }
}

/// Reads a tool's result, whatever else the server put into it.
fn read(result: &ServerResult) -> Result<Answer, Trouble> {
    let no_result = |what: &str| Trouble::of_call("protocol_error", format!("the answer is no tool result: {what}"));
    match result {
        ServerResult::InputRequiredResult(_) => {
            return Err(no_result("the server asks for input, and nobody is there"));
        }
        ServerResult::CreateTaskResult(_) => return Err(no_result("the server began a task that was not asked for")),
        _ => {}
    }
    let mut value = serde_json::to_value(result).map_err(|error| no_result(&error.to_string()))?;
    let Some(members) = value.as_object_mut() else { return Err(no_result("no object")) };
    let reserved = members.get_mut("_meta").and_then(Value::as_object_mut).and_then(|meta| meta.remove("ganger"));
    let envelope = reserved.map_or_else(|| Ok(Envelope::default()), |reserved| read_member(reserved, "_meta.ganger"));
    let structured = members.remove("structuredContent");
    let content = members.remove("content");
    let is_error = members.get("isError") == Some(&Value::Bool(true));
    if structured.is_none() && content.is_none() && !is_error && members.keys().any(|name| !is_known(name)) {
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        return Err(no_result(&cut(&format!("it has {}", names.join(", ")))));
    }
    let error = is_error.then(|| said(content.as_ref(), structured.as_ref()));
    let result = structured.or_else(|| content.map(plain)).unwrap_or_default();
    Ok(Answer { result, envelope, error })
}

/// What a result without content may have.
fn is_known(member: &str) -> bool {
    matches!(member, "_meta" | "resultType" | "isError")
}

/// A single text is what it says, as JSON if it is JSON; anything else stays a list. No content is null.
fn plain(content: Value) -> Value {
    let Value::Array(blocks) = &content else { return content };
    match blocks.as_slice() {
        [] => Value::Null,
        [only] => match text_of(only) {
            Some(text) => serde_json::from_str(text).unwrap_or_else(|_not_json| text.into()),
            None => content,
        },
        _ => content,
    }
}

fn text_of(block: &Value) -> Option<&str> {
    (block.get("type")?.as_str()? == "text").then(|| block.get("text")?.as_str()).flatten()
}

/// The text of an error.
fn said(content: Option<&Value>, structured: Option<&Value>) -> String {
    let blocks = content.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = blocks.iter().filter_map(text_of).collect();
    let text = match (texts.is_empty(), structured) {
        (false, _) => texts.join("\n"),
        (true, Some(structured)) => structured.to_string(),
        (true, None) => "the tool failed and did not say why".to_owned(),
    };
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(value: Value) -> Result<Answer, Trouble> {
        read(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_result_is_what_the_tool_means_by_it() {
        let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        for (sent, expected) in [
            (json!({"content": [{"type": "text", "text": "x"}], "structuredContent": {"a": 1}}), json!({"a": 1})),
            (json!({"content": [], "structuredContent": null}), Value::Null),
            (text("{\"n\": 1.50}"), serde_json::from_str("{\"n\": 1.50}").unwrap()),
            (text("plain words"), json!("plain words")),
            (text(""), json!("")),
            (json!({"content": []}), Value::Null),
            (json!({}), Value::Null),
            (
                json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
                json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            ),
        ] {
            let answer = answer(sent.clone()).unwrap();
            assert_eq!((answer.result, answer.error), (expected, None), "{sent}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let sent = r#"{"content":[],"structuredContent":{"big":12345678901234567890123,"exact":1.10}}"#;
        let answer = read(&serde_json::from_str(sent).unwrap()).unwrap();
        assert_eq!(answer.result.to_string(), r#"{"big":12345678901234567890123,"exact":1.10}"#);
    }

    #[test]
    fn an_error_has_the_tools_words() {
        let text =
            json!({"content": [{"type": "text", "text": "no"}, {"type": "text", "text": "way"}], "isError": true});
        assert_eq!(answer(text).unwrap().error.unwrap(), "no\nway");
        let structured = json!({"content": [], "structuredContent": {"code": 7}, "isError": true});
        assert_eq!(answer(structured).unwrap().error.unwrap(), r#"{"code":7}"#);
        assert!(answer(json!({"content": [], "isError": true})).unwrap().error.is_some());
    }

    #[test]
    fn the_envelope_is_in_the_results_meta() {
        let sent = json!({"content": [], "_meta": {"ganger": {"retry_after_ms": 5}, "other": 1}});
        assert_eq!(answer(sent).unwrap().envelope.unwrap().retry_after_ms, Some(5));
        let bad = answer(json!({"content": [], "_meta": {"ganger": {"retry": 5}}})).unwrap().envelope.unwrap_err();
        assert!(bad.class == "bad_envelope" && bad.message.contains("_meta.ganger"), "{}", bad.message);
    }

    #[test]
    fn what_is_no_result_is_told() {
        assert_eq!(answer(json!({"weather": "fine"})).unwrap_err().class, "protocol_error");
    }
}
