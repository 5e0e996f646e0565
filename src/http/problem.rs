//! Refusals on the wire: `application/problem+json` with a stable code.
//!
//! A caller acts on `status` and `code`; `detail` is for people and may change.

use std::any::Any;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::engine::{BadItem, Refusal};
use crate::telemetry::metrics;

/// Where the codes are explained; a code is the last part of its type.
const TYPE_BASE: &str = "https://ganger.dev/problems/";

/// Seconds after which a store that is away is worth another try.
const RETRY_SOON_S: u32 = 1;

/// Seconds after which a full broker may have drained a little.
const RETRY_FULL_S: u32 = 5;

/// A refusal as RFC 9457 describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code.
    pub code: &'static str,
    /// The code in words.
    pub title: &'static str,
    /// What was wrong with this request.
    pub detail: String,
    extras: Vec<(&'static str, Value)>,
    retry_after_s: Option<u32>,
    close: bool,
}

impl Problem {
    /// A problem without further members.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), extras: Vec::new(), retry_after_s: None, close: false }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.extras.push((name, value.into()));
        self
    }

    /// Says after how many seconds another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Ends the connection after the answer, because the rest of the request was not read.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The text cannot be read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    }

    /// A member, parameter or header has a value that cannot be.
    pub fn bad_field(field: &str, reason: &str) -> Self {
        let title = "A field has a value that is not allowed";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_field", title, format!("`{field}` {reason}"))
            .with("field", field)
            .with("errors", json!([{ "field": field, "detail": reason }]))
    }

    /// Members of a request have values that cannot be, each with its place and why.
    pub fn bad_fields(fields: &[(String, String)]) -> Self {
        let title = "A field has a value that is not allowed";
        let errors: Vec<Value> =
            fields.iter().map(|(field, reason)| json!({ "field": field, "detail": reason })).collect();
        let first = fields.first().cloned().unwrap_or_default();
        let more = fields.len().saturating_sub(1);
        let more = if more > 0 { format!(", and {more} more; see `errors`") } else { String::new() };
        let detail = format!("`{}` {}{more}", first.0, first.1);
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_field", title, detail)
            .with("field", first.0)
            .with("errors", errors)
    }

    /// Items of a request that is taken whole or not at all have members that cannot be.
    pub fn bad_items(items: &[BadItem], detail: String) -> Self {
        let errors: Vec<Value> = items
            .iter()
            .map(|BadItem { index, field, reason }| json!({ "index": index, "field": field, "detail": reason }))
            .collect();
        let title = "A field has a value that is not allowed";
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_field", title, detail);
        let first = items.first().map(|item| (item.field.clone(), item.index)).unwrap_or_default();
        problem.with("field", first.0).with("index", first.1).with("errors", errors)
    }

    /// More bytes than allowed.
    pub fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, "The request is too large", detail)
    }

    /// No such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing", detail)
    }

    /// A bug of ours; the log has the cause.
    pub fn internal() -> Self {
        let detail = "the request failed because of a bug in Ganger; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Ganger failed", detail)
    }

    fn unavailable(code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail).retry_after(RETRY_SOON_S)
    }

    /// Too many large requests at the same time.
    pub fn busy() -> Self {
        let detail = "this node is reading as many request bodies as it has memory for; try again soon";
        Self::unavailable("busy", "The node is busy", detail).close()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Malformed(_) => Self::malformed(detail),
            Refusal::UnknownType { name, .. } => {
                let title = "There is no such job type";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_type", title, detail)
                    .with("field", "type")
                    .with("job_type", name)
            }
            Refusal::BadField { field, reason } => Self::bad_field(field, &reason),
            Refusal::BadItems(items) => Self::bad_items(&items, detail),
            Refusal::TooLarge { max, .. } => Self::too_large("payload_too_large", detail).with("bytes_max", max),
            Refusal::Conflict { id, .. } => {
                let title = "The id or idempotency key belongs to another submit";
                Self::new(StatusCode::CONFLICT, "idempotency_conflict", title, detail).with("id", id.as_str())
            }
            Refusal::NotFound { .. } => Self::not_found(detail),
            Refusal::Ambiguous { choices, .. } => {
                Self::new(StatusCode::CONFLICT, "ambiguous_name", "The name is not unique", detail)
                    .with("choices", choices)
            }
            Refusal::WrongState { id, state, .. } => {
                let title = "The job is in another state";
                Self::new(StatusCode::CONFLICT, "wrong_state", title, detail)
                    .with("id", id.as_str())
                    .with("state", state.name())
            }
            Refusal::Decided { id, decision } => {
                Self::new(StatusCode::CONFLICT, "already_decided", "The review is decided", detail)
                    .with("id", id.as_str())
                    .with("decision", decision.verdict.name())
                    .with("by", decision.by)
                    .with("at", decision.at.to_string())
                    .with("note", decision.note)
            }
            Refusal::LedgerUnavailable { unknown, id, .. } => {
                let mut problem = Self::unavailable("ledger_unavailable", "The ledger is away", detail);
                if let Some(id) = id {
                    problem = problem.with("id", id.as_str());
                }
                if unknown { problem.with("outcome", "unknown") } else { problem }
            }
            Refusal::BrokerUnavailable(_) => Self::unavailable("broker_unavailable", "The broker is away", detail),
            Refusal::BrokerFull(_) => {
                Self::unavailable("broker_full", "The broker is full", detail).retry_after(RETRY_FULL_S)
            }
            Refusal::Shed { rule, level, queue, retry_after_s } => {
                Self::unavailable("shed", "There is too much load for jobs like this", detail)
                    .with("rule", rule)
                    .with("level", level)
                    .with("queue", queue.as_str())
                    .with("retry_after_s", retry_after_s)
                    .retry_after(retry_after_s)
            }
            Refusal::TooManyAlerts => {
                let title = "Too many alerts come in";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_alerts", title, detail).retry_after(RETRY_SOON_S)
            }
            Refusal::Stopping => Self::unavailable("stopping", "The node is stopping", detail),
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{TYPE_BASE}{}", self.code))?;
        map.serialize_entry("title", self.title)?;
        map.serialize_entry("status", &self.status.as_u16())?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("code", self.code)?;
        for (name, value) in &self.extras {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        metrics::refused(self.code);
        // A problem holds strings and numbers only, so it can always be written.
        let text = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ganger\""));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Answers a path that no route has.
pub(super) async fn no_such_path(request: Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}

/// Answers a method that the path does not know; axum adds `Allow`.
pub(super) async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} does not take {}; `Allow` lists what it takes", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here", detail)
}

/// Answers a request whose handler panicked. The panic hook has logged the place.
#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
pub(super) fn from_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = words, "A request handler panicked");
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::review::{Decision, Verdict};
    use crate::job::{JobId, QueueName, State};

    fn wire(problem: &Problem) -> Value {
        serde_json::to_value(problem).unwrap()
    }

    fn rejection() -> Decision {
        let (by, note) = ("ada".to_owned(), "wrong button".to_owned());
        Decision { verdict: Verdict::Rejected, by, note, at: Timestamp(0), proposal: None }
    }

    #[test]
    fn a_second_decision_is_told_who_decided_and_how() {
        let problem = Problem::from(Refusal::Decided { id: JobId::stored("a"), decision: Box::new(rejection()) });
        assert_eq!(problem.detail, "the review of job a was rejected by ada at 1970-01-01T00:00:00.000Z: wrong button");
        let body = wire(&problem);
        assert_eq!(
            (&body["decision"], &body["by"], &body["note"]),
            (&json!("rejected"), &json!("ada"), &json!("wrong button"))
        );
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_a_code() {
        let problem = Problem::bad_field("priority", "is 9; must be 1 to 5 or a name");
        assert_eq!(
            wire(&problem),
            json!({
                "type": "https://ganger.dev/problems/bad_field",
                "title": "A field has a value that is not allowed",
                "status": 422,
                "detail": "`priority` is 9; must be 1 to 5 or a name",
                "code": "bad_field",
                "field": "priority",
                "errors": [{ "field": "priority", "detail": "is 9; must be 1 to 5 or a name" }],
            })
        );
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn an_unknown_outcome_names_the_id_and_says_when_to_try_again() {
        let id = Some(JobId::stored("a-1"));
        let problem = Problem::from(Refusal::LedgerUnavailable { reason: "cut".into(), unknown: true, id });
        let body = wire(&problem);
        assert_eq!(
            (&body["code"], &body["id"], &body["outcome"]),
            (&json!("ledger_unavailable"), &json!("a-1"), &json!("unknown"))
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn every_refusal_has_its_status_and_code() {
        let id = || JobId::stored("a");
        let table = [
            (Refusal::Malformed("x".into()), 400, "malformed"),
            (Refusal::UnknownType { name: "x".into(), known: "y".into() }, 422, "unknown_type"),
            (Refusal::BadField { field: "id", reason: "is empty".into() }, 422, "bad_field"),
            (Refusal::BadItems(vec![BadItem { index: 1, field: "hit".into(), reason: "x".into() }]), 422, "bad_field"),
            (Refusal::TooLarge { what: "payload", bytes: 2, max: 1 }, 413, "payload_too_large"),
            (Refusal::Conflict { key: "k".into(), id: id() }, 409, "idempotency_conflict"),
            (Refusal::NotFound { what: "job", name: "x".into(), known: None }, 404, "not_found"),
            (Refusal::Ambiguous { what: "worker", name: "x".into(), choices: vec![] }, 409, "ambiguous_name"),
            (Refusal::WrongState { id: id(), state: State::Ready, allowed: "x" }, 409, "wrong_state"),
            (Refusal::Decided { id: id(), decision: Box::new(rejection()) }, 409, "already_decided"),
            (Refusal::LedgerUnavailable { reason: "x".into(), unknown: false, id: None }, 503, "ledger_unavailable"),
            (Refusal::BrokerUnavailable("x".into()), 503, "broker_unavailable"),
            (Refusal::BrokerFull("x".into()), 503, "broker_full"),
            (Refusal::Shed { rule: "cpu", level: 1, queue: QueueName::stored("q"), retry_after_s: 7 }, 503, "shed"),
            (Refusal::TooManyAlerts, 429, "too_many_alerts"),
            (Refusal::Stopping, 503, "stopping"),
        ];
        for (refusal, status, code) in table {
            let problem = Problem::from(refusal);
            assert_eq!((problem.status.as_u16(), problem.code), (status, code));
            assert_eq!(problem.retry_after_s.is_some(), matches!(status, 429 | 503), "{code}");
        }
    }

    #[test]
    fn a_missing_token_is_told_which_scheme_to_use() {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "x", "y");
        assert!(problem.into_response().headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
