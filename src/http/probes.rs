//! What machines ask: alive, ready, healthy, and the metrics.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::engine::Readiness;

use super::{Api, answer};

/// A probe that takes longer would be given up by most callers anyway.
const PROBE_TIME_MAX: Duration = Duration::from_secs(3);

/// Prometheus' text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

/// `GET /livez`: the loop that answers this turns.
pub(super) async fn livez() -> Response {
    answer::ok(&Alive { status: "alive" })
}

#[derive(Serialize)]
struct ReadyBody {
    status: &'static str,
    ledger: String,
    broker: String,
    stopping: bool,
}

impl ReadyBody {
    fn of(readiness: &Readiness) -> Self {
        let word = |part: &Result<(), String>| part.as_ref().map_or_else(String::clone, |()| "ok".to_owned());
        Self {
            status: if readiness.can_accept() { "ready" } else { "unready" },
            ledger: word(&readiness.ledger),
            broker: word(&readiness.broker),
            stopping: readiness.stopping,
        }
    }
}

async fn readiness(api: &Api) -> Readiness {
    tokio::time::timeout(PROBE_TIME_MAX, api.engine.readiness()).await.unwrap_or_else(|_| {
        let silent = format!("did not answer within {} s", PROBE_TIME_MAX.as_secs());
        Readiness { ledger: Err(silent.clone()), broker: Err(silent), stopping: api.stop.is_cancelled() }
    })
}

/// `GET /readyz`: whether this node can accept jobs.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let readiness = readiness(&api).await;
    answer::json(status(readiness.can_accept()), &ReadyBody::of(&readiness))
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    checks: Checks,
    version: &'static str,
    stopping: bool,
}

/// The runbook's five. Nothing measures memory, MCP servers or success rates yet, so those three
/// hold until the parts that watch them can say otherwise.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the five checks are the documented answer")]
struct Checks {
    memory_usage: bool,
    queue_connectivity: bool,
    mcp_server_connectivity: bool,
    database_connectivity: bool,
    execution_success_rate: bool,
}

impl Checks {
    fn of(readiness: &Readiness) -> Self {
        Self {
            memory_usage: true,
            queue_connectivity: readiness.broker.is_ok(),
            mcp_server_connectivity: true,
            database_connectivity: readiness.ledger.is_ok(),
            execution_success_rate: true,
        }
    }

    fn hold(&self) -> bool {
        self.memory_usage
            && self.queue_connectivity
            && self.mcp_server_connectivity
            && self.database_connectivity
            && self.execution_success_rate
    }
}

/// `GET /health`: the runbook's checks.
pub(super) async fn health(State(api): State<Api>) -> Response {
    let readiness = readiness(&api).await;
    let checks = Checks::of(&readiness);
    let healthy = checks.hold();
    let body = HealthBody {
        status: if healthy { "healthy" } else { "unhealthy" },
        checks,
        version: api.version,
        stopping: readiness.stopping,
    };
    answer::json(status(healthy), &body)
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
         GET  /v1/types        job types\n\
         GET  /health /readyz /livez /metrics\n",
        api.version
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_without_its_broker_accepts_and_is_not_healthy() {
        let readiness = Readiness { ledger: Ok(()), broker: Err("refused".into()), stopping: false };
        assert_eq!(
            serde_json::to_value(ReadyBody::of(&readiness)).unwrap(),
            json!({ "status": "ready", "ledger": "ok", "broker": "refused", "stopping": false })
        );
        let checks = Checks::of(&readiness);
        assert!(!checks.hold());
        assert_eq!(
            serde_json::to_value(checks).unwrap(),
            json!({
                "memory_usage": true,
                "queue_connectivity": false,
                "mcp_server_connectivity": true,
                "database_connectivity": true,
                "execution_success_rate": true,
            })
        );
    }
}
