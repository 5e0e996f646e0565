//! What machines ask: alive, ready, healthy, and the metrics.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::engine::{HealthView, Readiness};
use crate::policy::health::Checks;

use super::{Api, answer};

/// A probe that takes longer would be given up by most callers anyway.
const PROBE_TIME_MAX: Duration = Duration::from_secs(3);

/// Seconds after which asking again makes sense: a node looks at its stores about that often.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// Prometheus' text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Serialize)]
struct Alive {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<String>,
}

/// `GET /livez`: the loop that answers this turns, and so do all services, whatever the stores do.
pub(super) async fn livez(State(api): State<Api>) -> Response {
    let services = api.engine.stuck_services();
    if services.is_empty() {
        return answer::ok(&Alive { status: "alive", services });
    }
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &Alive { status: "stuck", services })
}

#[derive(Serialize)]
struct ReadyBody {
    status: &'static str,
    ledger: String,
    broker: String,
    mcp_servers_away: Vec<String>,
    stopping: bool,
}

impl ReadyBody {
    fn of(readiness: &Readiness) -> Self {
        Self {
            status: if readiness.can_accept() { "ready" } else { "unready" },
            ledger: word(&readiness.ledger),
            broker: word(&readiness.broker),
            mcp_servers_away: readiness.mcp_away.clone(),
            stopping: readiness.stopping,
        }
    }
}

async fn readiness(api: &Api) -> Readiness {
    tokio::time::timeout(PROBE_TIME_MAX, api.engine.readiness()).await.unwrap_or_else(|_| {
        let silent = format!("did not answer within {} s", PROBE_TIME_MAX.as_secs());
        let (ledger, broker) = (Err(silent.clone()), Err(silent));
        Readiness { ledger, broker, mcp_away: Vec::new(), stopping: api.stop.is_cancelled() }
    })
}

fn word(part: &Result<(), String>) -> String {
    part.as_ref().map_or_else(String::clone, |()| "ok".to_owned())
}

/// `GET /readyz`: whether this node can accept jobs.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let readiness = readiness(&api).await;
    verdict(readiness.can_accept(), &ReadyBody::of(&readiness))
}

/// 200, or 503 with `Retry-After`, which proxies in between look for.
fn verdict(good: bool, body: &impl Serialize) -> Response {
    if good {
        return answer::ok(body);
    }
    let mut response = answer::json(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
    response
}

/// The runbook's answer, and what it rests on.
#[derive(Serialize)]
struct HealthBody<'a> {
    status: &'static str,
    checks: ChecksBody,
    node: &'a str,
    /// The share of its memory that the service holds; absent where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<f64>,
    /// The share of the last ten minutes' runs that did not crash, hang or get killed; absent below
    /// `health.samples_min` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    samples: u64,
    /// MCP servers whose breakers are open or that do not answer.
    mcp_servers_away: &'a [String],
    ledger: String,
    broker: String,
    version: &'static str,
    stopping: bool,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the five checks are the documented answer")]
struct ChecksBody {
    memory_usage: bool,
    queue_connectivity: bool,
    mcp_server_connectivity: bool,
    database_connectivity: bool,
    execution_success_rate: bool,
}

impl ChecksBody {
    fn of(checks: Checks) -> Self {
        Self {
            memory_usage: checks.memory_usage,
            queue_connectivity: checks.queue_connectivity,
            mcp_server_connectivity: checks.mcp_server_connectivity,
            database_connectivity: checks.database_connectivity,
            execution_success_rate: checks.execution_success_rate,
        }
    }
}

impl<'a> HealthBody<'a> {
    fn of(view: &'a HealthView, version: &'static str) -> Self {
        Self {
            status: if view.checks.hold() { "healthy" } else { "unhealthy" },
            checks: ChecksBody::of(view.checks),
            node: &view.node,
            memory: view.memory,
            success_rate: view.runs.rate(view.rules.samples_min),
            samples: view.runs.samples(),
            mcp_servers_away: &view.readiness.mcp_away,
            ledger: word(&view.readiness.ledger),
            broker: word(&view.readiness.broker),
            version,
            stopping: view.readiness.stopping,
        }
    }
}

/// `GET /health`: the runbook's checks.
pub(super) async fn health(State(api): State<Api>) -> Response {
    let view = api.engine.health(readiness(&api).await);
    verdict(view.checks.hold(), &HealthBody::of(&view, api.version))
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], (api.metrics)()).into_response()
}

/// `GET /`
pub(super) async fn front_page(State(api): State<Api>) -> Response {
    format!(
        "ganger {}\n\n\
         POST /v1/jobs         submit a job: {{\"type\": ..., \"payload\": ...}}\n\
         POST /v1/jobs/batch   submit many\n\
         GET  /v1/jobs         list jobs\n\
         GET  /v1/jobs/ID      one job; ?wait=30s waits until it is at rest\n\
         GET  /v1/queues       queues\n\
         GET  /v1/jobs/ID/why  why it does not run now\n\
         GET  /v1/jobs/stuck   what is past its SLA, or stands still\n\
         GET  /v1/types        job types\n\
         GET  /v1/pools /v1/workers /v1/breakers /v1/shedding /v1/reviews\n\
         GET  /v1/workers      workers of all nodes\n\
         GET  /v1/shedding     load shedding\n\
         GET  /v1/measures     business measures; POST /v1/observations, /v1/feedback\n\
         GET  /health /readyz /livez /metrics\n",
        api.version
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::health::{HealthRules, NodeHealth, Tallied};
    use serde_json::json;

    #[test]
    fn only_what_is_unwell_says_when_to_ask_again() {
        let (good, bad) = (verdict(true, &"fine"), verdict(false, &"unwell"));
        assert_eq!((good.status().as_u16(), good.headers().get(header::RETRY_AFTER)), (200, None));
        assert_eq!((bad.status().as_u16(), bad.headers().get(header::RETRY_AFTER)), (503, Some(&RETRY_AFTER_S)));
    }

    #[test]
    fn a_node_without_its_broker_accepts_and_is_not_healthy() {
        let readiness = Readiness { ledger: Ok(()), broker: Err("refused".into()), mcp_away: vec![], stopping: false };
        assert_eq!(
            serde_json::to_value(ReadyBody::of(&readiness)).unwrap(),
            json!({
                "status": "ready", "ledger": "ok", "broker": "refused", "mcp_servers_away": [], "stopping": false
            })
        );
        let rules = HealthRules::default();
        let checks = NodeHealth::default().checks(false, true, true);
        let runs = Tallied { good: 19, bad: 1 };
        let (node, memory) = ("a".to_owned(), Some(0.5));
        let view = HealthView { checks, readiness, node, memory, runs, rules };
        assert_eq!(
            serde_json::to_value(HealthBody::of(&view, "1")).unwrap(),
            json!({
                "status": "unhealthy",
                "checks": {
                    "memory_usage": true,
                    "queue_connectivity": false,
                    "mcp_server_connectivity": true,
                    "database_connectivity": true,
                    "execution_success_rate": true,
                },
                "node": "a",
                "memory": 0.5,
                "success_rate": 0.95,
                "samples": 20,
                "mcp_servers_away": [],
                "ledger": "ok",
                "broker": "refused",
                "version": "1",
                "stopping": false,
            })
        );
    }
}
