//! Workers: who they are on all nodes, and having one drained or replaced.

use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::{Ordered, Refusal, WorkerOrder, WorkerView};

use super::auth::Caller;
use super::params::{self, Named};
use super::problem::Problem;
use super::queues::{by, reason};
use super::wire::Time;
use super::{Api, answer, body};

/// The longest that an order waits for a worker to leave in one request, in seconds.
const WAIT_MAX_S: u64 = 600;

type Answer = Result<Response, Problem>;

/// Who orders something, and how long the answer may take.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    by: Option<String>,
    reason: Option<String>,
    wait_s: Option<u64>,
}

#[derive(Serialize)]
struct WorkersBody {
    workers: Vec<WorkerBody>,
}

/// A worker on the wire.
#[derive(Debug, Serialize)]
struct WorkerBody {
    worker: String,
    node: String,
    name: String,
    pool: String,
    state: &'static str,
    since: String,
    hired_at: String,
    job: Option<JobBody>,
    jobs_done: u64,
    memory_bytes: Option<u64>,
    health: &'static str,
    why: Option<String>,
    replaced_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct JobBody {
    id: String,
    #[serde(rename = "type")]
    job_type: String,
}

/// What became of an order.
#[derive(Debug, Serialize)]
struct OrderedBody {
    /// `left`, `leaving`, or `ordered` where its node has not said yet that it obeys.
    status: &'static str,
    /// When its node was last heard of; absent for the node that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_heard_at: Option<Time>,
    worker: WorkerBody,
}

impl WorkerBody {
    fn of(view: WorkerView) -> Self {
        let time = |ms| Timestamp(ms).to_string();
        Self {
            worker: view.full_name(),
            node: view.node,
            name: view.name,
            pool: view.pool,
            state: view.state.name(),
            since: time(view.since_ms),
            hired_at: time(view.hired_ms),
            job: view.job.map(|(id, job_type)| JobBody { id, job_type }),
            jobs_done: view.jobs_done,
            memory_bytes: view.memory_bytes,
            health: if view.why.is_some() { "unhealthy" } else { "healthy" },
            why: view.why,
            replaced_by: view.replaced_by,
        }
    }
}

/// `GET /v1/workers`
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Answer {
    params::none(uri.query())?;
    let workers = api.engine.workers().into_iter().map(WorkerBody::of).collect();
    Ok(answer::ok(&WorkersBody { workers }))
}

/// `GET /v1/workers/{w}`
pub(super) async fn show(State(api): State<Api>, Named(name): Named) -> Answer {
    Ok(answer::ok(&WorkerBody::of(api.engine.worker(&name)?)))
}

/// `POST /v1/workers/{w}/drain`
pub(super) async fn drain(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    uri: Uri,
    request: Request,
) -> Answer {
    order(&api, WorkerOrder::Drain, name, caller, &uri, request).await
}

/// `POST /v1/workers/{w}/replace`
pub(super) async fn replace(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(name): Named,
    uri: Uri,
    request: Request,
) -> Answer {
    order(&api, WorkerOrder::Replace, name, caller, &uri, request).await
}

async fn order(api: &Api, what: WorkerOrder, name: String, caller: Caller, uri: &Uri, request: Request) -> Answer {
    // Who is meant is settled before the body is read, so that a wrong name is what a caller hears of first.
    api.engine.worker(&name)?;
    let asked = params::wait(uri.query())?;
    let words: Words = body::order(&api.budget, request).await?;
    let wait = words.wait_s.map_or(asked, Duration::from_secs);
    if wait > Duration::from_secs(WAIT_MAX_S) {
        let found = wait.as_secs();
        return Err(Problem::bad_field("wait_s", &format!("is {found}; at most {WAIT_MAX_S} s can be waited for")));
    }
    let (by, reason) = (by(words.by, caller)?, reason(words.reason)?);
    let engine = api.engine.clone();
    let ordering = async move { engine.order_worker(&name, what, &by, &reason, wait).await };
    let ordered = tokio::select! {
        ordered = api.whole(ordering) => ordered??,
        // The order stands; another node can go on waiting.
        () = api.stop.cancelled() => return Err(Refusal::Stopping.into()),
    };
    let status = if ordered.obeyed || ordered.left { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::json(status, &OrderedBody::of(ordered)))
}

impl OrderedBody {
    fn of(Ordered { worker, obeyed, left, heard_at }: Ordered) -> Self {
        let status = match (obeyed, left) {
            (_, true) => "left",
            (true, false) => "leaving",
            (false, false) => "ordered",
        };
        Self { status, node_heard_at: heard_at.map(Time), worker: WorkerBody::of(worker) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::WorkerState;
    use serde_json::json;

    #[test]
    fn a_worker_on_the_wire_names_its_node_and_says_why() {
        let view = WorkerView {
            node: "a".into(),
            name: "exec-worker-3".into(),
            pool: "exec-workers".into(),
            state: WorkerState::Hung,
            since_ms: 1_767_323_045_678,
            hired_ms: 1_767_323_000_000,
            job: Some(("j".into(), "noop".into())),
            jobs_done: 7,
            memory_bytes: Some(42),
            why: Some("its handler does not answer".into()),
            replaced_by: Some("exec-worker-6".into()),
        };
        let ordered = Ordered { worker: view, obeyed: true, left: false, heard_at: None };
        assert_eq!(
            serde_json::to_value(OrderedBody::of(ordered)).unwrap(),
            json!({
                "status": "leaving",
                "worker": {
                    "worker": "a:exec-worker-3",
                    "node": "a",
                    "name": "exec-worker-3",
                    "pool": "exec-workers",
                    "state": "hung",
                    "since": "2026-01-02T03:04:05.678Z",
                    "hired_at": "2026-01-02T03:03:20.000Z",
                    "job": { "id": "j", "type": "noop" },
                    "jobs_done": 7,
                    "memory_bytes": 42,
                    "health": "unhealthy",
                    "why": "its handler does not answer",
                    "replaced_by": "exec-worker-6",
                }
            })
        );
    }
}
